from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import LoudnessPitch, RawEncoder, speech_like

from rvc_colab.config import ConversionConfig
from rvc_colab.conversion.chunking import Chunk
from rvc_colab.conversion.converter import Converter
from rvc_colab.conversion.pipeline import Networks, Pipeline, protect_content
from rvc_colab.conversion.run import convert_waveform
from rvc_colab.features.retrieval import read_index
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.source import HarmonicSource, phase_at_frames
from rvc_colab.models.synthesizer import prepare_for_inference
from rvc_colab.store.checkpoint import build_synthesizer, read_voice

PROTECT_TOLERANCE = 1e-7
# The bound is -60 dB; with local content and prior nothing but rounding is left.
JOINT_DB = -100
INDEX = "tiny_added_IVF6_Flat_nprobe_1_tiny_v2.index"


class StubEncoder:
    """The goldens' stand-in for HuBERT: tanh of a linear map of each frame's 320 samples."""

    name = "stub"

    def __init__(self, golden: Path) -> None:
        stored = np.load(golden / "inference" / "stub_embedder.npz")
        self._weight = torch.from_numpy(stored["weight_times64_int8_320x768"] / np.float32(64))
        self._bias = torch.from_numpy(stored["bias_768"].astype(np.float32))

    def width(self, version: str) -> int:
        return 768

    def encode(self, wave: torch.Tensor, version: str) -> torch.Tensor:
        frames = (len(wave) - 80) // 320
        return torch.tanh(wave[: frames * 320].reshape(frames, 320) @ self._weight + self._bias)


@pytest.fixture
def clip(golden: Path) -> np.ndarray:
    return np.load(golden / "inference" / "clip_6s_16k.npz")["audio_int16"] / np.float32(32768)


@pytest.fixture
def converter(golden: Path) -> Converter:
    """The golden voice whose prior sees one frame at a time: its attention is taken out."""
    model = build_synthesizer(read_voice(golden / "inference" / "tiny_v2_f0_32k.pth"))
    model.enc_p.encoder.forward = lambda x, mask: x * mask
    prepare_for_inference(model)
    device = torch.device("cpu")
    return Converter(Networks(model, StubEncoder(golden), LoudnessPitch(), None, device))


@pytest.mark.parametrize("protect", [0.0, 0.33, 0.49])
def test_protection_is_the_published_one(golden: Path, protect: float) -> None:
    stored = np.load(golden / "inference" / "protect.npz")
    mixed, own, f0_hz = (torch.from_numpy(stored[k][0]) for k in ("feats", "feats0", "pitchf"))
    found = protect_content(mixed, own, f0_hz, protect)
    error = np.abs(found.numpy() - stored[f"out_protect_{protect}"][0]).max()
    assert error <= PROTECT_TOLERANCE


def _convert(converter: Converter, wave: np.ndarray, **settings: object) -> np.ndarray:
    chosen = {"seed": 3, "envelope_mix": 0.25, **settings}
    return convert_waveform(wave, 16000, converter, ConversionConfig(**chosen)).wave


def _db(error: np.ndarray, signal: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt((error**2).mean()) / np.sqrt((signal**2).mean()) + 1e-12)


@pytest.mark.parametrize("chunk", [2.0, 3.7])
def test_chunks_of_independent_frames_join_to_the_single_chunk(
    converter: Converter, clip: np.ndarray, chunk: float
) -> None:
    wave = np.tile(clip, 2)
    single = _convert(converter, wave)
    joined = _convert(converter, wave, chunk_seconds=chunk)
    assert len(joined) == len(single) == 2 * 192000
    assert _db(joined - single, single) < JOINT_DB


def test_the_seed_repeats_the_sound_and_another_changes_it(
    converter: Converter, clip: np.ndarray
) -> None:
    wave = clip[:24000]
    once, twice = _convert(converter, wave), _convert(converter, wave)
    np.testing.assert_array_equal(once, twice)
    assert _db(_convert(converter, wave, seed=4) - once, once) > -60


class SineVoice:
    """Sings its pitch as a pure tone whose level differs a little from chunk to chunk."""

    def __init__(self) -> None:
        self.config = SynthesizerConfig.standard(16000, "v1", speakers=1)
        self.source = HarmonicSource(160)
        self.calls = 0

    def infer(self, *arguments: object) -> torch.Tensor:
        f0_hz, options = arguments[3], arguments[5]
        first, last = options.keep
        phase = phase_at_frames(f0_hz, options.start_phase)[:, first:last]
        self.calls += 1
        return self.source.sine(f0_hz[:, first:last], phase) * (1 + 0.2 * (-1) ** self.calls)


class DriftingPitch(LoudnessPitch):
    """Finds a pitch that differs a little from chunk to chunk, as estimators do."""

    calls = 0

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        self.calls += 1
        return super().__call__(wave) * (1 + 0.002 * (-1) ** self.calls)


def _flux(wave: np.ndarray, hop: int = 40) -> np.ndarray:
    """Change of the spectrum in dB from one frame of 10 ms to the next, 2.5 ms later."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 4 * hop)[::hop] * np.hanning(4 * hop)
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-2)
    return np.sqrt((np.diff(spectrum, axis=0) ** 2).mean(1))


def test_joints_are_no_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tone that never pauses: every joint lies in sound, where a click would show.
    time = np.arange(20 * 16000) / 16000
    level = 0.2 + 0.1 * np.sin(2 * np.pi * 1.7 * time)
    wave = (level * np.sin(2 * np.pi * 400 * time)).astype(np.float32)
    voice, device = SineVoice(), torch.device("cpu")
    networks = Networks(voice, RawEncoder(), DriftingPitch(), None, device)
    cuts: list[int] = []
    convert = Pipeline.convert

    def noted(pipeline: Pipeline, chunk: Chunk) -> np.ndarray:
        cuts.extend([] if chunk.is_last else [chunk.last])
        return convert(pipeline, chunk)

    monkeypatch.setattr(Pipeline, "convert", noted)
    flux = _flux(_convert(Converter(networks), wave, chunk_seconds=2.0, envelope_mix=1))
    near = (np.abs(np.arange(len(flux))[:, None] - 4 * np.array(cuts)) <= 16).any(1)
    assert len(cuts) >= 9
    # A hard cut gives 8.5, a gap of 20 ms 10, a broken phase 2.7; joined 2.5, elsewhere 2.3.
    assert np.quantile(flux[near], 0.99) <= np.quantile(flux[~near], 0.99) * 1.1


def test_the_index_changes_the_content_by_its_rate(
    golden: Path, converter: Converter, clip: np.ndarray
) -> None:
    wave = clip[:24000]
    converter.networks.index = read_index(golden / "inference" / INDEX)
    none, half, full = (_convert(converter, wave, index_rate=rate) for rate in (0, 0.5, 1))
    assert _db(half - none, none) > -60 and _db(full - half, none) > -60
    converter.networks.index = None
    np.testing.assert_array_equal(none, _convert(converter, wave, index_rate=0.5))


def test_both_searches_give_the_same_sound(
    golden: Path, converter: Converter, clip: np.ndarray
) -> None:
    index = read_index(golden / "inference" / INDEX)
    converter.networks.index = index
    exact = _convert(converter, clip[:24000])
    # All lists visited: then faiss is exact too.
    search = index.search_faiss
    index.search_faiss = lambda query: search(query, nprobe=6)  # type: ignore[method-assign]
    listed = _convert(converter, clip[:24000], gpu_retrieval=False)
    assert _db(listed - exact, exact) < -80


def test_a_transposed_voice_hears_a_transposed_pitch(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    sung: list[torch.Tensor] = []
    infer = converter.networks.voice.infer

    def listening(content: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sung.append(rest[2])
        return infer(content, *rest)

    monkeypatch.setattr(converter.networks.voice, "infer", listening)
    for transpose in (0, 12):
        _convert(converter, speech_like(1), transpose=transpose)
    torch.testing.assert_close(sung[1], 2 * sung[0])


def test_pitch_from_a_file_is_sung_where_the_file_says(
    converter: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pitch.csv"
    file.write_text("\n".join(f"{t / 100},{200 + t}" for t in range(300, 501)))
    sung: list[np.ndarray] = []
    infer = converter.networks.voice.infer

    def listening(content: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        options = rest[4]
        sung.append(rest[2][0, slice(*options.keep)].numpy())
        return infer(content, *rest)

    monkeypatch.setattr(converter.networks.voice, "infer", listening)
    _convert(converter, speech_like(6), f0_file=file, transpose=12)
    np.testing.assert_allclose(sung[0][300:501], 200 + np.arange(300, 501), rtol=1e-6)
    assert sung[0][:300].max() != sung[0][300]


def test_noise_scale_zero_leaves_the_mean_of_the_prior(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[torch.Tensor] = []
    infer = converter.networks.voice.infer

    def listening(content: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        drawn.append(rest[4].prior_noise)
        return infer(content, *rest)

    monkeypatch.setattr(converter.networks.voice, "infer", listening)
    for scale in (0.0, 0.66666):
        _convert(converter, speech_like(1), noise_scale=scale)
    assert not drawn[0].any() and abs(drawn[1].std() - 1) < 0.05
