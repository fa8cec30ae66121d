"""Downloads: whole or not at all, resumed where possible, every accident in words."""

import hashlib
import sys
import types
from pathlib import Path

import pytest

from rvc_colab.errors import AssetError, Cancelled
from rvc_colab.progress import SilentProgress
from rvc_colab.store.downloads import (
    ATTEMPTS,
    Expected,
    download,
    drive_file,
    drive_id,
    hub_file,
    hub_listing,
    is_offline,
    url_file_name,
)

WHOLE = bytes(range(256)) * 40
HASH = hashlib.sha256(WHOLE).hexdigest()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_arrives(web, tmp_path):
    web.content = WHOLE
    path = download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(HASH, 100))
    assert path.read_bytes() == WHOLE
    assert left_in(tmp_path) == ["a.pth"]


def test_cut_connection_is_resumed_at_once(web, tmp_path):
    web.content, web.cut_after = WHOLE, 3000
    download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(HASH))
    assert web.ranges == [None, "bytes=3000-"]


def test_later_call_resumes_what_an_earlier_one_left(web, tmp_path, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.ATTEMPTS", 1)
    web.content, web.cut_after = WHOLE, 3000
    with pytest.raises(AssetError, match="ended after 3000 of 10240 bytes"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(HASH))
    assert "a.pth" not in left_in(tmp_path)
    assert download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(HASH)).read_bytes() == WHOLE
    assert web.ranges[1] == "bytes=3000-"


def test_changed_file_begins_anew(web, tmp_path, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.ATTEMPTS", 1)
    web.content, web.cut_after = b"old" * 2000, 3000
    with pytest.raises(AssetError):
        download(f"{web.url}/a.pth", tmp_path / "a.pth")
    web.content, web.etag = WHOLE, '"two"'
    assert download(f"{web.url}/a.pth", tmp_path / "a.pth").read_bytes() == WHOLE


def test_partial_file_of_another_address_is_not_used(web, tmp_path, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.ATTEMPTS", 1)
    web.content, web.cut_after = b"old" * 2000, 3000
    with pytest.raises(AssetError):
        download(f"{web.url}/old.pth", tmp_path / "a.pth")
    web.content = WHOLE
    assert download(f"{web.url}/new.pth", tmp_path / "a.pth").read_bytes() == WHOLE


def test_server_without_marks_is_never_resumed(web, tmp_path):
    web.content, web.cut_after, web.etag = WHOLE, 3000, ""
    download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(HASH))
    assert web.ranges == [None, None]


def test_wrong_hash_leaves_nothing(web, tmp_path):
    web.content = WHOLE
    with pytest.raises(AssetError, match="not the known file: its SHA-256 is"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected("0" * 64))
    assert left_in(tmp_path) == []


def test_web_page_is_refused_by_its_type(web, tmp_path):
    web.content, web.content_type = b"<html>quota</html>", "text/html; charset=utf-8"
    with pytest.raises(AssetError, match="leads to a web page"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth")
    assert left_in(tmp_path) == []


def test_web_page_is_refused_by_its_content(web, tmp_path):
    web.content = b"\n<!DOCTYPE html><title>Sign in</title>"
    with pytest.raises(AssetError, match="is a web page"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth")
    assert left_in(tmp_path) == []


def test_file_under_the_least_size_is_refused(web, tmp_path):
    web.content = b"tiny"
    with pytest.raises(AssetError, match="has 4 bytes, at least 100"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(minimum_bytes=100))


def test_file_over_the_greatest_size_is_refused_before_it_comes(web, tmp_path):
    web.content = WHOLE
    with pytest.raises(AssetError, match="has 10240 bytes; at most 100"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", Expected(maximum_bytes=100))


def test_missing_file_is_told_at_once(web, tmp_path):
    web.status = 404
    with pytest.raises(AssetError, match="answered 404"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth")
    assert len(web.ranges) == 1


def test_failing_server_is_asked_again(web, tmp_path):
    web.status = 503
    with pytest.raises(AssetError, match="the server answered 503"):
        download(f"{web.url}/a.pth", tmp_path / "a.pth")
    assert len(web.ranges) == ATTEMPTS


def test_no_server_names_the_address(tmp_path, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.downloads.PAUSE_SECONDS", 0.0)
    with pytest.raises(AssetError, match=r"127\.0\.0\.1:9/a\.pth could not be downloaded"):
        download("http://127.0.0.1:9/a.pth", tmp_path / "a.pth")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "a.pth"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(AssetError, match="no web address"):
        download(url, tmp_path / "a.pth")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"])
def test_a_strangers_address_does_not_lead_to_this_machine(web, tmp_path, host):
    web.content = WHOLE
    url = web.url.replace("127.0.0.1", host)
    with pytest.raises(AssetError, match="lies on this machine"):
        download(url + "/a.pth", tmp_path / "a.pth", Expected(public=True))
    assert not web.ranges and left_in(tmp_path) == []


def test_nor_does_one_that_sends_on_to_it(web, tmp_path, monkeypatch):
    asked = []

    def only_the_first(place):
        asked.append(place)
        return len(asked) == 1

    monkeypatch.setattr("rvc_colab.store.public_web.is_public", only_the_first)
    web.redirect = f"{web.url.replace('127.0.0.1', 'localhost')}/secret"
    with pytest.raises(AssetError, match="localhost lies on this machine"):
        download(web.url + "/a.pth", tmp_path / "a.pth", Expected(public=True))
    assert len(web.ranges) == 1


def test_nor_one_that_sends_on_to_another_kind_of_server(web, tmp_path, monkeypatch):
    monkeypatch.setattr("rvc_colab.store.public_web.is_public", lambda place: True)
    web.redirect = "ftp://127.0.0.1:1/secret"
    with pytest.raises(AssetError, match="FTP"):
        download(web.url + "/a.pth", tmp_path / "a.pth", Expected(public=True))


def test_stop_leaves_no_final_file(web, tmp_path):
    web.content = WHOLE
    progress = SilentProgress()
    progress.cancel()
    with pytest.raises(Cancelled):
        download(f"{web.url}/a.pth", tmp_path / "a.pth", progress=progress)
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "https://drive.google.com/file/d/1AbC_def-0123456789/view?usp=sharing",
            "1AbC_def-0123456789",
        ),
        (
            "https://drive.google.com/uc?id=1AbC_def-0123456789&export=download",
            "1AbC_def-0123456789",
        ),
        ("https://drive.google.com/open?id=1AbC_def-0123456789", "1AbC_def-0123456789"),
        ("https://example.com/file/d/1AbC_def-0123456789/view", None),
        ("https://drive.google.com/", None),
    ],
)
def test_drive_links(url, found):
    assert drive_id(url) == found


def test_drive_folder_is_refused():
    with pytest.raises(AssetError, match="Drive folder"):
        drive_id("https://drive.google.com/drive/folders/1AbC_def-0123456789")


@pytest.fixture
def drive(monkeypatch):
    """A stand-in for gdown; `content` is what Drive answers, an exception what it raises."""
    answers = {"content": b"data"}

    def download_by_id(id, output, quiet):
        if isinstance(answers["content"], Exception):
            raise answers["content"]
        if answers["content"] is None:
            return None
        path = Path(output) / "voice.pth"
        path.write_bytes(answers["content"])
        return str(path)

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download_by_id))
    return answers


def test_drive_file_keeps_its_name(drive, tmp_path):
    assert drive_file("1AbC", tmp_path / "new").name == "voice.pth"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RuntimeError("Too many users\nhave viewed"), "Too many users have viewed"),
        (None, "could not be fetched"),
        (b"<html>Sign in</html>", "web page"),
    ],
)
def test_drive_failures(drive, tmp_path, answer, words):
    drive["content"] = answer
    with pytest.raises(AssetError, match=words):
        drive_file("1AbC", tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        ("EntryNotFoundError", "There is no"),
        ("LocalEntryNotFoundError", "could not be reached"),
        ("other", "could not be fetched: boom"),
    ],
)
def test_hub_failures(monkeypatch, tmp_path, raised, words):
    import huggingface_hub
    from huggingface_hub import errors

    def fail(*_, **__):
        raise getattr(errors, raised, RuntimeError)("boom")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(AssetError, match=words):
        hub_file("owner/repo", "a.pth", tmp_path)


def test_hub_listing_failure(monkeypatch):
    import huggingface_hub

    def fail(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", fail)
    with pytest.raises(AssetError, match="owner/repo .* could not be listed"):
        hub_listing("owner/repo")


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_offline_follows_the_environment(monkeypatch, value, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert is_offline() is offline


def test_name_of_an_address():
    assert url_file_name("https://x.org/a/My%20Voice.zip?download=true", "v") == "My Voice.zip"
    assert url_file_name("https://x.org/", "voice") == "voice"
