"""What memory looks like now, for a person, for a program, and again and again."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from rvc_colab.memory.lifecycle import Lifecycle
from rvc_colab.memory.placement import gigabytes

EVENTS_SHOWN = 10
WATCH_SECONDS = 2.0


def report(lifecycle: Lifecycle | None = None) -> dict[str, Any]:
    """Collect devices, memory, loaded models, alerts and counters in plain values.

    Without a lifecycle that of this process is meant, which is made if there is none.
    """
    found = lifecycle or _default()
    manager, monitor = found.manager, found.monitor
    sample = monitor.sample_now()
    peaks = manager.peaks()
    devices = [
        {
            "device": name,
            "models_bytes": manager.used(name),
            "models_may_take_bytes": manager.capacity(name),
            "models_peak_bytes": peaks.get(name, 0),
            "free_bytes": manager.devices.room(name).free,
            "total_bytes": manager.devices.room(name).total,
        }
        for name in manager.devices.names()
    ]
    return {
        "sample": dataclasses.asdict(sample),
        "devices": devices,
        "models": [dataclasses.asdict(model) for model in manager.loaded()],
        "families": manager.families.names(),
        "family_problems": list(manager.families.problems),
        "alerts": [dataclasses.asdict(alert) for alert in monitor.raised],
        "programs": found.board.others() if found.board else [],
        "tasks": found.tasks,
        "automatic": found.automatic,
        "statistics": manager.statistics.as_dict(),
        "events": [dataclasses.asdict(event) for event in manager.statistics.recent(EVENTS_SHOWN)],
        "settings": manager.config.model_dump(mode="json"),
    }


def report_json(lifecycle: Lifecycle | None = None) -> str:
    """Return the report as JSON."""
    return json.dumps(report(lifecycle), indent=2, ensure_ascii=False)


def report_line(lifecycle: Lifecycle | None = None) -> str:
    """Return the report as JSON in one line."""
    return json.dumps(report(lifecycle), ensure_ascii=False)


def report_text(lifecycle: Lifecycle | None = None) -> str:
    """Return the report for a person, in lines of at most about 100 characters."""
    facts = report(lifecycle)
    lines = [*_gpu_lines(facts), *_machine_lines(facts), "", *_model_lines(facts["models"])]
    for program in facts["programs"]:
        doing = f", busy with {', '.join(program['tasks'])}" if program["tasks"] else ""
        lines += ["", f"Program {program['pid']}, {program['program']}{doing}:"]
        lines += _model_lines(program["models"], idle=False)
        lines += [f"ALERT  {message}" for message in program["alerts"]]
    for alert in facts["alerts"]:
        lines.append(f"ALERT  {alert['message']}")
    for problem in facts["family_problems"]:
        lines.append(f"PROBLEM  {problem}")
    lines += ["", _counter_line(facts)]
    return "\n".join(lines)


def watch(
    lifecycle: Lifecycle | None = None,
    seconds: float = WATCH_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
    make: Callable[[Lifecycle | None], str] = report_text,
) -> Iterator[str]:
    """Yield the report every `seconds`, for ever; a front door redraws it."""
    while True:
        yield make(lifecycle)
        sleep(seconds)


def _gpu_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    for gpu in facts["sample"]["gpus"]:
        used, total = gpu["used_bytes"], gpu["total_bytes"]
        more = [f"{gpu['utilisation']:.0f} % busy"] if gpu["utilisation"] is not None else []
        more += [f"{gpu['temperature']:.0f} °C"] if gpu["temperature"] is not None else []
        percent = 100 * used / total if total else 0
        lines.append(
            f"GPU {gpu['index']}  {gpu['name']}: {gigabytes(used)} of {gigabytes(total)} "
            f"({percent:.0f} %)" + "".join(f", {part}" for part in more)
        )
    return lines or ["GPU    none found"]


def _machine_lines(facts: dict[str, Any]) -> list[str]:
    sample = facts["sample"]
    lines = [
        f"RAM    {gigabytes(sample['ram_used_bytes'])} of {gigabytes(sample['ram_total_bytes'])}, "
        f"{gigabytes(sample['process_bytes'])} by this process",
        f"Disk   {gigabytes(sample['disk_free_bytes'])} of "
        f"{gigabytes(sample['disk_total_bytes'])} free",
    ]
    for device in facts["devices"]:
        lines.append(
            f"Models on {device['device']}: {gigabytes(device['models_bytes'])} of at most "
            f"{gigabytes(device['models_may_take_bytes'])}, "
            f"peak {gigabytes(device['models_peak_bytes'])}"
        )
    return lines


def _model_lines(models: list[dict[str, Any]], idle: bool = True) -> list[str]:
    if not models:
        return ["No models are loaded in this process."]
    rows = [("model", "device", "precision", "memory", "state", "hits", *(["idle s"] * idle))]
    for model in models:
        state = model["state"] + (", pinned" if model["pinned"] else "")
        rows.append(
            (
                _short(model["key"]),
                model["device"],
                model["dtype"],
                gigabytes(model["resident"]),
                state,
                str(model["hits"]),
                *([f"{model['idle_seconds']:.0f}"] * idle),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]


def _short(key: str, most: int = 48) -> str:
    return key if len(key) <= most else f"{key[:12]}…{key[13 - most :]}"


def _counter_line(facts: dict[str, Any]) -> str:
    counters = facts["statistics"]
    return (
        f"{counters['loads']} loads, {counters['hits']} hits, {counters['evictions']} evictions, "
        f"{counters['refusals']} refusals; {counters['seconds_loading']:.1f} s spent loading, "
        f"{counters['seconds_saved']:.1f} s saved"
    )


def _default() -> Lifecycle:
    from rvc_colab.memory.process import default_lifecycle

    return default_lifecycle()
