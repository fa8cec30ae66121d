"""Pitch estimators: 16 kHz mono in, one value in Hz per 10 ms out.

Every estimator returns exactly len(wave) // 160 frames, frame i at i · 10 ms, 0 where unvoiced.
`swift` needs no download; `rmvpe` needs its weights; `pyin` is the plain fallback; `crepe` and
`fcpe` are optional packages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rvc_colab.config import CONTENT_RATE, F0_MAX_HZ, F0_MIN_HZ, FRAME_HOP, FRAMES_PER_SECOND
from rvc_colab.errors import AssetError, ConfigError, MissingExtraError
from rvc_colab.features.pitch import fill_frames

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

METHODS = ("auto", "rmvpe", "swift", "pyin", "crepe", "fcpe")
# Shorter sound is filled up with silence before it is estimated: 50 ms, two periods at 40 Hz.
SHORTEST_SAMPLES = 800


class F0Estimator(Protocol):
    """Turns 16 kHz mono sound into pitch; `notes` says in words what had to be given up."""

    name: str
    notes: tuple[str, ...]

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz, float32 `[len(wave) // 160]`, 0 = unvoiced."""
        ...


def estimate_f0(
    wave: np.ndarray,
    method: str = "auto",
    *,
    f0_min: float = F0_MIN_HZ,
    f0_max: float = F0_MAX_HZ,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Estimate the pitch of 16 kHz mono sound once: float32 Hz `[len(wave) // 160]`."""
    return load_f0_estimator(method, device, f0_range=(f0_min, f0_max))(wave)


def load_f0_estimator(
    method: str = "auto",
    device: torch.device | str = "cpu",
    rmvpe_weights: Mapping[str, torch.Tensor] | None = None,
    f0_range: tuple[float, float] = (F0_MIN_HZ, F0_MAX_HZ),
) -> F0Estimator:
    """Load an estimator by name.

    `auto` takes rmvpe when its weights (a state dict) are handed in, else swift, else pyin; a
    fallback is logged and stands in the estimator's `notes`. Raises ConfigError for an unknown
    name or range, AssetError for rmvpe without weights, MissingExtraError for a package that is
    not installed.
    """
    low, high = f0_range
    if not 20 <= low < high <= 4000:
        raise ConfigError(
            f"The pitch range {low:g} to {high:g} Hz is outside 20 to 4000 Hz or upside down.",
            f"The voices of the world were trained with {F0_MIN_HZ:g} to {F0_MAX_HZ:g} Hz.",
        )
    if method not in METHODS:
        raise ConfigError(
            f"The f0 method {method!r} is unknown.", f"Choose one of {', '.join(METHODS)}."
        )
    if method == "rmvpe" or (method == "auto" and rmvpe_weights is not None):
        return _load_rmvpe(rmvpe_weights, device, f0_range)
    if method == "auto":
        return _load_offline(f0_range)
    loaders: dict[str, Callable[[], F0Estimator]] = {
        "swift": lambda: SwiftEstimator(f0_range),
        "pyin": lambda: PyinEstimator(f0_range),
        "crepe": lambda: CrepeEstimator(f0_range, device),
        "fcpe": lambda: FcpeEstimator(f0_range, device),
    }
    return loaders[method]()


def _load_rmvpe(
    weights: Mapping[str, torch.Tensor] | None,
    device: torch.device | str,
    f0_range: tuple[float, float],
) -> F0Estimator:
    from rvc_colab.features.f0_rmvpe import RmvpeEstimator

    if weights is None:
        raise AssetError(
            "The f0 method rmvpe needs its weights, which are not here.",
            "Run: rvc-colab fetch rmvpe. Or choose --f0-method swift, which needs no download.",
        )
    return RmvpeEstimator(weights, device, f0_range)


def _load_offline(f0_range: tuple[float, float]) -> F0Estimator:
    try:
        return SwiftEstimator(f0_range)
    except MissingExtraError as error:
        note = f"{error.message} Pitch is found by pyin instead, which is slower and less exact."
        logger.warning(note)
        return PyinEstimator(f0_range, notes=(note,))


def _long_enough(wave: np.ndarray) -> np.ndarray:
    wave = np.asarray(wave, dtype=np.float32)
    return np.pad(wave, (0, max(0, SHORTEST_SAMPLES - len(wave))))


def _exactly(f0_hz: np.ndarray, frames: int) -> np.ndarray:
    """Cut to `frames` or hold the end, without NaN."""
    f0_hz = np.nan_to_num(np.asarray(f0_hz, dtype=np.float32).reshape(-1)[:frames])
    if not len(f0_hz):
        return np.zeros(frames, dtype=np.float32)
    return np.pad(f0_hz, (0, frames - len(f0_hz)), mode="edge")


def _import_optional(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(extra, error.name or name) from error
    except OSError as error:
        # A torchaudio built for another torch fails like this.
        raise ConfigError(
            f"The package {name} is installed but does not load: {error}.",
            "Install the torchaudio that fits your torch, or choose --f0-method swift.",
        ) from error


def _import_swift() -> Any:
    """Import swift_f0: a plain dependency, so the remedy names the package itself."""
    try:
        return _import_optional("swift_f0", "swift-f0")
    except MissingExtraError as error:
        error.hint = "Run: pip install swift-f0"
        raise


class SwiftEstimator:
    """SwiftF0 (MIT): a small network inside its package, on one thread."""

    name = "swift"
    notes: tuple[str, ...] = ()
    # Measured: clear voices reach 0.9, pure tones 0.43 to 0.85, noise stays below 0.16.
    VOICED_FROM = 0.4
    # The network goes by absolute level and hears nothing below -50 dB: bring the loudest tenth
    # of a second to a common level first, but do not lift what is 60 dB down into a voice.
    LEVEL_RMS, GAIN_MAX = 0.2, 100.0
    _LEVEL_SAMPLES = CONTENT_RATE // 10
    # Its own range; beyond it nothing is found.
    RANGE_HZ = (46.875, 2093.75)

    def __init__(self, f0_range: tuple[float, float] = (F0_MIN_HZ, F0_MAX_HZ)) -> None:
        swift = _import_swift()
        self.f0_range = max(f0_range[0], self.RANGE_HZ[0]), min(f0_range[1], self.RANGE_HZ[1])
        self._detector = _quiet_detector(swift)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz `[N // 160]`; its 16 ms frames are read at every 10 ms."""
        frames = len(wave) // FRAME_HOP
        x = self._levelled(_long_enough(wave))
        found = self._detector.detect(x, CONTENT_RATE, *self.f0_range)
        voiced = np.where(found.confidence >= self.VOICED_FROM, found.pitch_hz, 0.0)
        at = np.arange(frames) / FRAMES_PER_SECOND
        return fill_frames(found.timestamps, voiced, at).astype(np.float32)

    def _levelled(self, x: np.ndarray) -> np.ndarray:
        starts = np.arange(0, len(x), self._LEVEL_SAMPLES)
        energy = np.add.reduceat(np.square(x, dtype=np.float64), starts).max()
        level = np.sqrt(energy / self._LEVEL_SAMPLES)
        return x * np.float32(min(self.LEVEL_RMS / max(level, 1e-9), self.GAIN_MAX))


def _quiet_detector(swift: Any) -> Any:
    """Open the detector on one thread that sleeps between calls (older releases know neither)."""
    try:
        return swift.SwiftF0(threads=1, spin=False)
    except TypeError:
        return swift.SwiftF0()


class PyinEstimator:
    """librosa's probabilistic YIN: no weights, slow, for where nothing else is installed."""

    name = "pyin"
    FRAME_SAMPLES = 1024
    # Heard in stretches, so that memory does not grow with the sound.
    CHUNK_FRAMES, CONTEXT_FRAMES = 3000, 100

    def __init__(
        self,
        f0_range: tuple[float, float] = (F0_MIN_HZ, F0_MAX_HZ),
        notes: tuple[str, ...] = (),
    ) -> None:
        # Two periods of the lowest pitch must fit in half a frame.
        self.f0_range = max(f0_range[0], 2 * CONTENT_RATE / self.FRAME_SAMPLES + 1), f0_range[1]
        self.notes = notes

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz `[N // 160]`."""
        frames, x = len(wave) // FRAME_HOP, _long_enough(wave)
        pieces = [
            self._stretch(x, first, min(first + self.CHUNK_FRAMES, frames))
            for first in range(0, frames, self.CHUNK_FRAMES)
        ]
        return np.concatenate([np.zeros(0, dtype=np.float32), *pieces])

    def _stretch(self, x: np.ndarray, first: int, last: int) -> np.ndarray:
        import librosa

        low = max(0, first - self.CONTEXT_FRAMES)
        part = x[low * FRAME_HOP : (last + self.CONTEXT_FRAMES) * FRAME_HOP]
        # Faint noise keeps digital silence from being a perfect match with itself.
        dither = np.random.default_rng(0).standard_normal(len(part)).astype(np.float32) * 1e-6
        f0_hz, _, _ = librosa.pyin(
            part + dither,
            fmin=self.f0_range[0],
            fmax=self.f0_range[1],
            sr=CONTENT_RATE,
            frame_length=self.FRAME_SAMPLES,
            hop_length=FRAME_HOP,
            fill_na=0.0,
        )
        return _exactly(f0_hz[first - low :], last - first)


class CrepeEstimator:
    """CREPE through the package torchcrepe (its weights are inside)."""

    name = "crepe"
    notes: tuple[str, ...] = ()
    # As the RVC projects use it: periodicity smoothed over 3 frames, unvoiced below 0.1.
    VOICED_FROM, SMOOTH_FRAMES = 0.1, 3
    BATCH_FRAMES = 512
    # The net knows six octaves from 32.7 Hz.
    RANGE_HZ = (32.7, 1975.0)

    def __init__(self, f0_range: tuple[float, float], device: torch.device | str = "cpu") -> None:
        self._crepe = _import_optional("torchcrepe", "crepe")
        self.f0_range = max(f0_range[0], self.RANGE_HZ[0]), min(f0_range[1], self.RANGE_HZ[1])
        self.device = str(device)

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz `[N // 160]`."""
        import torch

        frames = len(wave) // FRAME_HOP
        f0_hz, periodicity = self._crepe.predict(
            torch.from_numpy(_long_enough(wave))[None],
            CONTENT_RATE,
            FRAME_HOP,
            *self.f0_range,
            model="full",
            batch_size=self.BATCH_FRAMES,
            device=self.device,
            return_periodicity=True,
        )
        periodicity = self._crepe.filter.median(periodicity, self.SMOOTH_FRAMES)
        f0_hz = self._crepe.filter.mean(f0_hz, self.SMOOTH_FRAMES)
        f0_hz[periodicity < self.VOICED_FROM] = 0
        return _exactly(f0_hz[0].cpu().numpy(), frames)


class FcpeEstimator:
    """FCPE through the package torchfcpe (its weights are inside)."""

    name = "fcpe"
    notes: tuple[str, ...] = ()
    VOICED_FROM = 0.006

    def __init__(self, f0_range: tuple[float, float], device: torch.device | str = "cpu") -> None:
        fcpe = _import_optional("torchfcpe", "fcpe")
        self.f0_range, self.device = f0_range, device
        self._model = fcpe.spawn_bundled_infer_model(device=str(device))

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return f0 in Hz `[N // 160]`."""
        import torch

        frames = len(wave) // FRAME_HOP
        x = torch.from_numpy(_long_enough(wave)).to(self.device)
        with torch.inference_mode():
            f0_hz = self._model.infer(
                x[None, :, None],
                sr=CONTENT_RATE,
                decoder_mode="local_argmax",
                threshold=self.VOICED_FROM,
                f0_min=self.f0_range[0],
                f0_max=self.f0_range[1],
                interp_uv=False,
            )
        return _exactly(f0_hz.float().cpu().numpy(), frames)
