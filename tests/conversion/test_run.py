from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from stand_ins import PLAIN, IdentityVoice, identity_converter, speech_like

from rvc_colab.audio.filters import highpass_zero_phase
from rvc_colab.config import ConversionConfig
from rvc_colab.conversion.run import convert_file, convert_waveform
from rvc_colab.errors import AudioError, Cancelled, ConfigError, RVCError, VoiceError
from rvc_colab.progress import SilentProgress

CLICK_TOLERANCE_SECONDS = 0.001


@pytest.mark.parametrize("chunk", [2.0, 3.0, 18.0])
def test_the_identity_voice_returns_what_it_heard_to_the_sample(chunk: float) -> None:
    wave = speech_like(17.3)
    config = PLAIN.model_copy(update={"chunk_seconds": chunk})
    result = convert_waveform(wave, 16000, identity_converter(), config)
    assert np.abs(result.wave - highpass_zero_phase(wave)).max() < 1e-6
    assert (result.chunks == 1) == (chunk == 18.0)


@pytest.mark.parametrize("rate_out", [None, 44100, 8000])
@pytest.mark.parametrize("rate_in", [8000, 11025, 44100, 192000])
@pytest.mark.parametrize("seconds", [0.05, 0.73, 2.001, 5.3])
def test_the_result_is_as_long_as_the_source(
    rate_in: int, rate_out: int | None, seconds: float
) -> None:
    samples = int(seconds * rate_in) + 1
    config = PLAIN.model_copy(update={"output_rate": rate_out, "chunk_seconds": 2.0})
    wave = speech_like(seconds + 1, rate_in)[:samples]
    result = convert_waveform(wave, rate_in, identity_converter(40000), config)
    rate = rate_out or 40000
    assert len(result.wave) == result.samples == int(np.floor(samples * rate / rate_in + 0.5))


def test_clicks_come_out_when_they_went_in_over_many_joints() -> None:
    rate, seconds = 44100, 60
    times = np.arange(0.4, seconds - 0.2, 0.73)
    wave = np.zeros(rate * seconds, dtype=np.float32)
    wave[np.round(times * rate).astype(int)] = 0.9
    config = PLAIN.model_copy(update={"chunk_seconds": 2.0, "output_rate": 48000})
    result = convert_waveform(wave, rate, identity_converter(40000), config)
    assert result.chunks > 30
    for time in times:
        near = slice(round((time - 0.2) * 48000), round((time + 0.2) * 48000))
        found = np.abs(result.wave[near]).argmax() / 48000 - 0.2
        assert abs(found) <= CLICK_TOLERANCE_SECONDS


def test_only_the_kept_frames_are_decoded() -> None:
    converter = identity_converter()
    convert_waveform(speech_like(6), 16000, converter, PLAIN)
    assert converter.networks.voice.keeps == [(100, 700)]


def test_silence_stays_silent() -> None:
    result = convert_waveform(np.zeros(16000, np.float32), 16000, identity_converter())
    assert not result.wave.any()


def test_clipped_sound_is_held_below_full_scale() -> None:
    wave = np.sign(speech_like(3)) * np.float32(1.0)
    result = convert_waveform(wave, 16000, identity_converter(), PLAIN)
    assert np.abs(result.wave).max() <= 0.99 + 1e-6 and result.peak_gain < 1


def test_many_channels_are_mixed_to_one() -> None:
    wave = speech_like(1)
    six = np.stack([wave * k for k in (0, 2, 1, 1, 2, 0)])
    mixed = convert_waveform(six, 16000, identity_converter(), PLAIN).wave
    alone = convert_waveform(wave, 16000, identity_converter(), PLAIN).wave
    np.testing.assert_allclose(mixed, alone, atol=1e-6)


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.full(16000, np.nan, np.float32),
        np.zeros((16000, 2), np.float32),
        np.zeros(16000, np.int16),
        np.zeros((1, 1, 16000), np.float32),
    ],
    ids=["empty", "6 ms", "NaN", "turned", "integers", "3-D"],
)
def test_what_is_no_sound_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(AudioError) as error:
        convert_waveform(wave, 16000, identity_converter())
    assert error.value.hint


def test_a_speaker_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no speaker 2: it has 2"):
        config = ConversionConfig(speaker=2)
        convert_waveform(speech_like(1), 16000, identity_converter(), config)


def test_a_voice_that_gives_no_numbers_is_named() -> None:
    class Broken(IdentityVoice):
        def infer(self, *arguments: object) -> torch.Tensor:
            return super().infer(*arguments) * torch.nan  # type: ignore[arg-type]

    converter = identity_converter()
    converter.networks.voice = Broken()
    with pytest.raises(VoiceError, match="no numbers"):
        convert_waveform(speech_like(1), 16000, converter)


def _write(path: Path, wave: np.ndarray, rate: int) -> Path:
    soundfile.write(path, wave, rate)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_files_of_every_format_are_written_in_full(tmp_path: Path, suffix: str) -> None:
    source = _write(tmp_path / "in.wav", speech_like(3.21, 44100), 44100)
    target = tmp_path / f"out.{suffix}"
    result = convert_file(source, target, identity_converter(40000), PLAIN)
    info = soundfile.info(str(target))
    assert info.samplerate == result.sample_rate
    assert abs(info.frames - result.samples) <= (0 if suffix != "mp3" else 0.1 * info.samplerate)
    assert result.sample_rate == (44100 if suffix == "mp3" else 40000)
    assert bool(result.warnings) == (suffix == "mp3")


def test_a_file_holds_the_same_sound_as_the_waveform(tmp_path: Path) -> None:
    wave = speech_like(25.0, 44100)
    source, target = _write(tmp_path / "in.wav", wave, 44100), tmp_path / "out.wav"
    config = PLAIN.model_copy(update={"chunk_seconds": 4.0, "envelope_mix": 0.25})
    convert_file(source, target, identity_converter(40000), config)
    read, _ = soundfile.read(source, dtype="float32")
    direct = convert_waveform(read, 44100, identity_converter(40000), config).wave
    written, _ = soundfile.read(target, dtype="float32")
    assert np.abs(written - direct).max() <= 0.5 / 32768 + 1e-6  # rounded, not truncated


def test_the_loudest_file_is_scaled_as_a_whole(tmp_path: Path) -> None:
    wave = np.concatenate([speech_like(12) * 0.1, np.sign(speech_like(3))]).astype(np.float32)
    source, target = _write(tmp_path / "in.wav", wave, 16000), tmp_path / "out.wav"
    result = convert_file(source, target, identity_converter(), PLAIN)
    written, _ = soundfile.read(target, dtype="float32")
    heard = highpass_zero_phase(soundfile.read(source, dtype="float32")[0])
    np.testing.assert_allclose(written, heard * result.peak_gain, atol=1e-4)
    assert result.peak_gain < 1


class StopAfter(SilentProgress):
    """Ask to stop after some seconds of sound."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.total: int | None = None
        self.done, self._seconds = 0, seconds

    def stage(self, name: str, total: int | None = None) -> None:
        self.total = total

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units
        if self.done >= self._seconds:
            self.cancel()


def test_a_stop_leaves_no_file(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.wav", speech_like(20), 16000)
    config = PLAIN.model_copy(update={"chunk_seconds": 2.0})
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        convert_file(source, out / "out.wav", identity_converter(), config, StopAfter(5))
    assert list(out.iterdir()) == []


def test_progress_counts_every_second(tmp_path: Path) -> None:
    progress = StopAfter(10**9)
    config = PLAIN.model_copy(update={"chunk_seconds": 2.0})
    convert_waveform(speech_like(12.3), 16000, identity_converter(), config, progress)
    assert progress.done == progress.total == 13


@pytest.mark.parametrize(
    ("source", "target"),
    [("no.wav", "out.wav"), ("in.wav", "out.xyz"), ("in.wav", "in.wav"), ("in.wav", "out")],
)
def test_unusable_names_are_refused_and_leave_nothing(
    tmp_path: Path, source: str, target: str
) -> None:
    _write(tmp_path / "in.wav", speech_like(1), 16000)
    with pytest.raises(RVCError) as error:
        convert_file(tmp_path / source, tmp_path / target, identity_converter())
    assert error.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["in.wav"]


def test_the_record_is_plain_and_repeats_the_result() -> None:
    import json

    config = ConversionConfig(envelope_mix=1)
    result = convert_waveform(speech_like(1), 16000, identity_converter(), config)
    record = json.loads(json.dumps(result.record()))
    assert record["seed"] == result.seed is not None
    assert {"content", "synthesis", "listening"} <= set(record["stages"])
    assert replace(result, wave=None).record() == result.record()
