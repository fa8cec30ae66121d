"""Tokens come from the platform's store or the environment, and every refusal says what to do."""

from __future__ import annotations

import pytest
from fakes.colab import FakeColab
from fakes.kaggle import FakeSecrets

from rvc_colab.errors import NotebookError
from rvc_colab.notebook.secret_store import secret

NAME, TOKEN = "NGROK_AUTHTOKEN", "2abcdefSECRET"


def test_the_environment_comes_first(colab: FakeColab, monkeypatch: pytest.MonkeyPatch) -> None:
    colab.secrets[NAME] = "other"
    monkeypatch.setenv(NAME, TOKEN)
    assert secret(NAME).required() == TOKEN


def test_another_usual_name_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGROK_AUTH_TOKEN", TOKEN)
    assert secret(NAME).value == TOKEN


def test_colabs_store_is_asked(colab: FakeColab) -> None:
    colab.secrets[NAME] = TOKEN
    found = secret(NAME)
    assert (found.value, found.source) == (TOKEN, "Colab's secrets")


def test_kaggles_store_is_asked(kaggle: FakeSecrets) -> None:
    kaggle.secrets[NAME] = TOKEN
    assert secret(NAME).value == TOKEN


def test_a_token_never_shows_in_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, TOKEN)
    found = secret(NAME)
    assert TOKEN not in repr(found) and TOKEN not in str(found)
    assert found.scrub(f"bad token {TOKEN}!") == "bad token …!"


def _refused(found: object) -> str:
    with pytest.raises(NotebookError) as caught:
        found.required()  # type: ignore[attr-defined]
    return str(caught.value)


def test_a_missing_colab_secret(colab: FakeColab) -> None:
    assert "hold no NGROK" in _refused(secret(NAME))


def test_a_colab_secret_without_access(colab: FakeColab) -> None:
    colab.locked.add(NAME)
    text = _refused(secret(NAME))
    assert "may not read" in text and "switch on access" in text


def test_a_colab_secret_that_times_out(colab: FakeColab) -> None:
    colab.secrets_time_out = True
    assert "in time" in _refused(secret(NAME))


def test_a_bad_name_on_colab(colab: FakeColab) -> None:
    assert "no valid name" in _refused(secret("my token"))


def test_an_empty_secret_counts_as_none(colab: FakeColab) -> None:
    colab.secrets[NAME] = "  "
    assert "is empty" in _refused(secret(NAME))


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("", "hold no NGROK"),
        ("credentials", "no credentials"),
        ("offline", "Switch Internet on"),
        ("forbidden", "attach it"),
    ],
)
def test_each_kaggle_refusal_has_its_words(kaggle: FakeSecrets, failure: str, words: str) -> None:
    kaggle.failure = failure
    assert words in _refused(secret(NAME))


def test_a_plain_machine_names_the_variable() -> None:
    assert "Set the variable NGROK_AUTHTOKEN" in _refused(secret(NAME))
