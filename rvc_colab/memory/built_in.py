"""Our own families: voices, content encoders, f0 estimators and retrieval indexes.

The factors are measured with full-size networks, random weights and 20 s of sound (18 s and its
context, the longest stretch a conversion takes): the most bytes of tensors during one use, over
those of the loaded weights. `benchmarks/measure_memory.py` repeats it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvc_colab.config import F0_MAX_HZ, F0_MIN_HZ
from rvc_colab.errors import AssetError
from rvc_colab.memory.families import Estimate, Family, ModelFamily, ModelKey, Placement
from rvc_colab.memory.sizes import held_bytes, stored_bytes
from rvc_colab.workspace import Workspace

if TYPE_CHECKING:
    from rvc_colab.models.synthesizer import Synthesizer
    from rvc_colab.store.voice import Voice

MIB = 1024**2
VOICE_WORKING = 5.8  # 30.5 MB per second of sound, 105 MB of weights (v2, 40 kHz)
GENERATOR_SHARE = 0.53  # of a voice's weights: only the generator takes the 16-bit precision
ENCODER_WORKING = 0.88
RMVPE_WORKING = 0.35
# Bytes (resident, working) of estimators whose weights lie inside a package. swift and pyin were
# measured as growth of the process; crepe and fcpe are 22.2 and 10.6 million float32 weights.
PACKAGED_F0 = {
    "swift": (13 * MIB, 80 * MIB),
    "pyin": (0, 220 * MIB),
    "crepe": (85 * MIB, 170 * MIB),
    "fcpe": (41 * MIB, 60 * MIB),
}
FULL_PRECISION = "float32"


def _cache(key: ModelKey, workspace: Callable[[], Workspace]) -> Path:
    """Return where known weights lie: the key's option `cache`, else the workspace's."""
    given = key.option("cache")
    return Path(given) if given else workspace().cache


def _normal(key: ModelKey, workspace: Callable[[], Workspace], name: str = "") -> ModelKey:
    """Leave the option `cache` out where it says what holds anyway; take another name if given."""
    own = ("cache", str(workspace().cache))
    return replace(key, name=name or key.name, options=tuple(o for o in key.options if o != own))


@dataclass(frozen=True)
class ReadyVoice:
    """A voice in its fast form on its device; `file` describes it, without the weights."""

    file: Voice
    network: Synthesizer

    @property
    def sample_rate(self) -> int:
        """Return the rate of the voice in Hz."""
        return self.file.config.sample_rate


class VoiceFamily(Family):
    """Voices: `voice:NAME`, `voice:demo`, or `voice:/path/to.pth`."""

    name = "voice"
    working_factor = VOICE_WORKING

    def __init__(self, workspace: Callable[[], Workspace] = Workspace.locate) -> None:
        self._workspace = workspace

    def key(self, text: str) -> ModelKey:
        """Find the file behind a name. Raises VoiceError naming the closest voices."""
        from rvc_colab.store.voices import find_voice

        key = ModelKey.parse(f"{self.name}:{text}")
        path = find_voice(key.name, self._workspace())
        return ModelKey(self.name, str(path.resolve()), key.options)

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Expect prior and flow in 32 bit, the generator in the precision of the placement."""
        whole = super().estimate(key, replace(placement, dtype=FULL_PRECISION))
        saved = 1 - placement.item_bytes / 4
        return Estimate(
            int(whole.resident * (1 - GENERATOR_SHARE * saved)), int(whole.working * (1 - saved))
        )

    def load(self, key: ModelKey, placement: Placement) -> ReadyVoice:
        """Read and build the voice. Raises VoiceError."""
        import torch

        from rvc_colab.models.synthesizer import prepare_for_inference
        from rvc_colab.store.checkpoint import build_synthesizer, read_voice

        voice = read_voice(key.name)
        network = build_synthesizer(voice).to(placement.device)
        prepare_for_inference(network)
        if placement.dtype != FULL_PRECISION:
            network.dec.to(getattr(torch, placement.dtype))
        return ReadyVoice(replace(voice, weights={}), network)


class EncoderFamily(Family):
    """Content encoders: `encoder:contentvec`, with `?cache=DIR`, or `encoder:/path`."""

    name = "encoder"
    working_factor = ENCODER_WORKING

    def __init__(self, workspace: Callable[[], Workspace] = Workspace.locate) -> None:
        self._workspace = workspace

    def key(self, text: str) -> ModelKey:
        """Take names in their known spelling and paths absolute."""
        from rvc_colab.features.encoder_names import TINY, canonical_encoder, is_known_encoder

        key = ModelKey.parse(f"{self.name}:{text}")
        known = canonical_encoder(key.name) if is_known_encoder(key.name) else ""
        if known and known != TINY:
            return _normal(key, self._workspace, known)
        # What does not lie in a cache is the same model whichever cache is meant.
        options = tuple(option for option in key.options if option[0] != "cache")
        path = Path(key.name).expanduser()
        name = known or (str(path.resolve()) if path.exists() else key.name)
        return ModelKey(self.name, name, options)

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Name the weights file, where it is or would be."""
        from rvc_colab.features.encoder_names import TINY, is_known_encoder
        from rvc_colab.store.assets import bundled, place

        if key.name == TINY:
            return [bundled("tiny_encoder.safetensors")]
        known = is_known_encoder(key.name)
        path = place(key.name, _cache(key, self._workspace)) if known else Path(key.name)
        if not path.is_dir():
            return [path]
        kinds = (sorted(path.glob(pattern)) for pattern in ("*.safetensors", "*.bin", "*.pt"))
        return next((found for found in kinds if found), [path])

    def load(self, key: ModelKey, placement: Placement) -> Any:
        """Load the encoder from the cache. Raises AssetError when it is not there."""
        import torch

        from rvc_colab.store.encoders import open_content_encoder

        dtype = getattr(torch, placement.dtype)
        cache = _cache(key, self._workspace)
        return open_content_encoder(key.name, placement.device, dtype, cache=cache, offline=True)

    def sample_rate(self, model: Any) -> int | None:
        """Return the rate every content encoder hears."""
        from rvc_colab.config import CONTENT_RATE

        return CONTENT_RATE


class F0Family(Family):
    """Pitch estimators: `f0:rmvpe`, `f0:auto`…, with `?low=50&high=1100`.

    The weights of rmvpe are in `?cache=DIR`, or `?weights=PATH`.
    """

    name = "f0"
    dtypes: Sequence[str] = (FULL_PRECISION,)
    working_factor = RMVPE_WORKING

    def __init__(self, workspace: Callable[[], Workspace] = Workspace.locate) -> None:
        self._workspace = workspace

    def key(self, text: str) -> ModelKey:
        """Turn `auto` into rmvpe where its weights are, else leave it to what is installed."""
        from rvc_colab.store.assets import is_present

        key = ModelKey.parse(f"{self.name}:{text}")
        if key.name == "auto" and is_present("rmvpe", _cache(key, self._workspace)):
            key = replace(key, name="rmvpe")
        if key.name == "rmvpe":
            return _normal(key, self._workspace)
        return replace(key, options=tuple(o for o in key.options if o[0] != "cache"))

    def files(self, key: ModelKey) -> Sequence[Path]:
        """Name the weights of rmvpe; the others bring theirs inside a package."""
        from rvc_colab.store.assets import place

        if key.name != "rmvpe":
            return []
        given = key.option("weights")
        return [Path(given) if given else place("rmvpe", _cache(key, self._workspace))]

    def runs_on(self, key: ModelKey, device: str) -> bool:
        """Tell that swift and pyin run on the CPU only."""
        return device == "cpu" or key.name in {"rmvpe", "crepe", "fcpe"}

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Scale rmvpe's file to the 32 bit it runs in; the others are known numbers."""
        if key.name == "rmvpe":
            return super().estimate(key, placement)
        swift = importlib.util.find_spec("swift_f0") is not None
        offline = "swift" if swift else "pyin"
        return Estimate(*PACKAGED_F0.get(offline if key.name == "auto" else key.name, (0, 0)))

    def load(self, key: ModelKey, placement: Placement) -> Any:
        """Load the estimator. Raises AssetError, ConfigError or MissingExtraError."""
        from rvc_colab.features.f0 import load_f0_estimator
        from rvc_colab.store.assets import fetch
        from rvc_colab.store.checkpoint import load_tensors

        weights = None
        if key.name == "rmvpe":
            given = key.option("weights")
            cache = _cache(key, self._workspace)
            path = Path(given) if given else fetch("rmvpe", cache, offline=True)
            weights = load_tensors(path, AssetError)
        hertz = float(key.option("low", str(F0_MIN_HZ))), float(key.option("high", str(F0_MAX_HZ)))
        return load_f0_estimator(key.name, placement.device, weights, hertz)

    def sample_rate(self, model: Any) -> int | None:
        """Return the rate every estimator hears."""
        from rvc_colab.config import CONTENT_RATE

        return CONTENT_RATE


class IndexFamily(Family):
    """Retrieval indexes: `index:/path/to.index`; `?device=cpu` keeps one away from the GPU."""

    name = "index"
    takes = "content"
    dtypes: Sequence[str] = (FULL_PRECISION,)

    def runs_on(self, key: ModelKey, device: str) -> bool:
        """Run everywhere, unless the key names the device."""
        return key.option("device") in ("", device)

    def estimate(self, key: ModelKey, placement: Placement) -> Estimate:
        """Expect vectors and search bank on the device, on the CPU the faiss index beside them.

        A search works in blocks of 64 MB at most, of distances and of gathered candidates.
        """
        stored = sum(stored_bytes(path).bytes for path in self.files(key))
        copies = 3 if placement.device == "cpu" else 2
        return Estimate(stored * copies, min(2 * 64 * MIB, stored))

    def load(self, key: ModelKey, placement: Placement) -> Any:
        """Read the index. Raises IndexFileError."""
        from rvc_colab.features.retrieval import read_index

        return read_index(key.name, device=placement.device)

    def size(self, model: Any) -> int:
        """Count the vectors, and the faiss index (vectors and 8-byte ids) where it is kept."""
        held = held_bytes(model)
        beside = model.faiss_index is not None and model.vectors.device.type == "cpu"
        return held + (len(model) * (4 * model.width + 8) if beside else 0)


def built_in_families(
    workspace: Callable[[], Workspace] = Workspace.locate,
) -> list[ModelFamily]:
    """Return our families; separators and speech only where a package for them is installed."""
    from rvc_colab.memory.sound_families import installed_sound_families

    own: list[ModelFamily] = [
        VoiceFamily(workspace),
        EncoderFamily(workspace),
        F0Family(workspace),
        IndexFamily(),
    ]
    return own + installed_sound_families()
