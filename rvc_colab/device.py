"""Choose the torch device and precision once, and say why. The only place that asks torch.cuda."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvc_colab.errors import DeviceError

if TYPE_CHECKING:
    import torch

# Compute capability with hardware bf16 and TF32 (Ampere); fp16 tensor cores (Volta).
BF16_CAPABILITY = (8, 0)
FP16_CAPABILITY = (7, 0)


@dataclass(frozen=True)
class DeviceChoice:
    """A torch device, the precision to compute in, and the reason as a sentence."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def choose_device(name: str = "auto", precision: str = "auto") -> DeviceChoice:
    """Choose the device (`auto`, `cpu`, `cuda`, `cuda:1`, `rocm`, `mps`) and precision.

    `precision` is `auto`, `fp32`, `fp16` or `bf16`. Raises DeviceError when the asked device is
    missing or the installed torch cannot run it.
    """
    import torch

    device = _find(name)
    wanted = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if precision != "auto":
        if precision not in wanted:
            raise DeviceError(
                f"Precision {precision!r} is unknown.", "Choose auto, fp32, fp16 or bf16."
            )
        return DeviceChoice(device, wanted[precision], f"{device} in {precision}, as asked.")
    dtype, why = _natural_precision(device)
    return DeviceChoice(device, dtype, f"{device} in {str(dtype).removeprefix('torch.')}: {why}")


def _find(name: str) -> torch.device:
    import torch

    wanted = name.replace("rocm", "cuda")
    if wanted == "auto":
        if cuda_count():
            _check_architecture(0)
            return torch.device("cuda", 0)
        return torch.device("mps" if has_mps() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceError(
            f"Device {name!r} is unknown.", "Choose auto, cpu, cuda, cuda:N or mps."
        ) from error
    if device.type == "cuda":
        index = device.index or 0
        if index >= cuda_count():
            raise DeviceError(
                f"Device {name!r} was asked for, but torch sees {cuda_count()} GPUs.",
                "Choose --device auto or cpu, or a runtime with a GPU.",
            )
        _check_architecture(index)
        return torch.device("cuda", index)
    if device.type == "mps" and not has_mps():
        raise DeviceError(
            "Device 'mps' was asked for, but this is no Apple GPU.", "Choose --device auto."
        )
    return device


def _natural_precision(device: torch.device) -> tuple[torch.dtype, str]:
    import torch

    if device.type != "cuda":
        return torch.float32, "16-bit arithmetic is not known to be faster and safe here."
    capability, name = cuda_capability(device.index or 0), cuda_name(device.index or 0)
    if capability >= BF16_CAPABILITY:
        return torch.bfloat16, f"{name} computes bf16 in hardware."
    if capability >= FP16_CAPABILITY and "GTX 16" not in name:
        return torch.float16, f"{name} has fp16 tensor cores but no bf16."
    return torch.float32, f"{name} has no useful 16-bit arithmetic."


def has_mps() -> bool:
    """Tell whether torch sees an Apple GPU."""
    import torch

    return bool(torch.backends.mps.is_available())


def cuda_count() -> int:
    """Count the GPUs torch sees (CUDA or ROCm)."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def cuda_name(index: int) -> str:
    """Name GPU `index` as its driver does."""
    import torch

    return torch.cuda.get_device_name(index)


def cuda_capability(index: int) -> tuple[int, int]:
    """Return the compute capability (major, minor) of GPU `index`."""
    import torch

    return torch.cuda.get_device_capability(index)


def cuda_memory(index: int) -> tuple[int, int]:
    """Return (free, total) bytes of GPU `index`."""
    import torch

    return torch.cuda.mem_get_info(index)


def cuda_architectures() -> list[str]:
    """List the architectures (`sm_75`, `compute_90`…) the installed torch was built for."""
    import torch

    return list(torch.cuda.get_arch_list())


def is_rocm() -> bool:
    """Tell whether the installed torch was built for AMD's ROCm."""
    import torch

    return torch.version.hip is not None


def rocm_architecture(index: int) -> str:
    """Name the architecture of AMD GPU `index` (`gfx90a`, `gfx942`…)."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "gcnArchName", "")).split(":")[0]


def runs_here(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Tell whether a build for `architectures` can run a GPU of this compute capability.

    A binary `sm_XY` runs on the same major version with an equal or higher minor one; a PTX
    `compute_XY` runs on anything at least as new.
    """
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = int("".join(c for c in digits if c.isdigit()) or 0)
        built = divmod(number, 10)
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if kind == "compute" and built <= capability:
            return True
    return not architectures


def _check_architecture(index: int) -> None:
    import torch

    if is_rocm():
        return
    capability, name = cuda_capability(index), cuda_name(index)
    remedy = (
        f"Install a build of torch {torch.__version__.split('+')[0]} that carries it "
        "(the cu126 builds do), "
        "choose another GPU (T4, L4), or --device cpu."
    )
    if not runs_here(capability, cuda_architectures()):
        raise DeviceError(
            f"The installed torch {torch.__version__} has no code for {name} "
            f"(compute capability {capability[0]}.{capability[1]}).",
            remedy,
        )
    try:
        torch.ones(1, device=f"cuda:{index}").add_(1).item()
    except RuntimeError as error:
        raise DeviceError(
            f"{name} does not run a first kernel: {_first_line(error)}", remedy
        ) from error


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def empty_cache() -> None:
    """Give cached GPU memory back to the driver. Does nothing without a GPU."""
    import torch

    if cuda_count():
        torch.cuda.empty_cache()
    elif has_mps():
        torch.mps.empty_cache()
