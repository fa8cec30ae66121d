"""The notebooks are what their source says, thin, without outputs, and their defaults are ours."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from recipes import notebooks
from recipes.notebook_cells import SOUND, VOICE
from rvc_colab.config import TRAINING_RATES, ConversionConfig, F0Method, TrainingConfig, bounds

CODE_CELLS, CODE_LINES = 8, 12
PATHS = sorted(notebooks.NOTEBOOKS)


def _cells(path: str, kind: str = "code") -> list[str]:
    content = json.loads((notebooks.ROOT / path).read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == kind]


@pytest.mark.parametrize("path", PATHS)
def test_a_notebook_is_in_sync_with_its_source(path: str) -> None:
    text = (notebooks.ROOT / path).read_text(encoding="utf-8")
    assert text == notebooks.text_of(path, notebooks.package_source()), "run: make notebooks"


@pytest.mark.parametrize("path", PATHS)
def test_a_notebook_is_valid_and_holds_no_outputs(path: str) -> None:
    notebook = nbformat.read(notebooks.ROOT / path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("path", PATHS)
def test_a_notebook_is_thin(path: str) -> None:
    cells = _cells(path)
    assert len(cells) <= CODE_CELLS
    assert max(len(cell.splitlines()) for cell in cells) <= CODE_LINES


@pytest.mark.parametrize("path", PATHS)
def test_every_cell_is_python_on_its_own(path: str) -> None:
    for cell in _cells(path):
        ast.parse(cell)


def _values(path: str) -> dict[str, Any]:
    """Read the values that the cells of a notebook assign from literals."""
    found = {}
    for cell in _cells(path):
        for node in ast.parse(cell).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                found[node.targets[0].id] = node.value.value  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("path", ["colab/rvc_colab.ipynb", "notebooks/kaggle.ipynb"])
@pytest.mark.parametrize(("model", "names"), [(ConversionConfig, SOUND), (TrainingConfig, VOICE)])
def test_the_defaults_of_the_forms_are_those_of_the_config(
    path: str, model: Any, names: tuple[str, ...]
) -> None:
    values, defaults = _values(path), model()
    assert {name: values[name] for name in names} == {n: getattr(defaults, n) for n in names}


def test_the_forms_offer_what_the_config_allows() -> None:
    (cell,) = (text for text in _cells("colab/rvc_colab.ipynb") if "4. Convert" in text)
    slider = re.search(r'protect = .*"slider", min:([\d.]+), max:([\d.]+)', cell)
    limit = bounds(ConversionConfig.model_fields["protect"])
    assert slider and (float(slider[1]), float(slider[2])) == (limit["ge"], limit["le"])
    offered = re.search(r"f0_method = .*#@param (\[.*\])", cell)
    assert offered and json.loads(offered[1]) == list(F0Method)
    (cell,) = (text for text in _cells("colab/rvc_colab.ipynb") if "5. Train" in text)
    assert f"{list(TRAINING_RATES)}" in cell


@pytest.mark.parametrize("path", PATHS)
def test_form_defaults_are_literals_on_their_own_line(path: str) -> None:
    for cell in _cells(path):
        for line in cell.splitlines():
            if "#@param" in line:
                ast.literal_eval(line.split(" = ", 1)[1].split("#@param")[0].strip())


def test_nothing_trains_unless_it_is_ticked() -> None:
    for path in ("colab/rvc_colab.ipynb", "notebooks/kaggle.ipynb"):
        assert _values(path)["train_now"] is False
    assert _values("colab/rvc_colab_ui.ipynb")["allow_web_ui"] is False


def test_another_address_is_stamped_into_every_notebook() -> None:
    for path in PATHS:
        text = notebooks.text_of(path, "https://example.org/me/mine")
        assert "https://example.org/me/mine" in text
        assert notebooks.package_source() not in text


def test_the_button_to_colab_leads_to_the_notebook_itself() -> None:
    found = notebooks.badge("https://github.com/me/mine.git", "colab/x.ipynb")
    assert "/github/me/mine/blob/main/colab/x.ipynb" in found
    assert notebooks.badge("https://example.org/me/mine", "colab/x.ipynb") == ""


# ------------------------------------------------------------------------------- the first cell


class Pip:
    """Stands in for subprocess.run; remembers the command."""

    def __init__(self, code: int, words: str = "") -> None:
        self.code, self.words, self.command = code, words, [""]

    def __call__(self, command: list[str], **_: object) -> Any:
        self.command = command
        return types.SimpleNamespace(returncode=self.code, stderr=self.words)


def _run_first_cell(monkeypatch: pytest.MonkeyPatch, pip: Pip) -> dict[str, Any]:
    """Run the first cell where the package seems to be missing until it has been installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "rvc_colab" else real(n, *a)
    )
    monkeypatch.setattr(subprocess, "run", pip)
    from rvc_colab.notebook import steps

    monkeypatch.setattr(steps, "begin", lambda **_: "studio")
    names: dict[str, Any] = {}
    exec(_cells("colab/rvc_colab.ipynb")[0], names)
    return names


def test_the_package_comes_from_its_address_without_dependencies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    pip = Pip(0)
    assert _run_first_cell(monkeypatch, pip)["studio"] == "studio"
    assert "--no-deps" in pip.command
    assert pip.command[-1] == f"git+{notebooks.package_source()}"


def test_an_uploaded_wheel_is_taken_instead_of_the_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rvc_colab-0.1.0-py3-none-any.whl").touch()
    pip = Pip(0)
    _run_first_cell(monkeypatch, pip)
    assert pip.command[-1].endswith("rvc_colab-0.1.0-py3-none-any.whl")


def test_an_address_that_cannot_be_reached_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="could not be installed") as caught:
        _run_first_cell(monkeypatch, Pip(1, "fatal: Could not resolve host: github.com"))
    (shown,) = caught.value._render_traceback_()
    assert "Could not resolve host" in shown and "upload an rvc_colab wheel" in shown
    assert notebooks.package_source() in shown
