"""What programs call: by gradio_client, and by plain HTTP as with curl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_materials import PASSWORD, write_tone

from rvc_colab.audio.files import probe


@pytest.fixture(scope="module")
def client(opened: Any) -> Any:
    from gradio_client import Client

    return Client(opened.url, auth=("rvc", PASSWORD), verbose=False)


def test_a_program_converts_a_file(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    source = write_tone(tmp_path / "tone.wav", 0.8)
    settings = {"transpose": 3, "seed": 1, "format": "flac"}
    path, report = client.predict(handle_file(source), "anna", settings, api_name="/convert")
    assert probe(path).seconds == pytest.approx(0.8, abs=0.01)
    assert Path(path).suffix == ".flac" and report["seed"] == 1


def test_a_program_lists_the_voices_without_their_places(client: Any) -> None:
    voices = client.predict(api_name="/voices")
    assert "anna" in {voice["name"] for voice in voices}
    assert "weights" not in json.dumps(voices)


def test_a_program_asks_how_a_training_stands(client: Any) -> None:
    assert isinstance(client.predict("", api_name="/train_status")["runs"], list)


def test_a_refusal_reaches_the_program_in_words(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    source = handle_file(write_tone(tmp_path / "tone.wav", 0.5))
    with pytest.raises(AppError, match="no setting 'loudness'"):
        client.predict(source, "anna", {"loudness": 1}, api_name="/convert")
    with pytest.raises(AppError, match="not taken"):
        client.predict(source, "anna", {"f0_file": "/etc/passwd"}, api_name="/convert")


def test_only_the_named_endpoints_are_offered(client: Any) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/convert", "/voices", "/train_status"}


def test_the_three_lines_of_curl_work(sign_in: Any) -> None:
    signed_in = sign_in()  # curl -c jar … /login
    event = signed_in.post("/gradio_api/call/voices", json={"data": []}).json()["event_id"]
    answer = signed_in.get(f"/gradio_api/call/voices/{event}").text
    assert "event: complete" in answer and '"anna"' in answer
