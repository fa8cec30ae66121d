"""The journey of a voice: preprocess → extract → fit → index → export, whole or step by step."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rvc_colab.config import Latent, TrainingConfig
from rvc_colab.errors import Cancelled, DatasetError, RVCError, SnapshotError
from rvc_colab.features.content import check_width
from rvc_colab.features.retrieval import build_index, index_file_name, write_index
from rvc_colab.profiling import stage
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.store.checkpoint import VoiceMetadata, write_voice
from rvc_colab.training.batches import ClipStore
from rvc_colab.training.extract import (
    Extractor,
    Hearing,
    extract_dataset,
    hearing_path,
    load_clips,
    read_content,
    read_hearing,
    write_hearing,
)
from rvc_colab.training.fit import FitResult, Fitting
from rvc_colab.training.inspection import inspect_folder, refuse_if_strict, write_inspection
from rvc_colab.training.journal import Journal
from rvc_colab.training.launch import processes_for, train_in_processes
from rvc_colab.training.machine import main_process_first, open_machine
from rvc_colab.training.networks import build_networks, synthesizer_config
from rvc_colab.training.preprocess import (
    Dataset,
    dataset_path,
    preprocess_folder,
    read_dataset,
    write_dataset,
)
from rvc_colab.training.pretrained import check_named, start_from
from rvc_colab.training.report import facts_of, write_reports
from rvc_colab.training.results import MadeFile, TrainingResult
from rvc_colab.training.runs import (
    begin_run,
    choose_snapshot,
    end_run,
    fixed_facts,
    held_alone,
    set_aside,
)
from rvc_colab.training.snapshots import Snapshot, Snapshots
from rvc_colab.training.validation import Validator, overtrained, split_recordings
from rvc_colab.training.working_set import WorkingSet
from rvc_colab.workspace import Workspace, safe_name

_log = logging.getLogger(__name__)


def train(
    name: str,
    folder: str | Path,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress | None = None,
) -> TrainingResult:
    """Train a voice from a folder of recordings, or go on with the run of that name.

    On Ctrl-C, SIGTERM or a time limit the step is finished, a snapshot and the voice are written,
    and the result says why it ended. Raises DatasetError, TrainingError, SnapshotError and
    ConfigError.
    """
    begun, progress = time.monotonic(), progress or SilentProgress()
    safe_name(name)
    synthesizer_config(config)  # refuse impossible settings before the long work
    if config.restart or not Snapshots(workspace.run(name) / "snapshots").steps():
        check_named(config, workspace.cache)
    if (processes := processes_for(config)) > 1:
        return train_in_processes(name, folder, config, workspace, progress, processes)
    with contextlib.ExitStack() as held:
        with main_process_first(config.device) as first:
            if first:
                held.enter_context(held_alone(name, workspace))
                begin_run(name, Path(folder), config, workspace)
        return _train(name, folder, config, workspace, progress, begun)


def _train(
    name: str,
    folder: str | Path,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress,
    begun: float,
) -> TrainingResult:
    warnings, state = list[str](), "failed"
    try:
        with main_process_first(config.device) as first:
            if first:
                warnings += inspect(name, folder, config, workspace, progress)
            dataset = preprocess(name, folder, config, workspace, progress)
            hearing = extract(name, config, workspace, progress)
        fitted = _fit(name, _time_left(config, begun), workspace, progress)
        state = fitted.ended
        with main_process_first(config.device) as first:
            made = _finish(name, config, workspace, progress, fitted) if first else []
    except RVCError as error:
        state = error.message if isinstance(error, Cancelled) else f"failed: {error.message}"
        raise
    finally:
        if first:
            end_run(name, state, workspace)
    warnings += [*dataset.warnings(), *hearing.notes, *fitted.warnings]
    warnings += [warning for file in made for warning in file.warnings]
    report = facts_of(dataset, hearing, fitted) | {
        "seconds": time.monotonic() - begun,
        "warnings": warnings,
    }
    if made:
        write_reports(workspace.run(name), report, [file.path for file in made])
    index_path = made[1].path if len(made) > 1 else None
    return TrainingResult(voice_path(name, workspace), index_path, report, warnings)


def _time_left(config: TrainingConfig, begun: float) -> TrainingConfig:
    """Take the time that preparing took from the time limit: a platform's clock runs already."""
    if config.max_minutes is None:
        return config
    left = config.max_minutes - (time.monotonic() - begun) / 60
    return config.model_copy(update={"max_minutes": max(left, 0.0)})


def _finish(
    name: str,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress,
    fitted: FitResult,
) -> list[MadeFile]:
    """Write the voice (the best one where the newest overtrains) and its index."""
    epoch = "best" if overtrained(fitted.position) else None
    try:
        made = [export(name, config, workspace, progress, epoch)]
    except SnapshotError as error:
        if epoch is None:
            raise
        made = [export(name, config, workspace, progress)]
        made[0].warnings.append(f"The newest was exported, not the best: {error.message}")
    return made + ([index(name, config, workspace, progress)] if config.build_index else [])


def inspect(
    name: str,
    folder: str | Path,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress | None = None,
) -> list[str]:
    """Look at the recordings, leave figures and a picture in the run's folder, return the findings.

    Raises DatasetError for serious ones where the settings are strict.
    """
    working_set = WorkingSet.of(workspace)
    found = inspect_folder(Path(folder).expanduser(), working_set, config.sample_rate, progress)
    write_inspection(found, workspace.run(name))
    return refuse_if_strict(found, config.strict)


def preprocess(
    name: str,
    folder: str | Path,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress | None = None,
) -> Dataset:
    """Cut the recordings of a folder into pieces and note in the run's folder what they are."""
    safe_name(name)
    synthesizer_config(config)  # refuse impossible settings before the long work
    path, before = dataset_path(name, workspace), None
    if not config.restart and Snapshots(workspace.run(name) / "snapshots").steps():
        with contextlib.suppress(DatasetError):  # not there or damaged: nothing to compare with
            before = read_dataset(path)
    dataset = preprocess_folder(
        Path(folder).expanduser(), config, WorkingSet.of(workspace), progress or SilentProgress()
    )
    dataset = dataset if before is None else dataset.after(before)
    write_dataset(path, dataset)
    return dataset


def extract(
    name: str,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress | None = None,
    extractor: Extractor | None = None,
) -> Hearing:
    """Compute content and pitch of the pieces that have none yet.

    `extractor` replaces the encoder and the estimator that the settings name.
    """
    dataset = _matching_dataset(name, config, workspace)
    extractor = extractor or open_extractor(config, workspace)
    check_width(extractor.encoder, str(config.version), synthesizer_config(config).content_channels)
    extract_dataset(dataset, extractor, WorkingSet.of(workspace), progress or SilentProgress())
    write_hearing(hearing_path(name, workspace), extractor.hearing)
    return extractor.hearing


def open_extractor(config: TrainingConfig, workspace: Workspace) -> Extractor:
    """Load the encoder and the pitch estimator that the settings name."""
    from rvc_colab.device import choose_device
    from rvc_colab.store.encoders import open_content_encoder

    device = choose_device(config.device).device
    encoder = open_content_encoder(config.encoder, device, cache=workspace.cache)
    f0 = open_f0(config, workspace, device) if config.use_f0 else None
    return Extractor.of(encoder, str(config.version), f0)


def open_f0(
    config: TrainingConfig, workspace: Workspace, device: torch.device
) -> Callable[..., Any]:
    """Load the pitch estimator; RMVPE's weights come from the cache or the hub."""
    from rvc_colab.features.f0 import load_f0_estimator

    weights = None
    if config.f0_method == "rmvpe":
        from rvc_colab.store.assets import fetch
        from rvc_colab.store.checkpoint import load_tensors

        weights = load_tensors(fetch("rmvpe", workspace.cache))
    return load_f0_estimator(str(config.f0_method), device, weights)


def fit(
    name: str, config: TrainingConfig, workspace: Workspace, progress: Progress | None = None
) -> FitResult:
    """Train the networks on what was extracted, going on from the newest snapshot."""
    with contextlib.ExitStack() as held:
        with main_process_first(config.device) as first:
            if first:
                held.enter_context(held_alone(name, workspace))
        return _fit(name, config, workspace, progress)


def _fit(
    name: str, config: TrainingConfig, workspace: Workspace, progress: Progress | None
) -> FitResult:
    dataset = _matching_dataset(name, config, workspace)
    hearing = read_hearing(hearing_path(name, workspace))
    size = synthesizer_config(config)
    working_set = WorkingSet.of(workspace)
    trained, apart = split_recordings(dataset, config)
    loaded = load_clips(trained, hearing, working_set, config, size.segment_frames)
    if not loaded.clips:
        raise DatasetError(
            f"No piece is as long as a training slice of {size.segment_frames / 100:.2f} s.",
            "Give longer recordings, or a smaller --segment-frames.",
        )
    snapshots = Snapshots(workspace.run(name) / "snapshots", config.keep_snapshots)
    with main_process_first(config.device) as first:
        if config.restart and first:
            set_aside(snapshots.folder)
    machine = open_machine(config)
    networks = build_networks(config)
    warnings, taken = list(loaded.warnings), list[str]()
    if not snapshots.steps():
        with main_process_first(config.device):  # it may download them
            taken, more = start_from(networks, config, workspace.cache)
        warnings += more
    clips = ClipStore(loaded.clips, networks.spectrogram, machine.place_for(loaded.clips))
    fitting = Fitting(
        config, machine, networks, clips, snapshots, facts=fixed_facts(config, hearing)
    )
    measured = load_clips(apart, hearing, working_set, config, size.segment_frames).clips
    if measured and machine.is_main:
        fitting.validator = Validator(
            ClipStore(measured, networks.spectrogram, machine.device),
            config.seed,
            lambda: open_f0(config, workspace, machine.device),
            from_prior=config.decode_from is Latent.PRIOR,
        )
    fitting.resume()
    if machine.is_main:
        live = workspace.tensorboard(name)
        fitting.journal = Journal(workspace.run(name), live, fitting.position.step)
    try:
        result = fitting.run(progress or SilentProgress())
    finally:
        if fitting.journal is not None:
            fitting.journal.close()
    result.warnings, result.pretrained = warnings + result.warnings, taken
    return result


def index(
    name: str, config: TrainingConfig, workspace: Workspace, progress: Progress | None = None
) -> MadeFile:
    """Build the retrieval index of the run's content and write it beside the voices."""
    progress = progress or SilentProgress()
    dataset = _matching_dataset(name, config, workspace)
    hearing, working_set = read_hearing(hearing_path(name, workspace)), WorkingSet.of(workspace)
    progress.stage("Building the index", 1)
    features = []
    for recording in sorted(dataset.recordings, key=lambda item: item.path):
        rows = read_content(working_set, hearing, recording)
        features += [part for part in rows if len(part)]
    with stage("index"):
        built = build_index([rows.astype("float32") for rows in features], config.seed)
        path = workspace.indexes / index_file_name(name, str(config.version), len(built))
        for old in workspace.indexes.glob(
            f"added_IVF*_Flat_nprobe_1_{safe_name(name)}_{config.version}.index"
        ):
            old.unlink()  # of fewer or more recordings
        write_index(path, built)
    progress.advance(1, path.name)
    return MadeFile(path, "index", list(built.warnings))


def export(
    name: str,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress | None = None,
    epoch: int | str | None = None,
) -> MadeFile:
    """Write the voice of the newest whole snapshot to the workspace's `weights/NAME.pth`.

    `epoch` chooses another one: its number, or `best`.
    """
    snapshots = Snapshots(workspace.run(name) / "snapshots", config.keep_snapshots)
    snapshot = choose_snapshot(name, snapshots, epoch)
    progress = progress or SilentProgress()
    progress.stage("Writing the voice", 1)
    hearing = read_hearing(hearing_path(name, workspace))
    dataset = read_dataset(dataset_path(name, workspace))
    path = voice_path(name, workspace)
    write_voice(
        path,
        snapshot.tensors["generator"],
        synthesizer_config(config),
        _metadata(name, config, snapshot, dataset, hearing),
    )
    progress.advance(1, path.name)
    return MadeFile(path, "voice", list(snapshots.warnings))


def voice_path(name: str, workspace: Workspace) -> Path:
    """Return where a run's voice lies."""
    return workspace.weights / f"{safe_name(name)}.pth"


def _metadata(
    name: str, config: TrainingConfig, snapshot: Snapshot, dataset: Dataset, hearing: Hearing
) -> VoiceMetadata:
    position = snapshot.state["position"]
    seconds = int(dataset.seconds)
    return VoiceMetadata(
        model_name=name,
        creation_date=datetime.now(UTC).replace(microsecond=0).isoformat(),
        epoch=position["epoch"],
        step=snapshot.step,
        encoder=hearing.encoder,
        dataset_length=f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
        dataset_fingerprint=dataset.fingerprint,
        f0_method=hearing.f0_method,
        f0_interpolated=False,
        seed=config.seed,
    )


def _matching_dataset(name: str, config: TrainingConfig, workspace: Workspace) -> Dataset:
    dataset = read_dataset(dataset_path(name, workspace))
    if (dataset.sample_rate, dataset.slice_seconds) != (config.sample_rate, config.slice_seconds):
        raise DatasetError(
            f"The recordings of {name} were prepared at {dataset.sample_rate} Hz in slices of "
            f"{dataset.slice_seconds:g} s, the settings say {config.sample_rate} Hz and "
            f"{config.slice_seconds:g} s.",
            f"Run: rvc-colab preprocess {name} FOLDER with the same settings",
        )
    return dataset
