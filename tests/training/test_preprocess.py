"""Recordings to pieces: the published cuts, nothing lost, nothing dropped in silence."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError
from rvc_colab.progress import SilentProgress
from rvc_colab.training.preprocess import (
    preprocess_folder,
    read_dataset,
    slice_recording,
    write_dataset,
)
from rvc_colab.training.working_set import WorkingSet

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
SAMPLE_TOLERANCE = 2e-6
RATE = 16000
Tone = Callable[..., np.ndarray]


@pytest.fixture
def working_set(tmp_path: Path) -> WorkingSet:
    return WorkingSet(tmp_path / "work")


def run(folder: Path, config: TrainingConfig, working_set: WorkingSet):  # type: ignore[no-untyped-def]
    return preprocess_folder(folder, config, working_set, SilentProgress())


def test_pieces_of_the_recorded_track_are_the_published_ones() -> None:
    facts = json.loads((GOLDEN / "b_slicing.json").read_text())
    with np.load(GOLDEN / "b_slicing.npz") as file:
        track = file["audio_i16"].astype(np.float32) / 32768
        excerpts = {key: file[key] for key in file.files if key.startswith("per3.7_gt_")}
    arrays = slice_recording(track, facts["sr"], 3.7)
    writes = [write for write in facts["per3.7"]["writes_in_order"] if write[4]]
    lengths = np.diff(arrays["bounds"]).tolist()
    assert lengths == [end - start for _, start, end, _, _ in writes]
    # Names that stand twice there are the ones of which the first was overwritten.
    last = {name: number for number, (name, *_) in enumerate(writes)}
    checked = 0
    for name, number in last.items():
        middle = excerpts.get(f"per3.7_gt_{name}_mid64")
        if middle is not None:
            start, end = arrays["bounds"][number : number + 2]
            at = start + (end - start) // 2
            assert np.abs(arrays["wave"][at - 32 : at + 32] - middle).max() < SAMPLE_TOLERANCE, name
            checked += 1
    assert checked >= 5


def test_every_piece_has_its_16_khz_twin(tone: Tone) -> None:
    arrays = slice_recording(np.tile(tone(2.0), 3), 40000, 1.0)
    ratio = np.diff(arrays["bounds_16k"]) / np.diff(arrays["bounds"])
    assert np.allclose(ratio, 0.4, atol=1e-4)


def test_a_second_run_computes_nothing(
    tiny_config: TrainingConfig,
    recordings: Path,
    working_set: WorkingSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run(recordings, tiny_config, working_set)
    monkeypatch.setattr(
        "rvc_colab.training.preprocess.slice_recording", None
    )  # calling it would fail
    assert run(recordings, tiny_config, working_set) == first


def test_a_changed_recording_alone_is_done_again(
    tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet, tone: Tone
) -> None:
    first = {item.path: item.key for item in run(recordings, tiny_config, working_set).recordings}
    soundfile.write(recordings / "1.wav", tone(2.0, 300.0), RATE)
    second = {item.path: item.key for item in run(recordings, tiny_config, working_set).recordings}
    assert {path for path in first if first[path] != second[path]} == {"1.wav"}


def test_a_broken_file_is_named_and_the_others_go_on(
    tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet
) -> None:
    (recordings / "broken.wav").write_bytes(b"RIFF not really")
    (recordings / "notes.txt").write_text("take two")
    dataset = run(recordings, tiny_config, working_set)
    assert set(dataset.failed) == {"broken.wav"} and dataset.ignored == ("notes.txt",)
    assert len(dataset.recordings) == 3
    assert any(line.startswith("broken.wav was left out") for line in dataset.warnings())


def test_what_is_silent_or_too_loud_is_said(
    tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet, tone: Tone
) -> None:
    soundfile.write(recordings / "silent.wav", np.zeros(2 * RATE, np.float32), RATE)
    soundfile.write(recordings / "loud.wav", 20 * tone(0.9), RATE, subtype="FLOAT")
    told = "\n".join(run(recordings, tiny_config, working_set).warnings())
    assert "silent.wav gives no piece to train on: it is silent" in told
    assert "loud.wav" in told and "above 2.5" in told


def test_the_description_of_a_dataset_survives_the_disk(
    tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet, tmp_path: Path
) -> None:
    dataset = run(recordings, tiny_config, working_set)
    write_dataset(tmp_path / "run" / "dataset.json", dataset)
    assert read_dataset(tmp_path / "run" / "dataset.json") == dataset


@pytest.mark.parametrize("content", ["nothing", "text", "silence"])
def test_a_folder_without_a_voice_is_refused(
    tiny_config: TrainingConfig, tmp_path: Path, working_set: WorkingSet, content: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if content == "text":
        (folder / "a.txt").write_text("no sound")
    elif content == "silence":
        soundfile.write(folder / "a.wav", np.zeros(RATE, np.float32), RATE)
    with pytest.raises(DatasetError):
        run(folder, tiny_config, working_set)


def test_a_missing_folder_is_refused(
    tiny_config: TrainingConfig, tmp_path: Path, working_set: WorkingSet
) -> None:
    with pytest.raises(DatasetError, match="not there"):
        run(tmp_path / "nowhere", tiny_config, working_set)


def test_a_disk_that_refuses_ends_it_and_blames_no_recording(
    recordings: Path, tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "full").touch()
    with pytest.raises(DatasetError, match="cannot be kept") as error:
        preprocess_folder(
            recordings, tiny_config, WorkingSet(tmp_path / "full" / "cache"), SilentProgress()
        )
    assert "Make room" in error.value.hint


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_refused_before_the_work(
    recordings: Path, tiny_config: TrainingConfig, working_set: WorkingSet
) -> None:
    Path(os.fsdecode(os.fsencode(recordings) + b"/odd\xff.wav")).touch()
    with pytest.raises(DatasetError, match=r"odd\\udcff.wav") as error:
        run(recordings, tiny_config, working_set)
    assert error.value.hint == "Rename the file."
