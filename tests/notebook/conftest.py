"""The hosted platforms as fakes, tiny real wheels, and a Python of its own to install into."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.colab import FakeColab, Shell, install_colab, remove_colab
from fakes.kaggle import FakeSecrets, install_kaggle_secrets
from fakes.wheels import write_wheel

from rvc_colab.notebook import jobs
from rvc_colab.notebook.install import Runtime
from rvc_colab.notebook.installer import find_uv

HOSTED = ("COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "NGROK_AUTHTOKEN", "HF_TOKEN")


@pytest.fixture(autouse=True)
def _plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HOSTED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeColab]:
    """A Colab kernel: the modules, the marks, and a shell whose text names google.colab."""
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = Shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-fake")
    yield install_colab(tmp_path / "colab")
    remove_colab()


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSecrets]:
    """A Kaggle kernel, with Colab's mark as the real image has it."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-fake")
    yield install_kaggle_secrets()
    sys.modules.pop("kaggle_secrets", None)


@pytest.fixture
def wheels(tmp_path: Path) -> Callable[..., Path]:
    """Write wheels into one folder; returns that folder."""

    def write(*named: tuple[str, str]) -> Path:
        for name, version in named:
            write_wheel(tmp_path / "wheels", name, version)
        return tmp_path / "wheels"

    return write


@pytest.fixture
def site(tmp_path: Path) -> Runtime:
    """An empty Python environment without pip, and a state folder for the marker."""
    folder = tmp_path / "env"
    uv = find_uv()
    if uv is None:
        pytest.skip("uv is not installed")
    subprocess.run(
        [uv, "venv", "--quiet", "--offline", "--python", sys.executable, str(folder)], check=True
    )
    (packages,) = folder.glob("lib/python*/site-packages")
    return Runtime(folder / "bin" / "python", (str(packages),), tmp_path / "state")


@pytest.fixture
def light_jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs with light verbs; what still runs at the end of the test is killed."""
    monkeypatch.setattr(jobs, "WORKER", (str(Path(__file__).parent / "fakes/light_worker.py"),))
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(jobs, "_children", {})
    yield
    for folder in list(jobs._children):
        jobs.Job(folder).kill()
