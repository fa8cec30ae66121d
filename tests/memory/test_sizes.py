"""Sizes: what a file holds by a look at its head, what a model holds by its tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.memory.sizes import Stored, held_bytes, stored_bytes, used_bytes

WEIGHTS = {"a": torch.zeros(100, 10), "b": torch.zeros(24)}


@pytest.mark.parametrize(("dtype", "item"), [(torch.float32, 4), (torch.float16, 2)])
def test_a_torch_file_tells_bytes_and_precision(tmp_path: Path, dtype, item) -> None:
    path = tmp_path / "voice.pth"
    torch.save({"weight": {k: v.to(dtype) for k, v in WEIGHTS.items()}, "sr": "40k"}, path)
    assert stored_bytes(path) == Stored(1024 * item, item)


def test_a_safetensors_file_tells_bytes_and_precision(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({k: v.to(torch.bfloat16) for k, v in WEIGHTS.items()}, path)
    assert stored_bytes(path) == Stored(2048, 2)


def test_an_old_torch_file_is_recognised_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(
        {"w": torch.zeros(5000, dtype=torch.float16)}, path, _use_new_zipfile_serialization=False
    )
    assert stored_bytes(path).item_bytes == 2


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth", "broken.index"])
def test_a_damaged_file_counts_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff" * 100)
    assert stored_bytes(path).bytes == 100


def test_a_missing_file_counts_nothing(tmp_path: Path) -> None:
    assert stored_bytes(tmp_path / "none.pth").bytes == 0


def test_a_folder_counts_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(30))
    (tmp_path / "b.bin").write_bytes(bytes(12))
    assert stored_bytes(tmp_path).bytes == 42


def test_shared_memory_counts_once() -> None:
    block = torch.zeros(1000)
    assert held_bytes({"a": block, "b": [block[:10], block.view(10, 100)]}) == 4000


def test_arrays_and_tensors_of_one_memory_count_once() -> None:
    array = np.zeros(1000, dtype=np.float32)
    assert held_bytes([array, array[5:], torch.from_numpy(array)]) == 4000


def test_tensors_are_found_inside_objects_and_methods() -> None:
    class Holder:
        def __init__(self) -> None:
            self.layer = torch.nn.Linear(10, 10)
            self.me = self

        def run(self) -> None:
            pass

    assert held_bytes(Holder().run) == 4 * 110


def test_use_is_measured_at_its_peak() -> None:
    def use() -> float:
        total = 0.0
        for _ in range(5):
            total += float(torch.ones(250_000).sum())
        return total

    assert used_bytes(use) == pytest.approx(1_000_000, rel=0.01)
