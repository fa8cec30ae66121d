"""What is missing is a pure function of requirements and installed versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvc_colab.notebook.requirements import (
    Requirement,
    own_requirements,
    own_version,
    parse,
    plan_install,
    satisfies,
)

PROJECT = """
[project]
name = "rvc-colab"
version = "1.2.3"
dependencies = ["numpy>=1.26", "torch>=2.4", "faiss-cpu>=1.9"]
[project.optional-dependencies]
ui = ["gradio>=5.50,<7"]
tunnel = ["pyngrok>=9"]
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def test_requirements_come_from_the_source_tree(source: Path) -> None:
    assert [str(r) for r in own_requirements(("ui",), source)] == [
        "numpy>=1.26",
        "torch>=2.4",
        "faiss-cpu>=1.9",
        "gradio>=5.50,<7",
    ]
    assert own_version(source) == "1.2.3"


def test_an_unknown_extra_is_refused_with_the_known_ones(source: Path) -> None:
    with pytest.raises(ValueError, match="choose from tunnel, ui"):
        own_requirements(("gui",), source)


def test_every_requirement_of_this_package_has_a_lower_bound() -> None:
    extras = ("ui", "tunnel", "crepe", "fcpe", "effects")
    unbounded = [str(r) for r in own_requirements(extras) if ">=" not in r.bounds]
    assert unbounded == []


def test_only_missing_names_are_planned() -> None:
    wanted = [Requirement("numpy", ">=1.26"), Requirement("Faiss_CPU", ">=1.9")]
    plan = plan_install(wanted, {"numpy": "2.1.3"})
    assert [r.key for r in plan.missing] == ["faiss-cpu"] and plan.outdated == ()


def test_what_is_too_old_is_told_and_left_alone() -> None:
    plan = plan_install([Requirement("gradio", ">=5.50")], {"gradio": "4.44.1"})
    assert plan.missing == ()
    assert plan.outdated == ("gradio 4.44.1 is installed, gradio>=5.50 is wanted",)


def test_torch_is_never_named_to_the_installer() -> None:
    plan = plan_install([Requirement("torch"), Requirement("torchaudio")], {})
    assert plan.missing == () and plan.unbuilt == ("torch", "torchaudio")


def test_ipywidgets_is_not_named_on_colab() -> None:
    assert plan_install([Requirement("ipywidgets")], {}, on_colab=True).missing == ()
    assert plan_install([Requirement("ipywidgets")], {}).missing != ()


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("2.11.0+cu128", ">=2.4", True),
        ("5.50.0", ">=5.50,<7", True),
        ("7.0.0", ">=5.50,<7", False),
        ("1.10", ">=1.9", True),
        ("2.0", "==2.0.0", True),
        ("2.0.1", "!=2.0.*", False),
        ("1.4.9", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
        ("3.0", "", True),
        ("1!2.0", ">=1", True),
    ],
)
def test_bounds(version: str, bounds: str, kept: bool) -> None:
    assert satisfies(version, bounds) is kept


@pytest.mark.parametrize(
    ("line", "extra", "result"),
    [
        ("numpy>=1.26", "", "numpy>=1.26"),
        ("gradio <7,>=5.50 ; extra == 'ui'", "ui", "gradio<7,>=5.50"),
        ("gradio<7 ; extra == 'ui'", "", None),
        ("uvicorn[standard]>=0.20", "", "uvicorn[standard]>=0.20"),
        ("pywin32>=1 ; sys_platform == 'win32'", "", None),
        ("tomli (>=2.0) ; python_version < '3.11'", "", None),
        ("x>=1; python_version >= '3.9' and extra == 'ui'", "ui", "x>=1"),
        ("x>=1; sys_platform == 'win32' or extra == 'ui'", "ui", "x>=1"),
    ],
)
def test_lines_with_markers(line: str, extra: str, result: str | None) -> None:
    found = parse(line, extra)
    assert (str(found) if found else None) == result
