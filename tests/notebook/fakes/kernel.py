"""Run a notebook file from top to bottom in a real kernel, on a faked platform."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

import rvc_colab

ROOT = Path(__file__).parents[3]
PACKAGE = Path(rvc_colab.__file__).parents[1]
MARKS = {
    "colab": {"COLAB_RELEASE_TAG": "release-colab-fake"},
    "kaggle": {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "COLAB_RELEASE_TAG": "release-colab-fake"},
    "": {},
}


@dataclass
class Ran:
    """An executed notebook and the folder that was its world."""

    notebook: Any
    root: Path

    @property
    def code(self) -> list[Any]:
        """The code cells."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def text(self, number: int) -> str:
        """Return what code cell `number` (from 1) printed."""
        outputs = self.code[number - 1].outputs
        return "".join(o.get("text", "") for o in outputs if o.output_type == "stream")

    def errors(self) -> list[list[str]]:
        """Return what each failed cell ended in."""
        outputs = [o for cell in self.code for o in cell.outputs]
        return [o.traceback for o in outputs if o.output_type == "error"]


def run_notebook(
    path: str,
    root: Path,
    platform: str = "",
    values: dict[str, list[str]] | None = None,
    **failures: Any,
) -> Ran:
    """Execute `path`; `failures` go to the fake.

    `values` replaces form values (`name = …`), one after the other where a name stands in several
    cells.
    """
    notebook = nbformat.read(ROOT / path, as_version=4)
    left = {name: list(items) for name, items in (values or {}).items()}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = "\n".join(_replaced(line, left) for line in cell.source.split("\n"))
    startup = root / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("startup.py")
    (startup / "00.py").write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    work = root / "content"
    work.mkdir(exist_ok=True)
    without = failures.pop("without_widgets", False)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("COLAB_", "KAGGLE_"))},
        **MARKS[platform],
        "IPYTHONDIR": str(root / "ipython"),
        "FAKE_TESTS": str(Path(__file__).parents[1]),
        "FAKE_ROOT": str(root),
        "FAKE_PLATFORM": platform,
        "FAKE_FAILURES": json.dumps(failures),
        "FAKE_WITHOUT_WIDGETS": "1" if without else "",
        "RVC_WORKSPACE": str(root / "workspace"),
        "PYTHONPATH": str(PACKAGE),
        "PIP_NO_INDEX": "1",
        "UV_OFFLINE": "1",
    }
    client = NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
        allow_errors=False,
    )
    try:
        client.execute(env=environment)
    except Exception as error:
        if type(error).__name__ != "CellExecutionError":
            raise
    return Ran(notebook, root)


def _replaced(line: str, left: dict[str, list[str]]) -> str:
    name = line.partition(" = ")[0]
    return f"{name} = {left[name].pop(0)}" if left.get(name) else line
