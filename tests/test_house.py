"""The house rules, held by measuring the code: ceilings, layers, and what happens on import."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rvc_colab"
FILE_LINES, FUNCTION_LINES, UI_BUILDER_LINES, PARAMETERS, NESTING = 400, 60, 80, 6, 4
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "librosa",
    "faiss",
    "transformers",
    "gradio",
    "accelerate",
    "matplotlib",
    "soundfile",
    "onnxruntime",
    "sklearn",
)
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)

FILES = sorted(PACKAGE.rglob("*.py"))
CHECKED = [
    *FILES,
    *sorted((ROOT / "recipes").glob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
]


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([n for n in names if n not in {"self", "cls"}])


def _depth(node: ast.AST) -> int:
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        inner = _depth(child)
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, inner + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


@pytest.mark.parametrize("path", CHECKED, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_stays_under_its_ceilings(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    complaints = []
    if (length := len(text.splitlines())) > FILE_LINES:
        complaints.append(f"{length} lines, at most {FILE_LINES}")
    limit = UI_BUILDER_LINES if path.parent.name == "ui" else FUNCTION_LINES
    for node in _functions(ast.parse(text)):
        if _lines(node) > limit:
            complaints.append(f"{node.name}: {_lines(node)} lines, at most {limit}")
        if _parameters(node) > PARAMETERS:
            complaints.append(f"{node.name}: {_parameters(node)} parameters, at most {PARAMETERS}")
        if _depth(node) > NESTING:
            complaints.append(f"{node.name}: nested {_depth(node)} deep, at most {NESTING}")
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_things_have_docstrings_and_nothing_prints(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    complaints = []
    if path.name != "__init__.py" and not ast.get_docstring(tree):
        complaints.append("the module has no docstring")
    nested = {
        id(inner) for node in _functions(tree) for inner in ast.walk(node) if inner is not node
    }
    for node in ast.walk(tree):
        is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_definition and id(node) not in nested:
            if (
                not node.name.startswith("_")
                and not ast.get_docstring(node)
                and node.name != "forward"
            ):
                complaints.append(f"{node.name} has no docstring")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ):
            if path.parent.name not in {"cli", "notebook"}:
                complaints.append(f"line {node.lineno} prints")
    assert not complaints, "\n".join(complaints)


def _places(name: str) -> list[str]:
    """Name the files in which the dotted name is used as code."""
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == name:
                found.append(str(path.relative_to(PACKAGE)))
    return found


def test_torch_load_stands_once() -> None:
    assert set(_places("torch.load")) == {"store/checkpoint.py"}
    assert len(_places("torch.load")) == 1


def test_only_device_asks_for_the_gpu() -> None:
    assert set(_places("torch.cuda.is_available")) == {"device.py"}


def test_no_drawer_for_everything() -> None:
    names = {path.stem for path in PACKAGE.rglob("*")}
    assert not names & {"utils", "util", "common", "helpers", "misc", "core", "lib"}


def test_folders_are_two_levels_deep() -> None:
    assert max(len(path.relative_to(PACKAGE).parts) for path in FILES) <= 2


def _child(code: str, *flags: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    ["rvc_colab", "rvc_colab.cli", "rvc_colab.config", "rvc_colab.notebook", "rvc_colab.workspace"],
)
def test_importing_the_front_doors_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(sorted(set(sys.modules) & set({HEAVY!r}))))"
    assert _child(code) == ""


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from rvc_colab.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        f"print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    assert _child(code).endswith("HEAVY []")


@pytest.mark.parametrize(
    "module", ["rvc_colab.hardware", "rvc_colab.notebook.environment", "rvc_colab.notebook.install"]
)
def test_the_first_cells_import_on_a_bare_python(module: str) -> None:
    _child(f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}", "-I", "-S")


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_and_ruff_are_configured_strictly() -> None:
    import tomllib

    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tool["mypy"]["disallow_untyped_defs"] and "F" in tool["ruff"]["lint"]["select"]
