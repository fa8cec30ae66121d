"""Fetch a file from a plain URL, the Hugging Face hub or Google Drive, whole or not at all.

Everything lands under a temporary name; what goes wrong is told in words: no network, no such
file, an error page under the name of the weights, a connection that ended early (the next call
resumes it).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from rvc_colab.errors import AssetError
from rvc_colab.features.file_kinds import HEAD_BYTES, accident
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.store.public_web import public_opener

ATTEMPTS = 3
PAUSE_SECONDS = 2.0  # before the second attempt, doubled for the third
TIMEOUT_SECONDS = 30.0
MAX_BYTES = 8 << 30  # no weights of this world are larger
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it comes.

    `public` says that strangers name the address: it must not lead to this machine or network.
    """

    sha256: str = ""
    minimum_bytes: int = 1
    maximum_bytes: int = MAX_BYTES
    public: bool = False


class _Interrupted(Exception):
    """The connection failed; another attempt may succeed."""


def is_offline() -> bool:
    """Tell whether the environment forbids downloads (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_file(path: Path, expected: Expected) -> str:
    """Check kind, size and hash of a file; return its SHA-256. Raises AssetError."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        kind = accident(handle.read(HEAD_BYTES))
    again = "Fetch it again; if it stays so, the source has another file now."
    if kind:
        raise AssetError(f"{path.name} is {kind}.", again)
    if size < expected.minimum_bytes:
        raise AssetError(
            f"{path.name} has {size} bytes, at least {expected.minimum_bytes} are expected.", again
        )
    found = sha256_of(path)
    if expected.sha256 and found != expected.sha256:
        raise AssetError(
            f"{path.name} is not the known file: its SHA-256 is {found[:12]}…, "
            f"{expected.sha256[:12]}… is expected.",
            again,
        )
    return found


def download(
    url: str, target: Path, expected: Expected | None = None, progress: Progress | None = None
) -> Path:
    """Download `url` to `target`; resume what an earlier call left in `target.partial`.

    Raises AssetError; then no file stands under the final name.
    """
    expected, progress = expected or Expected(), progress or SilentProgress()
    if urlparse(url).scheme not in {"http", "https"}:
        raise AssetError(f"{url} is no web address.", "Give one that begins with https://.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    for attempt in range(ATTEMPTS):
        try:
            _transfer(url, partial, expected, progress)
            break
        except _Interrupted as error:
            if attempt == ATTEMPTS - 1:
                raise AssetError(
                    f"{url} could not be downloaded: {error}.",
                    f"Check the network and run the command again, or save the file as {target}.",
                ) from error
            time.sleep(PAUSE_SECONDS * 2**attempt)
    try:
        check_file(partial, expected)
    except AssetError:
        _forget(partial)
        raise
    os.replace(partial, target)
    _forget(partial)
    return target


def _transfer(url: str, partial: Path, expected: Expected, progress: Progress) -> None:
    """Append what is missing to `partial`, or begin anew when the server cannot resume."""
    mark, have = _mark_of(partial, url), partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "rvc-colab", "Accept-Encoding": "identity"}
    if have and mark:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    try:
        with _opened(urllib.request.Request(url, headers=headers), expected.public) as answer:
            resumed = answer.status == 206
            length = answer.headers.get("Content-Length")
            total = int(length) + (have if resumed else 0) if length and length.isdigit() else None
            _check_announcement(url, answer, total, expected)
            _remember(partial, url, answer.headers)
            _receive(answer, partial, resumed, total, expected, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the partial file is no beginning of what is there now
            _forget(partial)
            raise _Interrupted("the server refused to resume") from error
        if error.code in {408, 429} or error.code >= 500:
            raise _Interrupted(f"the server answered {error.code}") from error
        raise AssetError(
            f"{url} answered {error.code} ({error.reason}).",
            "Check the address; it may be gone or private.",
        ) from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise _Interrupted(str(getattr(error, "reason", error)) or type(error).__name__) from error


@contextlib.contextmanager
def _opened(request: urllib.request.Request, public: bool) -> Iterator[Any]:
    opening = public_opener().open if public else urllib.request.urlopen
    with opening(request, timeout=TIMEOUT_SECONDS) as answer:
        yield answer


def _check_announcement(url: str, answer: Any, total: int | None, expected: Expected) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise AssetError(
            f"{url} leads to a web page, not to a file.", "Copy the address of the download itself."
        )
    if total is not None and total > expected.maximum_bytes:
        raise AssetError(f"{url} has {total} bytes; at most {expected.maximum_bytes} are taken.")


def _receive(
    answer: Any,
    partial: Path,
    resumed: bool,
    total: int | None,
    expected: Expected,
    progress: Progress,
) -> None:
    progress.stage(f"Downloading {partial.name.removesuffix('.partial')}", total)
    with partial.open("ab" if resumed else "wb") as handle:
        have = handle.tell()
        if resumed:
            progress.advance(have)
        while block := answer.read(_BLOCK):
            progress.check()
            handle.write(block)
            have += len(block)
            if have > expected.maximum_bytes:
                raise AssetError(f"The download is larger than {expected.maximum_bytes} bytes.")
            progress.advance(len(block))
        handle.flush()
        os.fsync(handle.fileno())
    if total is not None and have < total:
        raise _Interrupted(f"the connection ended after {have} of {total} bytes")


def _notes(partial: Path) -> Path:
    return partial.with_name(partial.name + ".json")


def _remember(partial: Path, url: str, headers: Any) -> None:
    mark = headers.get("ETag") or headers.get("Last-Modified") or ""
    mark = "" if mark.startswith("W/") else mark  # a weak tag does not promise equal bytes
    _notes(partial).write_text(json.dumps({"url": url, "mark": mark}))


def _mark_of(partial: Path, url: str) -> str:
    try:
        notes = json.loads(_notes(partial).read_text())
    except (OSError, ValueError):
        return ""
    return str(notes.get("mark", "")) if notes.get("url") == url else ""


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _notes(partial).unlink(missing_ok=True)


def hub_file(repo: str, filename: str, folder: Path) -> Path:
    """Download one file of a Hugging Face repository into `folder` (resumable); return its path.

    Raises AssetError; `FileNotFoundError` is its cause when the repository lacks the file.
    """
    import huggingface_hub
    from huggingface_hub import errors

    source = f"{repo}/{filename} on the Hugging Face hub"
    try:
        return Path(huggingface_hub.hf_hub_download(repo, filename, local_dir=folder))
    except errors.GatedRepoError as error:
        raise AssetError(
            f"{source} asks for a login.",
            f"Accept its terms on https://huggingface.co/{repo}, set HF_TOKEN.",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise AssetError(
            f"{source} could not be reached.",
            "Check the network and HF_HUB_OFFLINE, then run again.",
        ) from error
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError):
        raise AssetError(
            f"There is no {source}.", "Check the spelling; a private one needs HF_TOKEN."
        ) from FileNotFoundError(filename)
    except Exception as error:  # whatever the HTTP library under it raises
        text = str(error).strip().splitlines()
        raise AssetError(
            f"{source} could not be fetched: {text[0][:160] if text else type(error).__name__}.",
            "Check the network and the free space, then run again.",
        ) from error


def hub_listing(repo: str) -> list[str]:
    """List the files of a Hugging Face repository. Raises AssetError."""
    import huggingface_hub

    try:
        return sorted(huggingface_hub.HfApi().list_repo_files(repo))
    except Exception as error:  # whatever the HTTP library under it raises
        raise AssetError(
            f"The repository {repo} on the Hugging Face hub could not be listed.",
            "Check the spelling and the network; a private one needs HF_TOKEN.",
        ) from error


def drive_id(url: str) -> str | None:
    """Return the file id of a Google Drive link, None for other addresses."""
    parts = urlparse(url)
    if parts.hostname not in {
        "drive.google.com",
        "docs.google.com",
        "drive.usercontent.google.com",
    }:
        return None
    if "/folders/" in parts.path:
        raise AssetError(
            "The link leads to a Drive folder.",
            "Share the zip or the .pth itself and give its link.",
        )
    if found := re.search(r"/d/([\w-]{10,})", parts.path):
        return found[1]
    asked = parse_qs(parts.query).get("id", [""])[0]
    return asked if re.fullmatch(r"[\w-]{10,}", asked) else None


def drive_file(file_id: str, folder: Path) -> Path:
    """Download a shared Google Drive file into `folder` under its own name; return its path."""
    try:
        import gdown
    except ImportError as error:
        raise AssetError("Drive links need the package gdown.", "Run: pip install gdown") from error

    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = gdown.download(id=file_id, output=f"{folder}{os.sep}", quiet=True)
    except Exception as error:  # gdown raises what requests, bs4 and its own parser raise
        text = " ".join(str(error).split())
        raise AssetError(
            f"The Drive file {file_id} could not be fetched: {text[:160] or type(error).__name__}.",
            "Share it with “anyone with the link”; if its quota is used up, copy it to your Drive.",
        ) from error
    if not isinstance(found, str) or not Path(found).is_file():
        raise AssetError(
            f"The Drive file {file_id} could not be fetched.",
            "Share it with “anyone with the link”.",
        )
    path = Path(found)
    try:
        check_file(path, Expected())
    except AssetError:
        path.unlink()
        raise
    return path


def url_file_name(url: str, fallback: str) -> str:
    """Return the file name at the end of an address, or `fallback`."""
    return Path(unquote(urlparse(url).path)).name or fallback


def free_bytes(folder: Path) -> int:
    """Return the free space of the disk that holds `folder`, or its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
