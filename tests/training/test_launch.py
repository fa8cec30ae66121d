"""Two processes train as one does, and a process that fails is the parent's failure."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import ProcessExitedException

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import Cancelled, DatasetError, DeviceError, TrainingError
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.training import fit
from rvc_colab.training.agreement import EndedWithAnother
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.fit import Fitting
from rvc_colab.training.launch import _Failed, _failure, _Told, launch, processes_for
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import build_networks
from rvc_colab.training.snapshots import Snapshots
from rvc_colab.training.step import GanStep

LOSS_TOLERANCE = 1e-4
STEPS = 3


def _fitting(config: TrainingConfig, folder: Path) -> Fitting:
    fit.REPORT_SECONDS = 1e9  # the losses told are the mean of all steps, however long they take
    random = np.random.default_rng(0)
    clips = [
        Clip(
            0.1 * random.standard_normal(160 * frames).astype(np.float32),
            random.standard_normal((frames // 2, 256)).astype(np.float16),
            np.full(frames, 200.0, dtype=np.float32),
        )
        for frames in (32, 40, 36, 40, 34)
    ]
    store = ClipStore(clips, spectrogram_config(16000, "v1"))
    return Fitting(config, open_machine(config), build_networks(config), store, Snapshots(folder))


def _counted(sent: dict[str, int]) -> None:
    """Count the bytes that the processes send each other, by half of the step."""
    half, send = ["start"], torch.distributed.all_reduce
    for name in ("_train_discriminator", "_train_generator"):
        original = getattr(GanStep, name)

        def marked(self: GanStep, *rest: Any, name: str = name, original: Any = original) -> Any:
            half[0] = name
            return original(self, *rest)

        setattr(GanStep, name, marked)

    def counted(tensor: torch.Tensor, *rest: Any, **options: Any) -> Any:
        if tensor.dtype == torch.float32 and half[0] != "start":
            sent[half[0]] = sent.get(half[0], 0) + tensor.nbytes
        return send(tensor, *rest, **options)

    torch.distributed.all_reduce = counted


def _train(values: dict[str, Any], folder: str, progress: Progress) -> dict[str, float]:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    fitting, sent = _fitting(TrainingConfig(**values), Path(folder) / rank), dict[str, int]()
    _counted(sent)
    result = fitting.run(progress)
    weights = {
        name: sum(p.numel() * 4 for p in player.network.parameters())
        for name, player in fitting.state.players.items()
    }
    record = {
        "losses": result.losses,
        "sent": sent,
        "weights": weights,
        "words": fitting._in_words(),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(record))
    return result.losses


def _short_of_memory(values: dict[str, Any], folder: str, progress: Progress) -> dict[str, Any]:
    """Train while memory runs out at three places: each time in one process only.

    In the middle of sending gradients back (some layers have theirs, some do not), then before
    the generator's half, then with one slice a pass only.
    """
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    fitting = _fitting(TrainingConfig(**values), Path(folder) / rank)
    game, full = fitting.passes.game, torch.OutOfMemoryError("CUDA out of memory.")
    backward, half = game.machinery.backward, game._train_generator
    begun = {"backward": 0, "half": 0}

    def broken_backward(loss: torch.Tensor) -> None:
        begun["backward"] += 1
        if rank == "1" and begun["backward"] == 1:
            last = next(iter(fitting.networks.discriminator.discriminators[0].parameters()))
            last.register_hook(lambda gradient: (_ for _ in ()).throw(full))
            try:
                backward(loss)
            finally:
                last._backward_hooks.clear()  # type: ignore[union-attr]
            return
        backward(loss)

    def broken_half(parts: Any, *rest: Any) -> Any:
        begun["half"] += 1
        if (rank == "0" and begun["half"] == 2) or (
            rank == "1" and len(parts) == 4 and not fitting.networks.generator.dec.recomputed
        ):
            raise full
        return half(parts, *rest)

    game.machinery.backward, game._train_generator = broken_backward, broken_half  # type: ignore[method-assign]
    result = fitting.run(progress)
    told = {"losses": result.losses, "notes": fitting.passes.notes, "words": fitting._in_words()}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(told))
    return told


def _fail(progress: Progress) -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("the second one fell")


def _refuse(values: dict[str, Any], progress: Progress) -> None:
    """Refuse in the second process, in words, while the first one waits for it in an exchange."""
    machine = open_machine(TrainingConfig(**values))
    if os.environ["RANK"] == "1":
        raise DatasetError("The folder is empty.", "Fill it.")
    logging.getLogger("rvc_colab.somewhere").warning("The first one %s.", "waits")
    machine.any_process([True])


def _wait(progress: Progress) -> None:
    progress.stage("Waiting")
    while True:
        progress.check()
        time.sleep(0.05)


class Heard(SilentProgress):
    """Keep what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)
        if name == "Waiting":
            self.cancel()


def test_two_processes_train_as_one(tiny_config: TrainingConfig, tmp_path: Path) -> None:
    alone = tiny_config.model_copy(update={"max_steps": STEPS, "batch_size": 4})
    expected = _fitting(alone, tmp_path / "alone").run(SilentProgress()).losses
    shared = {**tiny_config.model_dump(mode="json"), "max_steps": STEPS, "batch_size": 2}
    heard = Heard()
    returned = launch(_train, (shared, str(tmp_path)), 2, heard)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["losses"] == pytest.approx(expected, rel=LOSS_TOLERANCE)
    assert second["losses"] == first["losses"] == returned
    assert "Training" in heard.stages and "2 × 2 processes = 4" in first["words"]
    # D's gradients travel once a step, when D learns; G's once, when G learns. The few bytes more
    # are losses.
    for network, weights in first["weights"].items():
        assert 0 <= first["sent"][f"_train_{network}"] - STEPS * weights < 200


def test_memory_that_runs_out_in_one_process_changes_the_passes_of_all_and_not_the_result(
    tiny_config: TrainingConfig, tmp_path: Path
) -> None:
    alone = tiny_config.model_copy(update={"max_steps": STEPS, "batch_size": 8})
    expected = _fitting(alone, tmp_path / "alone").run(SilentProgress()).losses
    shared = {**tiny_config.model_dump(mode="json"), "max_steps": STEPS, "batch_size": 4}
    launch(_short_of_memory, (shared, str(tmp_path)), 2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["losses"] == second["losses"] == pytest.approx(expected, rel=LOSS_TOLERANCE)
    assert "batch 1 × 4 passes × 2 processes = 8" in first["words"]
    for told in (first, second):
        places = ["step 1 of process 2", "step 2 of process 1", "step 2 of process 2"]
        assert all(place in note for place, note in zip(places, told["notes"], strict=True))
        assert "computed again" in told["notes"][-1]


def test_a_process_that_fails_is_the_parents_failure(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TrainingError, match="Process 2 of 2 .*the second one fell") as failed:
        launch(_fail, (), 2)
    assert "in _fail" in str(failed.value.__cause__) and "in _fail" in caplog.text


def test_a_refusal_in_words_is_raised_as_it_is_and_the_first_ones_words_are_logged(
    tiny_config: TrainingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DatasetError) as refused:
        launch(_refuse, (tiny_config.model_dump(mode="json"),), 2)
    assert (refused.value.message, refused.value.hint) == ("The folder is empty.", "Fill it.")
    assert ("rvc_colab.somewhere", logging.WARNING, "The first one waits.") in caplog.record_tuples


def test_a_stop_while_recordings_are_prepared_is_no_failure() -> None:
    with pytest.raises(Cancelled):
        launch(_wait, (), 2, Heard())


def test_the_failure_that_came_first_is_told() -> None:
    told = _Told()
    told.failures += [
        _Failed(0, EndedWithAnother("another one"), ""),
        _Failed(1, TrainingError("this one"), ""),
    ]
    killed = ProcessExitedException("killed", 1, 7, -9, "SIGKILL")
    assert _failure(killed, told.root, 2).message == "this one"
    assert "Process 2 of 2 was ended by SIGKILL" in _failure(killed, None, 2).message


def test_one_process_is_started_where_nothing_says_more(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes_for(tiny_config) == 1
    asked = tiny_config.model_copy(update={"processes": 3})
    assert processes_for(asked) == 3
    assert processes_for(asked.model_copy(update={"data_gpu": "0"})) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_for(asked) == 1


def test_one_process_where_accelerate_was_asked_for_several_is_said(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What `accelerate launch --cpu --num_processes 2` sets; with one process there is no port."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert processes_for(tiny_config) == 1 and not caplog.text
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert processes_for(tiny_config) == 1 and "--processes 2" in caplog.text


def test_equal_gpus_get_a_process_each(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["Tesla T4", "Tesla T4", "GTX 1060"]
    monkeypatch.setattr("rvc_colab.training.launch.cuda_count", lambda: len(names))
    monkeypatch.setattr("rvc_colab.training.launch.cuda_name", names.__getitem__)
    config = tiny_config.model_copy(update={"device": "auto"})
    assert processes_for(config) == 2
    with pytest.raises(DeviceError, match="3 GPUs"):
        processes_for(config.model_copy(update={"processes": 4}))
