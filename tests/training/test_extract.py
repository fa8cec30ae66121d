"""Content and pitch, file by file."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError, TrainingError
from rvc_colab.progress import SilentProgress
from rvc_colab.training import extract, preprocess
from rvc_colab.training.extract import (
    Extractor,
    extract_content,
    extract_dataset,
    extract_pitch,
    load_clips,
)
from rvc_colab.training.preprocess import Dataset, preprocess_folder
from rvc_colab.training.working_set import WorkingSet


@pytest.fixture
def working_set(tmp_path: Path) -> WorkingSet:
    return WorkingSet(tmp_path / "work")


@pytest.fixture
def dataset(tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet) -> Dataset:
    return preprocess_folder(recordings, tiny_config, working_set, SilentProgress())


def test_content_and_pitch_have_their_frames(extractor: Extractor) -> None:
    pieces = [np.random.default_rng(0).standard_normal(n).astype(np.float32) for n in (16000, 8123)]
    content, pitch = extract_content(pieces, extractor), extract_pitch(pieces, extractor)
    assert np.diff(content["bounds"]).tolist() == [49, 25]
    assert np.diff(pitch["bounds"]).tolist() == [100, 50]
    assert content["rows"].dtype == np.float16 and pitch["f0"].dtype == np.float32


class Counted:
    """Count what is cut, heard and tuned; optionally break off after some pitches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self.break_after: int | None = None
        for module, name in ((preprocess, "slice_recording"), (extract, "extract_content"),
                             (extract, "extract_pitch")):  # fmt: skip
            monkeypatch.setattr(module, name, self._counting(name, getattr(module, name)))

    def _counting(self, name: str, work: Any) -> Any:
        def run(*arguments: Any) -> Any:
            if self.break_after == self.calls[name] and name == "extract_pitch":
                raise KeyboardInterrupt
            self.calls[name] += 1
            return work(*arguments)

        return run

    def since(self) -> tuple[int, int, int]:
        """Return (recordings cut, heard for content, heard for pitch) since the last look."""
        names = ("slice_recording", "extract_content", "extract_pitch")
        counts = tuple(self.calls[name] for name in names)
        self.calls.clear()
        return counts  # type: ignore[return-value]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def prepare(
    tiny_config: TrainingConfig, recordings: Path, working_set: WorkingSet, extractor: Extractor
) -> Callable[..., None]:
    """Cut and hear the three recordings: `prepare(extractor, setting=…)`."""

    def prepared(by: Extractor = extractor, **changes: object) -> None:
        config = tiny_config.model_copy(update=changes)
        dataset = preprocess_folder(recordings, config, working_set, SilentProgress())
        extract_dataset(dataset, by, working_set, SilentProgress())

    return prepared


def test_nothing_is_computed_twice(prepare: Callable[..., None], counted: Counted) -> None:
    prepare()
    assert counted.since() == (3, 3, 3)
    prepare()
    assert counted.since() == (0, 0, 0)


def test_another_rate_or_slice_length_reruns_all(
    prepare: Callable[..., None], counted: Counted
) -> None:
    prepare()
    counted.since()
    prepare(sample_rate=32000)
    assert counted.since() == (3, 3, 3)
    prepare(slice_seconds=1.5)
    assert counted.since() == (3, 3, 3)
    prepare()
    assert counted.since() == (0, 0, 0)


def test_another_encoder_reruns_the_content_alone(
    prepare: Callable[..., None], counted: Counted, extractor: Extractor
) -> None:
    prepare()
    counted.since()
    extractor.encoder.model = torch.nn.Linear(2, 2)  # type: ignore[attr-defined]
    prepare(Extractor.of(extractor.encoder, "v1", extractor.f0))
    assert counted.since() == (0, 3, 0)


def test_another_pitch_method_reruns_the_pitch_alone(
    prepare: Callable[..., None], counted: Counted, extractor: Extractor
) -> None:
    prepare()
    counted.since()

    class Other:
        name = "other"

        def __call__(self, wave: np.ndarray) -> np.ndarray:
            return np.full(len(wave) // 160, 100.0, dtype=np.float32)

    prepare(Extractor.of(extractor.encoder, "v1", Other()))
    assert counted.since() == (0, 0, 3)


def test_a_changed_recording_is_the_only_one_done_again(
    prepare: Callable[..., None], counted: Counted, recordings: Path, tone: Callable[..., Any]
) -> None:
    prepare()
    counted.since()
    soundfile.write(recordings / "1.wav", tone(1.6, 260.0, 9), 16000)
    (recordings / "2.wav").rename(recordings / "renamed.wav")
    prepare()
    assert counted.since() == (1, 1, 1)


def test_settings_of_the_training_alone_rerun_nothing(
    prepare: Callable[..., None], counted: Counted
) -> None:
    prepare()
    counted.since()
    prepare(epochs=7, batch_size=1, learning_rate=1e-3, seed=5)
    assert counted.since() == (0, 0, 0)


def test_an_interrupted_extraction_goes_on_where_it_was(
    prepare: Callable[..., None], counted: Counted
) -> None:
    counted.break_after = 2
    with pytest.raises(KeyboardInterrupt):
        prepare()
    assert counted.since() == (3, 3, 2)
    counted.break_after = None
    prepare()
    assert counted.since() == (0, 0, 1)


def test_pieces_shorter_than_a_slice_are_named(
    dataset: Dataset, extractor: Extractor, working_set: WorkingSet, tiny_config: TrainingConfig
) -> None:
    extract_dataset(dataset, extractor, working_set, SilentProgress())
    loaded = load_clips(dataset.recordings, extractor.hearing, working_set, tiny_config, least=95)
    pieces = sum(recording.pieces for recording in dataset.recordings)
    assert len(loaded.clips) + len(loaded.warnings) == pieces and loaded.warnings
    assert "shorter than the training slice of 0.95 s" in loaded.warnings[0]


def test_features_that_are_missing_are_asked_for(
    dataset: Dataset, extractor: Extractor, working_set: WorkingSet, tiny_config: TrainingConfig
) -> None:
    with pytest.raises(DatasetError, match="not computed yet"):
        load_clips(dataset.recordings, extractor.hearing, working_set, tiny_config, least=10)


def test_not_a_number_is_refused(extractor: Extractor) -> None:
    with pytest.raises(TrainingError):
        extract_content([np.full(16000, np.nan, dtype=np.float32)], extractor)
