"""Recognising that memory ran out, whoever says it."""

from __future__ import annotations

import weakref

import pytest
import torch

from rvc_colab.errors import MemoryBudgetError
from rvc_colab.memory.exhaustion import is_out_of_memory, release_frames


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_is_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
        MemoryBudgetError("voice:a needs 2 GB"),
    ],
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_an_error_raised_from_out_of_memory_counts() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as cause:
            raise ValueError("conversion failed") from cause
    except ValueError as error:
        assert is_out_of_memory(error)


def test_releasing_the_frames_frees_what_they_held() -> None:
    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    def fail() -> None:
        big = Big()
        held.append(weakref.ref(big))
        raise MemoryError

    try:
        fail()
    except MemoryError as error:
        assert held[0]() is not None
        release_frames(error)
        assert held[0]() is None
