"""Attempts to read, write or learn through the page what one must not."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("gradio", reason="the page needs gradio")

from page_materials import UPLOAD_MEGABYTES, write_small_voice, write_tone

from rvc_colab.errors import RVCError
from rvc_colab.progress import SilentProgress
from rvc_colab.ui.access import person_of
from rvc_colab.ui.conversions import Wish, accept
from rvc_colab.ui.forms import read_settings
from rvc_colab.ui.library import import_from
from rvc_colab.ui.train_view import take_in
from rvc_colab.ui.training_jobs import claim_run, runs_of

FILE = "/gradio_api/file="


def _upload(client: httpx.Client, path: Path) -> str:
    with path.open("rb") as handle:
        answer = client.post("/gradio_api/upload", files={"files": (path.name, handle)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()[0])


def _person(client: httpx.Client) -> str:
    return person_of(dict(client.cookies))


@pytest.mark.parametrize("path", ["/config", "/gradio_api/info", f"{FILE}/etc/hostname"])
def test_nothing_is_told_without_the_password(opened: Any, path: str) -> None:
    answer = httpx.get(opened.url.rstrip("/") + path, trust_env=False)
    assert answer.status_code in {401, 403}


def test_nothing_is_taken_without_the_password(opened: Any) -> None:
    url = f"{opened.url}gradio_api/upload"
    answer = httpx.post(url, files={"files": b"sound"}, trust_env=False)
    assert answer.status_code in {401, 403}


def test_a_wrong_password_is_refused(opened: Any) -> None:
    data = {"username": "rvc", "password": "correct-horse-8"}
    answer = httpx.post(f"{opened.url}login", data=data, trust_env=False)
    assert answer.status_code in {400, 401}


def test_files_outside_the_outputs_are_not_served(opened: Any, sign_in: Any) -> None:
    client, root = sign_in(), opened.page.workspace.root
    inside = f"{root}/outputs"
    for asked in (
        "/etc/hostname",
        f"{root}/weights/anna.pth",
        f"{inside}/../weights/anna.pth",
        f"{inside}/%2e%2e/weights/anna.pth",
        f"{inside}/..%2fweights/anna.pth",
        "file:///etc/hostname",
        "http://127.0.0.1:1/",
        "~/.bashrc",
        f"{inside}\x00/../weights/anna.pth".replace("\x00", "%00"),
    ):
        answer = client.get(FILE + asked)
        assert answer.status_code in {403, 404}, asked


def test_a_link_out_of_the_outputs_is_not_followed(opened: Any, sign_in: Any) -> None:
    client = sign_in()
    folder = opened.page.new_folder(_person(client))
    (folder / "link.txt").symlink_to(opened.page.workspace.weights / "anna.pth")
    assert client.get(f"{FILE}{folder}/link.txt").status_code == 403


def test_an_upload_that_is_too_large_is_refused(sign_in: Any) -> None:
    large = io.BytesIO(bytes((UPLOAD_MEGABYTES + 1) * 1000 * 1000))
    answer = sign_in().post("/gradio_api/upload", files={"files": ("large.wav", large)})
    assert answer.status_code == 413


def test_an_upload_is_for_its_owner(tmp_path: Path, sign_in: Any) -> None:
    anna, eve = sign_in(), sign_in()
    path = _upload(anna, write_tone(tmp_path / "private.wav"))
    assert anna.get(FILE + path).status_code == 200
    assert eve.get(FILE + path).status_code == 403


def test_a_foreign_upload_cannot_be_converted(opened: Any, tmp_path: Path, sign_in: Any) -> None:
    anna, eve = sign_in(), sign_in()
    path = _upload(anna, write_tone(tmp_path / "private.wav", hertz=230))
    from rvc_colab.config import ConversionConfig

    wish = Wish("anna", ConversionConfig())
    with pytest.raises(RVCError, match="somebody else"):
        accept(opened.page, _person(eve), [path], wish)


def test_a_result_is_for_its_owner(opened: Any, sign_in: Any) -> None:
    anna, eve = sign_in(), sign_in()
    result = opened.page.new_folder(_person(anna)) / "result.txt"
    result.write_text("private")
    assert anna.get(f"{FILE}{result}").text == "private"
    assert eve.get(f"{FILE}{result}").status_code == 403


def test_what_is_no_sound_is_refused_whatever_its_name(
    opened: Any, tmp_path: Path, sign_in: Any
) -> None:
    from rvc_colab.config import ConversionConfig

    client = sign_in()
    (tmp_path / "sound.wav").write_text("<script>alert(1)</script>" * 50)
    path = _upload(client, tmp_path / "sound.wav")
    wish = Wish("anna", ConversionConfig())
    with pytest.raises(RVCError, match="sound"):
        accept(opened.page, _person(client), [path], wish)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b", "..", "", "nobody"])
def test_a_voice_is_a_name_of_the_library(opened: Any, name: str) -> None:
    with pytest.raises(RVCError):
        opened.page.voice(name)


def test_a_path_in_place_of_a_choice_is_dropped(opened: Any) -> None:
    from rvc_colab.config import TrainingConfig

    config = read_settings(TrainingConfig, ["pretrained", "encoder"], ["/etc/passwd", "/tmp"])
    assert config.pretrained in {"auto", "none"} and config.encoder in {"contentvec", "tiny"}


@pytest.mark.parametrize(
    "folder",
    [
        "/etc",
        "{root}",
        "{root}/..",
        "{root}/outputs",
        "{root}/cache",
        "{root}/logs",
        "{root}/weights",
    ],
)
def test_folders_of_the_machine_and_of_others_are_not_read(opened: Any, folder: str) -> None:
    asked = Path(folder.format(root=opened.page.workspace.root))
    asked.mkdir(parents=True, exist_ok=True)
    with pytest.raises(RVCError, match="outside"):
        opened.page.folder(str(asked), "eve")


def test_a_folder_that_leads_to_others_is_not_read(opened: Any) -> None:
    link = opened.page.workspace.root / "mine"
    link.symlink_to(opened.page.outputs)
    with pytest.raises(RVCError, match="others brought"):
        opened.page.folder(str(link), "eve")
    link.unlink()


def test_recordings_are_for_who_dropped_them(opened: Any, tmp_path: Path, sign_in: Any) -> None:
    anna, eve = sign_in(), sign_in()
    path = _upload(anna, write_tone(tmp_path / "diary.wav", hertz=240))
    kept = take_in(opened.page, _person(anna), "shared", [path])
    assert opened.page.folder(str(kept), _person(anna)) == kept
    with pytest.raises(RVCError, match="others brought"):
        opened.page.folder(str(kept), _person(eve))
    path = _upload(eve, write_tone(tmp_path / "other.wav", hertz=250))
    assert not (take_in(opened.page, _person(eve), "shared", [path]) / "diary.wav").exists()


def test_a_run_is_its_owners_from_the_first_look(opened: Any, tmp_path: Path, sign_in: Any) -> None:
    anna, eve = _person(sign_in()), _person(sign_in())
    workspace = opened.page.workspace
    claim_run(workspace.run("looked"), anna, tmp_path)
    claim_run(workspace.run("looked"), eve, tmp_path)
    assert "looked" in runs_of(workspace, anna, False)
    assert "looked" not in runs_of(workspace, eve, False)


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_zip_that_slips_writes_nothing(opened: Any, tmp_path: Path) -> None:
    path = _zip(tmp_path / "slip.zip", {"../../slipped.pth": b"x", "voice.pth": b"x"})
    with pytest.raises(RVCError, match="leaves its folder"):
        import_from(opened.page, str(path), True, "slip", SilentProgress())
    assert not list(opened.page.workspace.root.rglob("slip*.pth"))


def test_a_zip_bomb_is_not_unpacked(opened: Any, tmp_path: Path) -> None:
    path = _zip(tmp_path / "bomb.zip", {"voice.pth": bytes(20_000_000)})
    with pytest.raises(RVCError, match="unpacks to"):
        import_from(opened.page, str(path), True, "bomb", SilentProgress())


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


def test_a_pickle_with_code_is_not_run(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weight": _Evil(), "config": [1] * 18}))
    with pytest.raises(RVCError):
        import_from(opened.page, str(tmp_path / "evil.pth"), True, "evil", SilentProgress())
    assert not (tmp_path / "pwned").exists()


def test_a_file_of_the_machine_is_not_imported(opened: Any, tmp_path: Path) -> None:
    write_small_voice(tmp_path / "mine.pth")
    with pytest.raises(RVCError, match="no files of this machine"):
        import_from(opened.page, str(tmp_path / "mine.pth"), False, "", SilentProgress())


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "con"])
def test_a_name_cannot_leave_its_folder(opened: Any, tmp_path: Path, name: str) -> None:
    write_small_voice(tmp_path / "mine.pth")
    with pytest.raises(RVCError):
        import_from(opened.page, str(tmp_path / "mine.pth"), True, name, SilentProgress())


def test_words_in_a_voice_file_are_not_run_as_html(opened: Any) -> None:
    from rvc_colab.store.voices import VoiceCard
    from rvc_colab.ui.voice_cards import card_text

    card = VoiceCard("<img src=x>", Path("x"), encoder="<script>", warnings=("<b>",))
    text = card_text(card, "en")
    assert "<script>" not in text and "<img" not in text and "<b>" not in text
