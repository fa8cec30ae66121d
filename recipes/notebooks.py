"""Write all notebooks from one source: `python -m recipes.notebooks [--source URL] [--check]`.

The cells stand in `notebook_cells.py` and `tutorial_cells.py`; the values of their forms come from
`rvc_colab.config`. The package's address comes from pyproject.toml, or from --source.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from recipes.notebook_cells import kaggle, main_notebook, page_notebook
from recipes.notebook_forms import Cell
from recipes.tutorial_cells import convert_lesson, publish_lesson, train_lesson

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {
    "colab/rvc_colab.ipynb": main_notebook,
    "colab/rvc_colab_ui.ipynb": page_notebook,
    "notebooks/kaggle.ipynb": kaggle,
    "notebooks/01_convert.ipynb": convert_lesson,
    "notebooks/02_train.ipynb": train_lesson,
    "notebooks/03_publish.ipynb": publish_lesson,
}
WITH_GPU = {"colab/rvc_colab.ipynb", "colab/rvc_colab_ui.ipynb", "notebooks/kaggle.ipynb"}


def package_source() -> str:
    """Return the package's address from pyproject.toml, its one place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Source"])


def badge(source: str, path: str) -> str:
    """Return the button that opens a notebook in Colab; empty where the source is not on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", source)
    if not found:
        return ""
    address = f"https://colab.research.google.com/github/{found[1]}/blob/main/{path}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"
    )


def notebook(path: str, source: str) -> dict[str, Any]:
    """Build one notebook as nbformat 4.5, without outputs."""
    cells = NOTEBOOKS[path](source, badge(source, path))
    metadata: dict[str, Any] = {
        "colab": {"provenance": [], "toc_visible": True},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    if path in WITH_GPU:
        metadata |= {"accelerator": "GPU"}
        metadata["colab"]["gpuType"] = "T4"
    return {
        "cells": [_as_json(cell, number) for number, cell in enumerate(cells)],
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _as_json(cell: Cell, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "cell_type": cell.kind,
        "id": f"cell-{number:02}",
        "metadata": {},
        "source": cell.text.splitlines(keepends=True),
    }
    if cell.kind == "code":
        made |= {"execution_count": None, "outputs": []}
        if "#@title" in cell.text:
            made["metadata"] = {"cellView": "form"}
    return made


def text_of(path: str, source: str) -> str:
    """Return the bytes of a notebook file as text."""
    return json.dumps(notebook(path, source), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the notebooks, or with --check only compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=None, help="the package's address to stamp in")
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    given = parser.parse_args()
    source = given.source or package_source()
    changed = []
    for path in NOTEBOOKS:
        target, text = ROOT / path, text_of(path, source)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            changed.append(path)
            if not given.check:
                target.parent.mkdir(exist_ok=True)
                target.write_text(text, encoding="utf-8")
    print("\n".join(changed) if changed else "all in sync")
    if given.check and changed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
