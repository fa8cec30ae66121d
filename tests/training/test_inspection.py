"""The look at recordings: each fault is found where it is, and only there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rvc_colab.audio.filters import resample
from rvc_colab.cli import main
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError
from rvc_colab.training import recipe, sounding
from rvc_colab.training.inspection import Inspection, inspect_folder, refuse_if_strict
from rvc_colab.training.voices_apart import two_groups
from rvc_colab.training.working_set import WorkingSet
from rvc_colab.workspace import Workspace

RATE = 16000


def speech(seconds: float, hz: float = 150.0, seed: int = 0, noise: float = 1e-4) -> np.ndarray:
    """Syllables of a gliding harmonic tone with pauses between them, over steady noise."""
    draw, time = np.random.default_rng(seed), np.arange(int(seconds * RATE)) / RATE
    glide = hz * 2 ** (0.2 * np.sin(2 * np.pi * 0.4 * time + seed))
    phase = 2 * np.pi * np.cumsum(glide) / RATE
    wave = np.sum([np.sin(k * phase) / k**1.2 for k in range(1, 12)], axis=0)
    loud = np.repeat(draw.uniform(0.3, 1.0, int(seconds * 3) + 1), RATE // 3)[: len(time)]
    syllables = loud * (np.sin(2 * np.pi * 3 * time) > -0.3)
    return (0.25 * wave * syllables + noise * draw.standard_normal(len(time))).astype(np.float32)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Inspection]:
    """Write sounds to a folder and inspect it: `look(a=wave, b=(wave, rate))`."""

    def inspected(**sounds: object) -> Inspection:
        folder = tmp_path / "look"
        folder.mkdir()
        for name, sound in sounds.items():
            wave, rate = sound if isinstance(sound, tuple) else (sound, RATE)
            soundfile.write(folder / f"{name}.wav", wave, rate, subtype="FLOAT")
        return inspect_folder(folder)

    return inspected


def about(inspection: Inspection, word: str) -> str:
    return " ".join(found.text for found in inspection.findings if word in found.text)


def test_clean_speech_has_only_little_of_it(look: Callable[..., Inspection]) -> None:
    found = look(a=speech(20, seed=1), b=speech(50, seed=2))
    assert [finding.text for finding in found.findings] == [about(found, "min of voice")]
    assert found.figures["a.wav"].f0_median == pytest.approx(150, rel=0.08)


def test_clipping_is_found_where_it_is(look: Callable[..., Inspection]) -> None:
    wave = speech(5)
    found = look(fine=wave, hard=np.clip(3 * speech(5, seed=1), -0.5, 0.5))
    assert "hard.wav" in about(found, "lipped") and "fine.wav" not in about(found, "lipped")


def test_noise_is_measured_in_the_pauses() -> None:
    quiet, loud = (sounding.sound_out(speech(8, noise=n), RATE).figures for n in (1e-3, 1e-1))
    assert quiet.snr_db is not None and loud.snr_db is not None
    assert quiet.snr_db - loud.snr_db == pytest.approx(40, abs=6)
    assert loud.snr_db < 15


def test_copies_are_found_by_bytes_and_by_sound(look: Callable[..., Inspection]) -> None:
    wave = speech(6)
    found = look(one=wave, louder=0.5 * wave, other=speech(6, seed=5))
    assert found.duplicates == (("louder.wav", "one.wav"),)


def test_mixed_rates_and_a_narrow_band_are_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(5), RATE)
    up = resample(resample(speech(5, seed=3), RATE, 8000), 8000, 48000)
    soundfile.write(tmp_path / "b.wav", up, 48000)
    found = inspect_folder(tmp_path, sample_rate=48000)
    assert "16000" in about(found, "mixed") and "b.wav" in about(found, "Nothing above")
    assert found.figures["b.wav"].bandwidth_hz < 4500


def test_silence_is_silent_and_has_no_pitch(look: Callable[..., Inspection]) -> None:
    found = look(a=speech(5), nothing=np.zeros(5 * RATE, np.float32))
    assert "nothing.wav" in about(found, "silent") and "nothing.wav" in about(found, "No pitch")


def test_two_clouds_are_two_people_and_one_is_not() -> None:
    draw = np.random.default_rng(0)
    one = draw.standard_normal((60, 13))
    two = draw.standard_normal((30, 13)) + 6.0
    assert two_groups(one).certainty == "none"
    apart = two_groups(np.concatenate([one, two]))
    assert apart.certainty == "likely" and apart.share == pytest.approx(1 / 3)


def test_a_second_voice_an_octave_higher_is_suspected(look: Callable[..., Inspection]) -> None:
    low = {f"low{i}": speech(20, 110, i) for i in range(2)}
    high = {f"high{i}": 0.7 * resample(speech(20, 220, i), RATE, 13000) for i in range(2)}
    found = look(**low, **high)
    assert "semitones apart" in about(found, "two groups")
    assert "two groups" not in " ".join(
        finding.text for finding in look_again(found, "low").findings
    )


def look_again(found: Inspection, prefix: str) -> Inspection:
    folder = Path(found.folder)
    for path in folder.iterdir():
        if not path.name.startswith(prefix):
            path.unlink()
    return inspect_folder(folder)


def test_strict_refuses_faults_and_only_faults(look: Callable[..., Inspection]) -> None:
    found = look(hard=np.clip(3 * speech(70), -0.5, 0.5))
    with pytest.raises(DatasetError, match="Clipped"):
        refuse_if_strict(found, strict=True)
    assert any("Clipped" in line for line in refuse_if_strict(found, strict=False))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(2), RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    assert "broken.wav" in inspect_folder(tmp_path).failed
    (tmp_path / "a.wav").unlink()
    with pytest.raises(DatasetError, match="None of the 1"):
        inspect_folder(tmp_path)


def test_what_was_measured_is_not_measured_again(
    recordings: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = inspect_folder(recordings, WorkingSet.of(workspace))
    monkeypatch.setattr(sounding, "sound_out", None)
    assert inspect_folder(recordings, WorkingSet.of(workspace)).record() == first.record()


@pytest.mark.usefixtures("stand_ins")
def test_a_run_keeps_figures_and_picture_and_strict_stops_it_before_the_work(
    tiny_config: TrainingConfig, recordings: Path, workspace: Workspace
) -> None:
    strict = tiny_config.model_copy(update={"strict": True})
    with pytest.raises(DatasetError, match="min of voice"):
        recipe.train("anna", recordings, strict, workspace)
    run = workspace.run("anna")
    assert (run / "inspection.svg").read_text().startswith("<svg ")
    assert (run / "inspection.json").is_file() and not (run / "dataset.json").exists()


def test_the_command_says_what_was_found_and_strict_exits_with_two(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["inspect", str(recordings), "--workspace", str(tmp_path / "space"), "--json"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(record["recordings"]) == 3 and record["findings"][0]["serious"]
    assert (tmp_path / "out" / "inspection.svg").is_file()
    assert main([*words, "--strict"]) == 2


def test_the_command_says_each_finding_once(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "hard.wav", np.clip(3 * speech(70), -0.5, 0.5), RATE)
    command = ["inspect", str(tmp_path), "--workspace", str(workspace.root)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count("Clipped, audibly") == 1
    assert main([*command, "--strict"]) == 2
