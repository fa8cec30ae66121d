from __future__ import annotations

import importlib

import pytest

import rvc_colab as rvc


@pytest.mark.parametrize("name", ["demo", "doctor"])
def test_a_verb_stays_one_when_the_module_of_its_name_is_loaded(name: str) -> None:
    importlib.import_module(f"rvc_colab.{name}")
    assert getattr(rvc, name).__name__ == name and callable(getattr(rvc, name))


def test_an_unknown_verb_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nope"):
        getattr(rvc, "nope")  # noqa: B009
