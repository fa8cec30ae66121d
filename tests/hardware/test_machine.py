"""Facts are read without third-party packages and never raise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvc_colab import device
from rvc_colab.hardware import facts, machine
from rvc_colab.hardware.machine import GIB, MIB, SMI_FIELDS, parse_smi

ROOT = Path(__file__).parent.parent.parent
TWO_T4 = "0, Tesla T4, 7.5, 15360, 15095\n1, Tesla T4, 7.5, 15360, 15360\n"


def test_hardware_imports_on_a_bare_python() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from rvc_colab.hardware import facts, plan_training\n"
        "plan_training(facts(ask_torch=False)).in_words()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_drivers_answer_is_read() -> None:
    first, second = parse_smi(TWO_T4)
    assert (first.name, first.capability, first.total_bytes) == ("Tesla T4", (7, 5), 15360 * MIB)
    assert first.free_bytes == 15095 * MIB and second.index == 1
    assert first.runs is None


def test_lines_that_say_nothing_are_left_out() -> None:
    assert parse_smi("No devices were found\n") == ()
    assert parse_smi("0, NVIDIA L4, 8.9, [N/A], [N/A]\n") == ()


def test_an_old_driver_gives_no_capability() -> None:
    fields = tuple(name for name in SMI_FIELDS if name != "compute_cap")
    (gpu,) = parse_smi("0, Tesla K80, 11441, 11441\n", fields)
    assert gpu.capability is None


def _fake_smi(folder: Path, script: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_the_driver_tool_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_smi(tmp_path, 'echo "0, Tesla T4, 7.5, 15360, 15095"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert [gpu.name for gpu in facts(ask_torch=False).gpus] == ["Tesla T4"]


def test_an_old_driver_tool_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_smi(
        tmp_path, 'case "$*" in *compute_cap*) exit 2;; esac; echo "0, Tesla K80, 11441, 11441"'
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert [gpu.name for gpu in facts(ask_torch=False).gpus] == ["Tesla K80"]


def test_a_broken_driver_means_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_smi(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts(ask_torch=False).gpus == ()


def test_torch_says_what_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_count", lambda: 1)
    monkeypatch.setattr(device, "cuda_name", lambda index: "Tesla P100-PCIE-16GB")
    monkeypatch.setattr(device, "cuda_capability", lambda index: (6, 0))
    monkeypatch.setattr(device, "cuda_memory", lambda index: (15 * GIB, 16 * GIB))
    monkeypatch.setattr(device, "cuda_architectures", lambda: ["sm_75", "sm_80"])
    found = facts(ask_torch=True)
    assert found.gpus[0].runs is False and found.torch_architectures == ("sm_75", "sm_80")
    assert "sm_75, sm_80" in found.in_words()


def test_an_amd_gpu_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_count", lambda: 1)
    monkeypatch.setattr(device, "cuda_name", lambda index: "AMD Instinct MI300X")
    monkeypatch.setattr(device, "cuda_capability", lambda index: (9, 4))
    monkeypatch.setattr(device, "cuda_memory", lambda index: (190 * GIB, 192 * GIB))
    monkeypatch.setattr(device, "is_rocm", lambda: True)
    monkeypatch.setattr(device, "rocm_architecture", lambda index: "gfx942")
    (gpu,) = facts(ask_torch=True).gpus
    assert (gpu.kind, gpu.architecture, gpu.runs, gpu.device) == ("rocm", "gfx942", True, "cuda:0")


def test_an_apple_gpu_shares_the_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_count", lambda: 0)
    monkeypatch.setattr(device, "has_mps", lambda: True)
    found = facts(ask_torch=True)
    assert found.gpus[0].device == "mps" and found.gpus[0].total_bytes == found.ram_bytes


def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n",
        "/sys/fs/cgroup/memory.max": str(8 * GIB),
        "/sys/fs/cgroup/memory.current": str(3 * GIB),
        "/sys/fs/cgroup/cpu.max": "100000 100000",
    }
    monkeypatch.setattr(machine, "_text", lambda path: files.get(path, ""))
    assert machine.ram() == (8 * GIB, 5 * GIB)
    assert machine.cpu_cores() == 1


def test_this_machine_has_cores_memory_and_a_disk(tmp_path: Path) -> None:
    found = facts(tmp_path / "not" / "there", ask_torch=False)
    assert found.cpu_cores >= 1 and found.ram_bytes > GIB // 4 and found.disk_free_bytes > 0
