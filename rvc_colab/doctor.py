"""Look at the machine and say, one line each, what is well and what to do about the rest."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rvc_colab.errors import RVCError
from rvc_colab.workspace import Workspace

GIB = 1024**3
LOW_DISK_GB = 5.0  # a full-size training run keeps about 4 GB of snapshots
LOW_RAM_GB = 4.0  # converting with full-size models peaks at about 2.5 GB
PYTHONS = ((3, 11), (3, 14))

CORE = (
    "accelerate",
    "faiss-cpu",
    "gdown",
    "huggingface_hub",
    "librosa",
    "numpy",
    "scipy",
    "safetensors",
    "soundfile",
    "soxr",
    "swift-f0",
    "transformers",
)
OPTIONAL = {
    "gradio": ("ui", "the web page"),
    "pyngrok": ("tunnel", "ngrok tunnels"),
    "ipywidgets": ("notebook", "the notebook's job panel"),
    "torchcrepe": ("crepe", "the f0 method crepe"),
    "torchfcpe": ("fcpe", "the f0 method fcpe"),
}


@dataclass(frozen=True)
class Check:
    """One finding: `state` is ok, note or problem; `remedy` is empty when nothing need be done."""

    name: str
    state: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        """Say the finding in one line."""
        mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[self.state]
        tail = f"  → {self.remedy}" if self.remedy else ""
        return f"{mark} {self.name}: {self.text}{tail}"

    def record(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return asdict(self)


def examine(workspace: Workspace) -> list[Check]:
    """Run every check. Never raises for what it finds."""
    checks: list[Check] = []
    for examiner in (_python, _torch, _machine, _packages, _decoders, _speech, _weights, _disk):
        checks.extend(examiner(workspace))
    return checks


def _python(workspace: Workspace) -> Iterator[Check]:
    from rvc_colab import __version__

    version = sys.version_info[:2]
    text = f"{sys.version.split()[0]}, rvc_colab {__version__}"
    fits = PYTHONS[0] <= version <= PYTHONS[1]
    remedy = (
        ""
        if fits
        else f"Tested are {PYTHONS[0][0]}.{PYTHONS[0][1]} to {PYTHONS[1][0]}.{PYTHONS[1][1]}."
    )
    yield Check("Python", "ok" if fits else "problem", text, remedy)


def _torch(workspace: Workspace) -> Iterator[Check]:
    try:
        import torch
    except Exception as error:  # a broken CUDA library shows as OSError, ImportError or worse
        yield Check("torch", "problem", f"does not import: {error}", "Run: pip install torch")
        return
    build = torch.version.cuda or torch.version.hip or "CPU"
    yield Check(
        "torch", "ok", f"{torch.__version__} ({build} build), {torch.get_num_threads()} threads"
    )
    from rvc_colab.device import choose_device

    try:
        yield Check("device", "ok", choose_device().reason)
    except RVCError as error:
        yield Check("device", "problem", error.message, error.hint)


def _machine(workspace: Workspace) -> Iterator[Check]:
    from rvc_colab.hardware import facts, plan_conversion, plan_training, refusals

    found = facts(workspace.root, ask_torch=True)
    for sentence in refusals(found):
        yield Check("GPU", "problem", sentence)
    for gpu in found.gpus:
        if gpu.runs is not False:
            yield Check("GPU", "ok", gpu.title)
    if not found.gpus:
        yield Check("GPU", "note", "none; conversion and training run on the CPU, slowly")
    yield Check("CPU", "ok", f"{found.cpu_cores} cores {found.cpu_name}".strip())
    ram = found.ram_bytes / GIB
    free = found.ram_free_bytes / GIB
    low = 0 < free < LOW_RAM_GB
    remedy = "Close other programs; full-size models need about 3 GB." if low else ""
    yield Check("RAM", "note" if low else "ok", f"{free:.1f} of {ram:.1f} GB free", remedy)
    try:
        yield Check("training plan", "ok", " ".join(plan_training(found, 40000).in_words().split()))
        yield Check("conversion plan", "ok", " ".join(plan_conversion(found).in_words().split()))
    except RVCError as error:
        yield Check("plan", "problem", error.message, error.hint)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages(workspace: Workspace) -> Iterator[Check]:
    versions = {name: _version(name) for name in CORE}
    if missing := [name for name, version in versions.items() if version is None]:
        yield Check(
            "packages",
            "problem",
            f"missing: {', '.join(missing)}",
            f"Run: pip install {' '.join(missing)}",
        )
    present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield Check("packages", "ok", present)
    for name, (extra, use) in OPTIONAL.items():
        if (version := _version(name)) is None:
            yield Check(
                f"optional {name}",
                "note",
                f"not installed ({use})",
                f'pip install "rvc_colab[{extra}]"',
            )
        else:
            yield Check(f"optional {name}", "ok", version)


def _decoders(workspace: Workspace) -> Iterator[Check]:
    import importlib.util

    found = []
    if importlib.util.find_spec("av"):
        found.append("PyAV")
    if shutil.which("ffmpeg"):
        found.append("ffmpeg")
    text = f"wav, flac, mp3, ogg; {' and '.join(found) or 'nothing'} for other formats"
    remedy = "" if found else "Install ffmpeg (or: pip install av) to read m4a, aac, opus, video."
    yield Check("sound formats", "ok" if found else "note", text, remedy)


def _speech(workspace: Workspace) -> Iterator[Check]:
    from rvc_colab.audio.speech import speakers

    found = " and ".join(speaker.program for speaker in speakers())
    remedy = "" if found else "Install espeak-ng or flite to convert from typed text."
    yield Check("speech", "ok" if found else "note", found or "no speech engine", remedy)


def _weights(workspace: Workspace) -> Iterator[Check]:
    from rvc_colab.store.assets import ASSETS, is_present, place

    present = [name for name in ASSETS if is_present(name, workspace.cache)]
    for name in ("contentvec", "rmvpe"):
        if name not in present:
            yield Check(
                f"weights {name}",
                "note",
                f"not in the cache ({ASSETS[name].what})",
                f"rvc-colab fetch {name}",
            )
    for name in present:
        yield Check(f"weights {name}", "ok", str(place(name, workspace.cache)))


def _disk(workspace: Workspace) -> Iterator[Check]:
    try:
        folder = workspace.logs
    except RVCError as error:
        yield Check("workspace", "problem", error.message, error.hint)
        return
    free = shutil.disk_usage(folder).free / GIB
    writable = os.access(folder, os.W_OK)
    if not writable:
        yield Check(
            "workspace",
            "problem",
            f"{workspace.root} cannot be written",
            "Name another with --workspace.",
        )
    elif free < LOW_DISK_GB:
        remedy = "Free some space; a training run keeps about 4 GB of snapshots."
        yield Check("workspace", "note", f"{workspace.root}, {free:.1f} GB free", remedy)
    else:
        yield Check("workspace", "ok", f"{workspace.root}, {free:.1f} GB free")
