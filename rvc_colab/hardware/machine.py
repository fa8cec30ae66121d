"""Facts of the machine, read on a bare Python; torch is loaded only when it is asked."""

from __future__ import annotations

import csv
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rvc_colab.device import runs_here

GIB = 1024**3
MIB = 1024**2
SMI_SECONDS = 10.0
SMI_FIELDS = ("index", "name", "compute_cap", "memory.total", "memory.free")
FLAGS_OF_INTEREST = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"})
# cgroup v1 and "max" of v2 both stand for "no limit" above this.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Gpu:
    """One GPU. `runs` tells whether the installed torch carries its code (None: not asked)."""

    index: int
    name: str
    kind: str = "cuda"  # cuda, rocm or mps
    capability: tuple[int, int] | None = None
    total_bytes: int = 0
    free_bytes: int | None = None
    runs: bool | None = None
    architecture: str = ""

    @property
    def device(self) -> str:
        """The name torch uses for it."""
        return "mps" if self.kind == "mps" else f"cuda:{self.index}"

    @property
    def title(self) -> str:
        """The name with memory and compute capability, for a person."""
        size = f"{self.total_bytes / GIB:.0f} GB"
        if self.kind == "cuda" and self.capability:
            major, minor = self.capability
            return f"{self.name} ({size}, compute capability {major}.{minor})"
        return f"{self.name} ({size}{', ' + self.architecture if self.architecture else ''})"


@dataclass(frozen=True)
class Facts:
    """What the machine has. Sizes in bytes; 0 or empty where it could not be found out."""

    gpus: tuple[Gpu, ...] = ()
    cpu_name: str = ""
    cpu_cores: int = 1
    cpu_flags: frozenset[str] = frozenset()
    ram_bytes: int = 0
    ram_free_bytes: int = 0
    disk_free_bytes: int = 0
    torch_version: str = ""
    torch_architectures: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Say what the machine has in a few lines."""
        gpus = [f"GPU {gpu.index}: {gpu.title}" for gpu in self.gpus] or ["No GPU"]
        flags = f", {', '.join(sorted(self.cpu_flags))}" if self.cpu_flags else ""
        cpu = f"CPU: {self.cpu_cores} cores{', ' + self.cpu_name if self.cpu_name else ''}{flags}"
        memory = f"RAM: {self.ram_free_bytes / GIB:.1f} of {self.ram_bytes / GIB:.1f} GB free"
        disk = f"Disk: {self.disk_free_bytes / GIB:.1f} GB free"
        return "\n".join([*gpus, cpu, memory, disk, *refusals(self)])


def refusals(facts: Facts) -> list[str]:
    """Name each GPU that the installed torch cannot run, with the remedy."""
    return [_refusal(facts, gpu) for gpu in facts.gpus if gpu.runs is False]


def _refusal(facts: Facts, gpu: Gpu) -> str:
    capability = gpu.capability or (0, 0)
    plain = facts.torch_version.split("+")[0] or "of the same version"
    if capability < (5, 0):
        remedy = "No current torch carries it: choose another GPU or the CPU."
    elif capability < (10, 0):
        remedy = f"Install a cu126 build of torch (torch=={plain}+cu126), or choose a T4 or L4."
    else:
        remedy = "Install a newer torch (its cu128 builds carry it), or choose another GPU."
    carried = ", ".join(facts.torch_architectures) or "none"
    found = f"torch {facts.torch_version} has code for {carried} only"
    return f"{gpu.title} cannot be used: {found}. {remedy}"


def facts(folder: str | os.PathLike[str] = ".", ask_torch: bool | None = None) -> Facts:
    """Read the facts of this machine; `folder` says whose disk is meant.

    `ask_torch` True loads torch and learns which GPUs it can run; False asks only the driver; None
    asks torch when it is loaded already. Never raises: what cannot be found out stays empty.
    """
    if ask_torch is None:
        ask_torch = "torch" in sys.modules
    total, free = ram()
    version = ""
    architectures: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    if ask_torch:
        try:
            version, architectures, gpus = _torch_facts(total, free)
        except (ImportError, OSError, RuntimeError):  # no torch, or one whose libraries do not load
            ask_torch = False
    return Facts(
        gpus=gpus if ask_torch else _driver_gpus(),
        cpu_name=_cpu_field("model name") or platform.processor(),
        cpu_cores=cpu_cores(),
        cpu_flags=FLAGS_OF_INTEREST & frozenset(_cpu_field("flags").split()),
        ram_bytes=total,
        ram_free_bytes=free,
        disk_free_bytes=disk_free(folder),
        torch_version=version,
        torch_architectures=architectures,
    )


def cpu_cores() -> int:
    """Count the cores this process may use: its affinity and its container's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        allowed = os.cpu_count() or 1
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed


def ram() -> tuple[int, int]:
    """Return (total, free) bytes of RAM, within the container's limit."""
    lines = dict(line.split(":", 1) for line in _text("/proc/meminfo").splitlines() if ":" in line)
    if not lines:
        return _ram_elsewhere()
    total, free = (
        int(lines.get(key, "0 kB").split()[0]) * 1024 for key in ("MemTotal", "MemAvailable")
    )
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        limit, used = _text(limit_file).strip(), _text(used_file).strip()
        if limit.isdigit() and used.isdigit() and int(limit) < min(total, _NO_LIMIT):
            total, free = int(limit), min(free, max(0, int(limit) - int(used)))
    return total, free


def _ram_elsewhere() -> tuple[int, int]:
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0, 0
    return page * pages, page * pages


def disk_free(folder: str | os.PathLike[str]) -> int:
    """Return the free bytes of the disk that holds `folder` (or its nearest existing parent)."""
    path = Path(folder).absolute()
    for candidate in (path, *path.parents):
        try:
            return shutil.disk_usage(candidate).free
        except OSError:
            continue
    return 0


def _driver_gpus() -> tuple[Gpu, ...]:
    """Ask NVIDIA's driver tool; an old one knows no compute_cap and is asked without."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ()
    for fields in (SMI_FIELDS, tuple(f for f in SMI_FIELDS if f != "compute_cap")):
        command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SMI_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ()
        if done.returncode == 0:
            return parse_smi(done.stdout, fields)
    return ()


def parse_smi(text: str, fields: tuple[str, ...] = SMI_FIELDS) -> tuple[Gpu, ...]:
    """Read nvidia-smi's csv answer (sizes in MiB). Lines it does not understand are left out."""
    gpus = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        values = dict(zip(fields, (cell.strip() for cell in row)))
        try:
            major, _, minor = values.get("compute_cap", "").partition(".")
            gpus.append(
                Gpu(
                    index=int(values["index"]),
                    name=values["name"],
                    capability=(int(major), int(minor)) if minor else None,
                    total_bytes=int(values["memory.total"]) * MIB,
                    free_bytes=int(values["memory.free"]) * MIB,
                )
            )
        except (KeyError, ValueError):
            continue
    return tuple(gpus)


def _torch_facts(ram_total: int, ram_free: int) -> tuple[str, tuple[str, ...], tuple[Gpu, ...]]:
    import torch

    from rvc_colab import device

    architectures = tuple(device.cuda_architectures())
    gpus = []
    for index in range(device.cuda_count()):
        capability = device.cuda_capability(index)
        free: int | None
        try:
            free, total = device.cuda_memory(index)
        except RuntimeError:  # a GPU that this torch cannot run may not even tell its memory
            free, total = None, 0
        rocm = device.is_rocm()
        gpus.append(
            Gpu(
                index=index,
                name=device.cuda_name(index),
                kind="rocm" if rocm else "cuda",
                capability=capability,
                total_bytes=total,
                free_bytes=free,
                runs=True if rocm else runs_here(capability, list(architectures)),
                architecture=device.rocm_architecture(index) if rocm else "",
            )
        )
    if not gpus and device.has_mps():
        gpus.append(
            Gpu(0, "Apple GPU", "mps", total_bytes=ram_total, free_bytes=ram_free, runs=True)
        )
    return torch.__version__, architectures, tuple(gpus)


def _cpu_field(name: str) -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
