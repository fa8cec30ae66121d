"""Recognise that memory ran out: the one predicate, whoever says it."""

from __future__ import annotations

import traceback

# What torch (CUDA, ROCm, MPS, its CPU allocator), cuDNN, cuBLAS and onnxruntime say.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "failed to allocate memory",
    "unable to allocate",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cudnn_status_internal_error_host_allocation_failed",
    "cuda_error_out_of_memory",
    "hip_error_out_of_memory",
    "bfcarena",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device or the machine had no memory left.

    Looks at the errors it was raised from too; a refusal by our own budget does not count.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, MemoryError) or type(found).__name__ == "OutOfMemoryError":
            return True
        if isinstance(found, RuntimeError | OSError) or type(found).__module__.startswith("onnx"):
            text = str(found).lower()
            if any(words in text for words in _WORDS):
                return True
        found = found.__cause__
    return False


def release_frames(error: BaseException) -> None:
    """Drop what the frames of a caught error hold, so that their tensors are freed at once."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if found.__traceback__ is not None:
            traceback.clear_frames(found.__traceback__)
        found = found.__cause__ or found.__context__
