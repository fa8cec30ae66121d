from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from rvc_colab.config import extras
from rvc_colab.ui.forms import LEFT_OUT, PREFIXES, PRESETS, help_key, label_key
from rvc_colab.ui.job_view import STAGES, TRAINING_STAGES
from rvc_colab.ui.texts import catalogue, say
from rvc_colab.ui.training_jobs import DONE, FAILED, RUNNING, STOPPED, WAITING

FOLDER = Path(__file__).parents[2] / "rvc_colab" / "ui"
LANGUAGES = ("en", "es", "pt", "zh", "fr", "id")
_KEY = re.compile(
    r"(convert|voices|train|machine|queue|head|card|form|tab|language)\.[a-z_.]*[a-z_]"
)
SETTINGS = [
    (model, field)
    for model in PREFIXES
    for field in model.model_fields
    if field not in LEFT_OUT[model]
]


def _keys_in_code() -> set[str]:
    """Find the keys that stand in the code as whole texts."""
    found = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if _KEY.fullmatch(node.value):
                    found.add(node.value)
    return found


def test_the_languages_are_there() -> None:
    assert tuple(catalogue()) == LANGUAGES


def test_every_key_of_the_code_is_in_the_catalogue() -> None:
    keys = _keys_in_code()
    assert len(keys) > 80
    assert keys <= set(catalogue()["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_missing(language: str) -> None:
    empty = [key for key, text in catalogue()[language].items() if not text.strip()]
    assert not empty and len(catalogue()[language]) == len(catalogue()["en"])


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_language_fills_in_the_same_values(language: str) -> None:
    for key, text in catalogue()["en"].items():
        assert sorted(re.findall(r"{(\w+)}", text)) == sorted(
            re.findall(r"{(\w+)}", catalogue()[language][key])
        ), key


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_language_is_translated_not_copied(language: str) -> None:
    helps = [key for key in catalogue()["en"] if key.startswith("help.")]
    same = [key for key in helps if say(key, language) == say(key)]
    assert not same


@pytest.mark.parametrize(("model", "field"), SETTINGS, ids=lambda v: getattr(v, "__name__", v))
def test_settings_are_named_and_explained_as_in_the_config(model: type, field: str) -> None:
    info = model.model_fields[field]  # type: ignore[attr-defined]
    assert label_key(field) in catalogue()["en"]
    assert say(help_key(model, field)) == info.description
    unit = extras(info)["unit"]
    assert unit in {"", "share"} or f"unit.{unit}" in catalogue()["en"]


def test_presets_stages_and_states_have_names() -> None:
    wanted = {f"preset.{name}" for name in PRESETS}
    wanted |= {f"stage.{key}" for key in STAGES | TRAINING_STAGES}
    wanted |= {f"train.state.{state}" for state in (WAITING, RUNNING, DONE, STOPPED, FAILED)}
    assert wanted <= set(catalogue()["en"])


def test_the_journeys_call_their_stages_as_the_page_knows_them() -> None:
    told = set()
    for path in FOLDER.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_stage = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "stage"
            if is_stage and node.args and isinstance(node.args[0], ast.Constant):
                told.add(node.args[0].value)
    assert set((STAGES | TRAINING_STAGES).values()) <= told
