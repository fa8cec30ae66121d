"""Watch memory in one daemon thread: a bounded history, thresholds with hysteresis, alerts.

Callbacks run in a second daemon thread, so a slow, hanging or failing one cannot stop the sampling.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rvc_colab.config import GpuConfig
from rvc_colab.memory.probe import MachineProbe, Sample

_log = logging.getLogger(__name__)

HISTORY_MINUTES = 60.0
HISTORY_SAMPLES = 20_000
ALERTS_KEPT = 200
WAITING_CALLS = 256
HYSTERESIS = 5.0  # in the unit of the metric
STOP_SECONDS = 5.0


def _gpu_memory(sample: Sample) -> dict[str, float]:
    return {f"cuda:{gpu.index}": gpu.percent for gpu in sample.gpus}


def _temperature(sample: Sample) -> dict[str, float]:
    return {f"cuda:{g.index}": g.temperature for g in sample.gpus if g.temperature is not None}


METRICS: Mapping[str, tuple[str, Callable[[Sample], dict[str, float]]]] = {
    "gpu_memory": ("%", _gpu_memory),
    "gpu_temperature": ("°C", _temperature),
    "ram": ("%", lambda s: {"cpu": s.ram_percent} if s.ram_total_bytes else {}),
    "disk": ("%", lambda s: {"disk": s.disk_percent} if s.disk_total_bytes else {}),
}


@dataclass(frozen=True)
class Threshold:
    """Raise an alert at `raise_at` and clear it only at or below `clear_at` (hysteresis).

    `metric` is a name in METRICS; percent, or °C for gpu_temperature.
    """

    metric: str
    raise_at: float
    clear_at: float


@dataclass(frozen=True)
class Alert:
    """A threshold crossed upwards (`raised`) or back; `subject` is a device or the disk."""

    metric: str
    subject: str
    value: float
    raised: bool
    seconds: float
    message: str


SampleCallback = Callable[[Sample], object]
AlertCallback = Callable[[Alert], object]


def default_thresholds(config: GpuConfig) -> list[Threshold]:
    """Return what is watched: GPU memory and RAM at the cleaning threshold, disk and heat."""
    at = config.cleanup_threshold_percent
    return [
        Threshold("gpu_memory", at, at - HYSTERESIS),
        Threshold("ram", at, at - HYSTERESIS),
        Threshold("disk", 95.0, 92.0),
        Threshold("gpu_temperature", 88.0, 80.0),  # T4 and P100 slow down from about 90 °C on
    ]


class MemoryMonitor:
    """Sample the machine every `config.memory_monitoring_interval` seconds while started."""

    def __init__(
        self, config: GpuConfig | None = None, probe: Callable[[], Sample] | None = None
    ) -> None:
        self._config = config or GpuConfig()
        self._probe = probe or MachineProbe()
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=HISTORY_SAMPLES)
        self._alerts: deque[Alert] = deque(maxlen=ALERTS_KEPT)
        self._raised: dict[tuple[int, str], Alert] = {}
        self._extra: list[Threshold] = []
        self._sample_callbacks: list[SampleCallback] = []
        self._alert_callbacks: list[AlertCallback] = []
        self._calls: queue.Queue[tuple[Callable[..., object], Any]] = queue.Queue(WAITING_CALLS)
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self.dropped_calls = 0

    @property
    def running(self) -> bool:
        """Tell whether the sampling thread is alive."""
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> bool:
        """Start sampling unless the config says no; return whether it runs. Safe to call again."""
        with self._lock:
            if not self._config.memory_monitoring_enabled or self.running:
                return self.running
            self._stopping = stopping = threading.Event()
            self._wake.clear()
            self._threads = [
                threading.Thread(target=run, args=(stopping,), name=name, daemon=True)
                for run, name in (
                    (self._sample_for_ever, "memory-monitor"),
                    (self._call_for_ever, "memory-alerts"),
                )
            ]
            for thread in self._threads:
                thread.start()
            return True

    def stop(self) -> None:
        """Stop sampling; the history stays. A hanging callback is left behind, not waited for."""
        with self._lock:
            threads, self._threads = self._threads, []
            self._stopping.set()
            self._wake.set()
        for thread in threads[:1]:
            if thread is not threading.current_thread():
                thread.join(STOP_SECONDS)

    def configure(self, config: GpuConfig) -> None:
        """Take a new config at once: interval, thresholds, on or off."""
        with self._lock:
            was_running, self._config = self.running, config
        self._wake.set()
        if was_running and not config.memory_monitoring_enabled:
            self.stop()

    def watch(self, threshold: Threshold) -> None:
        """Add a threshold. Raises ValueError for an unknown metric or crossed bounds."""
        if threshold.metric not in METRICS:
            raise ValueError(f"metric {threshold.metric!r}: known are {', '.join(METRICS)}")
        if threshold.clear_at > threshold.raise_at:
            raise ValueError(
                f"clear_at {threshold.clear_at} lies above raise_at {threshold.raise_at}"
            )
        with self._lock:
            self._extra.append(threshold)

    def on_sample(self, callback: SampleCallback) -> Callable[[], None]:
        """Call `callback(sample)` after each sample; return a function that ends it."""
        return self._subscribe(self._sample_callbacks, callback)

    def on_alert(self, callback: AlertCallback) -> Callable[[], None]:
        """Call `callback(alert)` when one is raised or cleared; return a function that ends it."""
        return self._subscribe(self._alert_callbacks, callback)

    def _subscribe(self, callbacks: list[Any], callback: Any) -> Callable[[], None]:
        with self._lock:
            callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in callbacks:
                    callbacks.remove(callback)

        return end

    def history(self, minutes: float = HISTORY_MINUTES) -> list[Sample]:
        """Return the samples of the last `minutes`, oldest first."""
        with self._lock:
            if not self._samples:
                return []
            since = self._samples[-1].seconds - 60.0 * minutes
            return [sample for sample in self._samples if sample.seconds >= since]

    @property
    def latest(self) -> Sample | None:
        """Return the newest sample, if one was taken."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    @property
    def alerts(self) -> list[Alert]:
        """Return the last alerts, raised and cleared, oldest first."""
        with self._lock:
            return list(self._alerts)

    @property
    def raised(self) -> list[Alert]:
        """Return the alerts that stand at this moment."""
        with self._lock:
            return list(self._raised.values())

    def sample_now(self) -> Sample:
        """Take one sample in this thread, judge it, and hand it to the callbacks."""
        sample = self._probe()
        with self._lock:
            self._samples.append(sample)
            oldest = sample.seconds - 60.0 * HISTORY_MINUTES
            while self._samples and self._samples[0].seconds < oldest:
                self._samples.popleft()
            news = self._judge(sample)
            calls: list[tuple[Callable[..., object], Any]] = []
            calls += [(callback, sample) for callback in self._sample_callbacks]
            calls += [(callback, alert) for alert in news for callback in self._alert_callbacks]
            running = self.running
        for alert in news:
            _log.log(logging.WARNING if alert.raised else logging.INFO, "%s", alert.message)
        for call in calls:
            self._enqueue(call) if running else _safely(*call)
        return sample

    def _enqueue(self, call: tuple[Callable[..., object], Any]) -> None:
        try:
            self._calls.put_nowait(call)
        except queue.Full:  # a callback hangs: lose news rather than memory
            self.dropped_calls += 1

    def _judge(self, sample: Sample) -> list[Alert]:
        news = []
        thresholds = [*default_thresholds(self._config), *self._extra]
        for slot, threshold in enumerate(thresholds):
            _, read = METRICS[threshold.metric]
            for subject, value in read(sample).items():
                alert = self._crossing(slot, threshold, subject, value, sample.seconds)
                if alert is not None:
                    news.append(alert)
        self._alerts.extend(news)
        return news

    def _crossing(
        self, slot: int, threshold: Threshold, subject: str, value: float, seconds: float
    ) -> Alert | None:
        # The slot, not the limit, is the key: a limit changed at run time keeps its standing alert.
        standing = (slot, subject) in self._raised
        unit = METRICS[threshold.metric][0]
        what = f"{threshold.metric.replace('_', ' ')} of {subject} is {value:.0f} {unit}"
        if not standing and value >= threshold.raise_at:
            text = f"{what}, the limit is {threshold.raise_at:g} {unit}."
            alert = Alert(threshold.metric, subject, value, True, seconds, text)
            self._raised[slot, subject] = alert
            return alert
        if standing and value <= threshold.clear_at:
            del self._raised[slot, subject]
            return Alert(threshold.metric, subject, value, False, seconds, f"{what} again.")
        return None

    def _sample_for_ever(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                self.sample_now()
            except Exception:  # a broken driver must not end the watch
                _log.warning("A memory sample failed.", exc_info=True)
            self._wake.wait(self._config.memory_monitoring_interval)
            if not stopping.is_set():
                self._wake.clear()

    def _call_for_ever(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                call = self._calls.get(timeout=1.0)
            except queue.Empty:
                continue
            _safely(*call)


def _safely(callback: Callable[..., object], argument: Any) -> None:
    try:
        callback(argument)
    except Exception:
        _log.warning("A memory callback failed: %r", callback, exc_info=True)
