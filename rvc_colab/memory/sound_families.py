"""Separators and speech: what such models must be able to do, and those that are installed.

Nothing here is registered unless its package is there (demucs, piper). Another one comes in as a
family of its own, see `families`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rvc_colab.errors import AssetError, AudioError
from rvc_colab.memory.families import Estimate, Family, ModelFamily, ModelKey, Placement

if TYPE_CHECKING:
    import numpy as np

MIB = 1024**2
# htdemucs: 42 million float32 weights; one segment of 7.8 s in stereo besides.
DEMUCS_BYTES = (160 * MIB, 700 * MIB)
PIPER_WORKING = 1.0


class Separator(Protocol):
    """A model that takes a mix apart."""

    sample_rate: int
    stems: Sequence[str]

    def separate(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Take float32 [channels, N] at `sample_rate` apart: stem → float32 [channels, N]."""


class SpeechModel(Protocol):
    """A model that speaks a text."""

    sample_rate: int

    def speak(self, text: str) -> np.ndarray:
        """Speak a text: mono float32 [N] at `sample_rate`."""


class DemucsSeparator:
    """A Demucs model or bag of models."""

    def __init__(self, model: Any, device: str) -> None:
        self.model, self.device = model, device
        self.sample_rate = int(model.samplerate)
        self.stems: Sequence[str] = tuple(model.sources)

    def separate(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Take float32 [channels, N] at `sample_rate` apart; mono is heard on both sides."""
        import numpy as np
        import torch
        from demucs.apply import apply_model

        mix = torch.from_numpy(np.atleast_2d(np.asarray(wave, dtype=np.float32)))
        if mix.shape[-1] == 0:
            raise AudioError("A sound without samples cannot be separated.", "Give a longer one.")
        stereo = mix.expand(2, -1) if len(mix) == 1 else mix[:2]
        # Trained on mixes of mean 0 and spread 1.
        mean, spread = stereo.mean(), stereo.std() + 1e-8
        with torch.inference_mode():
            found = apply_model(self.model, ((stereo - mean) / spread)[None], device=self.device)[0]
        parts = found.cpu() * spread + mean
        return {stem: part.numpy() for stem, part in zip(self.stems, parts, strict=True)}


class DemucsFamily(Family):
    """Separators of the package demucs: `separator:htdemucs`; it fetches known ones itself."""

    name = "separator"
    dtypes: Sequence[str] = ("float32",)

    def key(self, text: str) -> ModelKey:
        """Take the name as demucs knows it."""
        return ModelKey.parse(f"{self.name}:{text}")

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Name none: demucs keeps its own cache."""
        return []

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Expect htdemucs, until the model was seen."""
        return Estimate(*DEMUCS_BYTES)

    def load(self, key: ModelKey, placement: Placement) -> DemucsSeparator:
        """Load the model; it stays in 32 bit. Raises AssetError when it cannot be had."""
        from demucs.pretrained import get_model

        try:
            model = get_model(key.name)
        except (Exception, SystemExit) as error:  # its loaders end the process on unknown names
            raise AssetError(
                f"The separator {key.name} could not be loaded: {str(error).rstrip('.')}.",
                "Name one that demucs knows, for example htdemucs, and check the network.",
            ) from error
        return DemucsSeparator(model.to(placement.device).eval(), placement.device)


class PiperSpeech:
    """A Piper voice."""

    def __init__(self, voice: Any, size: int) -> None:
        self.voice, self.stored_bytes = voice, size
        self.sample_rate = int(voice.config.sample_rate)

    def speak(self, text: str) -> np.ndarray:
        """Speak a text: mono float32 [N] at `sample_rate`; without words, no samples."""
        import numpy as np

        parts = [chunk.audio_float_array for chunk in self.voice.synthesize(text)]
        empty = np.zeros(0, dtype=np.float32)
        return np.concatenate([empty, *parts]).astype(np.float32, copy=False)


class PiperFamily(Family):
    """Speech of the package piper: `speech:/path/to/voice.onnx`, its `.onnx.json` beside it."""

    name = "speech"
    takes = "text"
    dtypes: Sequence[str] = ("float32",)
    working_factor = PIPER_WORKING

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Name the network and its description."""
        return [Path(key.name), Path(f"{key.name}.json")]

    def runs_on(self, key: ModelKey, device: str) -> bool:
        """Run on the CPU: the usual onnxruntime has nothing else."""
        return device == "cpu"

    def load(self, key: ModelKey, placement: Placement) -> PiperSpeech:
        """Load the voice. Raises AssetError when one of its files is missing or damaged."""
        from piper import PiperVoice

        missing = [path for path in self.files(key) if not path.is_file()]
        if missing:
            raise AssetError(
                f"The speech voice lacks {', '.join(map(str, missing))}.",
                "A Piper voice is two files: NAME.onnx and NAME.onnx.json.",
            )
        try:
            voice = PiperVoice.load(key.name)
        except Exception as error:
            raise AssetError(
                f"The speech voice {key.name} could not be loaded: {str(error).rstrip('.')}.",
                "Download it again.",
            ) from error
        return PiperSpeech(voice, Path(key.name).stat().st_size)

    def size(self, model: PiperSpeech) -> int:
        """Count the stored weights: onnxruntime does not tell what it holds."""
        return model.stored_bytes


def installed_sound_families() -> list[ModelFamily]:
    """Return the separators and speech families whose packages are installed."""
    known: tuple[tuple[str, type[Family]], ...] = (("demucs", DemucsFamily), ("piper", PiperFamily))
    return [family() for package, family in known if importlib.util.find_spec(package)]
