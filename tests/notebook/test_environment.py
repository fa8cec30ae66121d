"""Where we are is told apart, Kaggle first."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from fakes.colab import FakeColab
from fakes.kaggle import FakeSecrets

from rvc_colab.notebook import environment
from rvc_colab.notebook.environment import detect, platform_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["environment", "install", "command", "secret_store"])
def test_the_first_cells_modules_import_on_a_bare_python(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import rvc_colab.notebook.{module}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_colab_is_known_by_its_shell(colab: FakeColab) -> None:
    assert detect().platform == "colab"


def test_a_subprocess_of_colab_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "var/colab").mkdir(parents=True)
    (tmp_path / "var/colab/hostname").touch()
    assert platform_name({"COLAB_RELEASE_TAG": "x"}, tmp_path) == "colab"
    assert platform_name({}, tmp_path) == "plain"


def test_kaggle_wins_over_colabs_marks(kaggle: FakeSecrets, colab: FakeColab) -> None:
    assert detect(colab.root).platform == "kaggle"


def test_jupyter_is_known_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = type("ZMQInteractiveShell", (), {"__module__": "ipykernel.zmqshell"})
    ipython = types.SimpleNamespace(get_ipython=shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert platform_name({}) == "jupyter"


def test_a_plain_machine_has_no_session_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    found = detect()
    assert found.platform == "plain" and not found.hosted and found.seconds_left is None


def test_kaggle_has_twelve_hours_and_nine_on_a_tpu(
    kaggle: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert detect().session_seconds == 12 * 3600
    monkeypatch.setenv("TPU_NAME", "local")
    assert detect().session_seconds == 9 * 3600


def test_save_and_run_all_is_not_interactive(
    kaggle: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert not detect().interactive


def test_the_sessions_age_is_that_of_its_first_process(tmp_path: Path) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/uptime").write_text("10000.50 123.0\n")
    fields = " ".join(["S"] + ["0"] * 18 + ["250000"] + ["0"] * 5)
    (tmp_path / "proc/1/stat").write_text(f"1 (a strange (name) {fields}\n")
    assert environment.seconds_since_start(tmp_path) == pytest.approx(10000.5 - 2500)


def test_time_left_stands_in_the_words(tmp_path: Path, colab: FakeColab) -> None:
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/uptime").write_text("7200.0 1.0")
    (tmp_path / "proc/1/stat").write_text("1 (x) " + " ".join(["S"] + ["0"] * 25))
    words = detect(tmp_path).in_words()
    assert "Google Colab" in words and "About 10.0 of at most 12 hours" in words


def test_the_image_is_named_by_its_marks(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/build_date").write_text("2026-09-01\n")
    mark = environment.image_mark({"COLAB_RELEASE_TAG": "release-1"}, tmp_path)
    assert mark == "release-1 2026-09-01"


def test_the_torch_build_is_read_without_loading_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise SystemExit('loaded')")
    (tmp_path / "torch/version.py").write_text(
        "__all__ = ['__version__']\n__version__ = '2.11.0+cu128'\ncuda: Optional[str] = '12.8'\n"
    )
    info = tmp_path / "torch-2.11.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: torch\nVersion: 2.11.0\n")
    for name in [n for n in sys.modules if n == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert environment.torch_build() == ("2.11.0+cu128", "12.8")


def test_no_internet_stands_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "has_internet", lambda: False)
    assert "No internet" in detect(ask_internet=True).in_words()


def test_no_internet_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not environment.has_internet(("127.0.0.1", 1), 0.5)
