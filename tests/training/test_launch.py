"""Two processes train as one does, and a process that fails is the parent's failure."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvc_colab.audio.spectral import spectrogram_config
from rvc_colab.config import TrainingConfig
from rvc_colab.errors import DeviceError, TrainingError
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.training.batches import Clip, ClipStore
from rvc_colab.training.fit import Fitting
from rvc_colab.training.launch import launch, processes_for
from rvc_colab.training.machine import open_machine
from rvc_colab.training.networks import build_networks
from rvc_colab.training.snapshots import Snapshots
from rvc_colab.training.step import GanStep

LOSS_TOLERANCE = 1e-4
STEPS = 3


def _fitting(config: TrainingConfig, folder: Path) -> Fitting:
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


def _counted(fitting: Fitting, sent: dict[str, int]) -> None:
    """Count the bytes of gradients that the processes send each other, by half and network."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    half = ["start"]
    for name in ("_train_discriminator", "_train_generator"):
        original = getattr(GanStep, name)

        def marked(self: GanStep, *rest: Any, name: str = name, original: Any = original) -> Any:
            half[0] = name
            return original(self, *rest)

        setattr(GanStep, name, marked)
    for name, player in fitting.state.players.items():

        def hook(group: Any, bucket: Any, name: str = name) -> Any:
            key = f"{half[0]} {name}"
            sent[key] = sent.get(key, 0) + bucket.buffer().nbytes
            return allreduce_hook(group, bucket)

        hook.__annotations__ = {}  # torch reads them, and knows no text
        assert player.wrapped is not None
        player.wrapped.register_comm_hook(None, hook)  # type: ignore[operator]


def _train(values: dict[str, Any], folder: str, progress: Progress) -> dict[str, float]:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    fitting, sent = _fitting(TrainingConfig(**values), Path(folder) / rank), {}
    _counted(fitting, sent)
    result = fitting.run(progress)
    weights = {
        name: sum(p.numel() * 4 for p in player.plain.parameters())
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


def _fail(progress: Progress) -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("the second one fell")


class Heard(SilentProgress):
    """Keep what is reported."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)


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
    # D's gradients travel once a step, when D learns; G's once, when G learns.
    assert first["sent"] == {
        "_train_discriminator discriminator": STEPS * first["weights"]["discriminator"],
        "_train_generator generator": STEPS * first["weights"]["generator"],
    }


def test_a_process_that_fails_is_the_parents_failure(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TrainingError, match="Process 2 of 2 .*the second one fell") as failed:
        launch(_fail, (), 2)
    assert "in _fail" in str(failed.value.__cause__) and "in _fail" in caplog.text


def test_one_process_is_started_where_nothing_says_more(
    tiny_config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert processes_for(tiny_config) == 1
    asked = tiny_config.model_copy(update={"processes": 3})
    assert processes_for(asked) == 3
    assert processes_for(asked.model_copy(update={"data_gpu": "0"})) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes_for(asked) == 1


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
