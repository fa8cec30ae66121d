"""The diary of a run: one JSON line per report, the same numbers and sounds for TensorBoard."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

_log = logging.getLogger(__name__)


class Journal:
    """Write `history.jsonl` in the run's folder, and TensorBoard files.

    The live TensorBoard files lie in `live` on the local disk; `close` copies them into the run's
    folder, because a mounted drive loses files that are written to bit by bit.
    """

    def __init__(self, folder: Path, live: Path, step: int = 0) -> None:
        self.folder, self.live = folder, live
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "history.jsonl"
        _forget_after(self._path, step)
        self._board = _open_board(live, step)

    def numbers(self, step: int, values: dict[str, float], **facts: Any) -> None:
        """Write the numbers of a step."""
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": step, **facts, **values}) + "\n")
        for name, value in values.items():
            if self._board is not None:
                self._board.add_scalar(name if "/" in name else f"loss/{name}", value, step)

    def sound(self, step: int, name: str, wave: np.ndarray, rate: int) -> None:
        """Write a sound [N] in -1..1: for TensorBoard, and as a file in `samples/`."""
        from rvc_colab.audio.files import AudioWriter

        target = self.folder / "samples" / f"{name}_step{step:08d}.flac"
        target.parent.mkdir(parents=True, exist_ok=True)
        with AudioWriter(target, rate) as writer:
            writer.write(wave)
        if self._board is not None:
            self._board.add_audio(name, wave[None, :], step, sample_rate=rate)

    def close(self) -> None:
        """Finish the files and bring TensorBoard's into the run's folder."""
        if self._board is None:
            return
        self._board.close()
        kept = self.folder / "tensorboard"
        kept.mkdir(exist_ok=True)
        for path in self.live.glob("events.*"):
            shutil.copy2(path, kept / path.name)


def _open_board(live: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        _log.warning("TensorBoard is not installed (%s): only history.jsonl is written.", error)
        return None
    live.mkdir(parents=True, exist_ok=True)
    return SummaryWriter(str(live), purge_step=step or None)


def _forget_after(path: Path, step: int) -> None:
    """Take out what was written after the step that the run goes on from."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # a line cut off by a kill
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
