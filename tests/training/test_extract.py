"""Content and pitch, file by file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DatasetError, TrainingError
from rvc_colab.progress import SilentProgress
from rvc_colab.training.extract import Extractor, extract_dataset, extract_pieces, load_clips
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
    arrays = extract_pieces(pieces, extractor)
    assert np.diff(arrays["content_bounds"]).tolist() == [49, 25]
    assert np.diff(arrays["f0_bounds"]).tolist() == [100, 50]
    assert arrays["content"].dtype == np.float16 and arrays["f0"].dtype == np.float32


def test_an_interrupted_extraction_goes_on_where_it_was(
    dataset: Dataset, extractor: Extractor, working_set: WorkingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def counting(pieces, by):  # type: ignore[no-untyped-def]
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(len(pieces))
        return extract_pieces(pieces, by)

    monkeypatch.setattr("rvc_colab.training.extract.extract_pieces", counting)
    with pytest.raises(KeyboardInterrupt):
        extract_dataset(dataset, extractor, working_set, SilentProgress())
    heard.clear()
    extract_dataset(dataset, extractor, working_set, SilentProgress())
    assert len(heard) == 1


def test_another_encoder_or_method_is_heard_anew(dataset: Dataset, extractor: Extractor) -> None:
    recording = dataset.recordings[0]
    deaf = Extractor.of(extractor.encoder, "v1", None)
    assert deaf.hearing.key(recording) != extractor.hearing.key(recording)
    extractor.encoder.model = torch.nn.Linear(2, 2)  # type: ignore[attr-defined]
    assert Extractor.of(extractor.encoder, "v1", None).hearing.key(recording) != deaf.hearing.key(
        recording
    )


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
        extract_pieces([np.full(16000, np.nan, dtype=np.float32)], extractor)
