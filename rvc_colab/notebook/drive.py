"""Keep work beyond the session: Google Drive on Colab, the output folder on Kaggle.

`open_storage()` never raises for a refusal: it says what was refused and what to do, and work goes
on in the local workspace.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import links
from rvc_colab.notebook.environment import COLAB, KAGGLE, platform_name
from rvc_colab.notebook.links import LINKED, Link
from rvc_colab.workspace import write_atomically

MOUNT_MILLISECONDS = 120_000
FLUSH_MILLISECONDS = 30 * 60 * 1000
FOLDER = "RVC_Colab"
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Where the platforms keep things; other ones in tests."""

    drive: Path = Path("/content/drive")
    kaggle_output: Path = Path("/kaggle/working")
    kaggle_input: Path = Path("/kaggle/input")


@dataclass(frozen=True)
class Refusal:
    """Why the drive did not do it, and what to do. `kind` is one word for code and tests."""

    kind: str
    message: str
    remedy: str

    def error(self) -> NotebookError:
        """Return the refusal as an error."""
        return NotebookError(self.message, self.remedy)

    def in_words(self) -> str:
        """Say it in one line."""
        return f"{self.message} {self.remedy} Work goes on, kept on this machine only."


@dataclass(frozen=True)
class Storage:
    """Where results are kept: `kind` is drive, kaggle or local; `root` holds the folders."""

    kind: str
    root: Path
    links: tuple[Link, ...] = ()
    refusal: Refusal | None = None

    @property
    def lasting(self) -> bool:
        """Tell whether `root` outlives the session (on Kaggle: once a version is saved)."""
        return self.kind != "local"

    def folder(self, name: str) -> Path:
        """Return a folder of the storage, made if need be."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def in_words(self) -> str:
        """Say where results are kept, in a few lines."""
        if self.refusal:
            return self.refusal.in_words()
        first = {
            "drive": f"Results are kept on your Google Drive, in {self.root}.",
            "kaggle": f"Results are kept in {self.root}: press Save Version to keep them.",
        }.get(self.kind, f"Results are kept in {self.root}.")
        return "\n".join([first, *(link.in_words() for link in self.links if link.copied)])


def open_storage(
    workspace: str | os.PathLike[str],
    names: tuple[str, ...] = LINKED,
    places: Places | None = None,
) -> Storage:
    """Find the lasting storage of this platform and link the workspace's folders to it.

    Never raises for a refusal: the returned Storage is then local and carries it.
    """
    places, local = places or Places(), Path(workspace)
    where = platform_name(os.environ)
    links.unlink_folders(local, names)
    if where == COLAB:
        root = places.drive / "MyDrive" / FOLDER
        refusal = mount(places) or _attempt(lambda: root.mkdir(parents=True, exist_ok=True))[1]
    elif where == KAGGLE:
        root = places.kaggle_output / FOLDER
        refusal = _attempt(lambda: root.mkdir(parents=True, exist_ok=True))[1]
    else:
        return Storage("local", local)
    if refusal is None and local.resolve() != root.resolve():
        linked, refusal = _attempt(lambda: links.link_folders(local, root, names))
    else:
        linked = []
    if refusal is not None:
        _log.warning("%s", refusal.in_words())
        links.unlink_folders(local, names)
        return Storage("local", local, refusal=refusal)
    return Storage("drive" if where == COLAB else "kaggle", root, tuple(linked or ()))


def mount(places: Places | None = None) -> Refusal | None:
    """Mount Google Drive; None is success. A mounted drive is not asked for again (no pop-up)."""
    point = (places or Places()).drive
    try:
        if is_mounted(point):
            return None
        module = importlib.import_module("google.colab.drive")
        module.mount(str(point), timeout_ms=MOUNT_MILLISECONDS)
        if is_mounted(point):
            return None
    except Exception as error:  # the frontend's refusals have classes of their own
        return explain(error)
    # The browser never answered: Colab then returns as if nothing had happened.
    return Refusal(
        "no_reply",
        "Google Drive was not mounted: the browser did not answer.",
        "Keep this page open, allow pop-ups, and run this cell again.",
    )


def is_mounted(point: Path) -> bool:
    """Tell whether the drive is there and answers. Raises OSError when it is there but dead."""
    try:
        os.stat(point / "MyDrive")
        return (point / "MyDrive").is_dir()
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return False


# kind, message, remedy; the first row whose words occur in the error's text.
_TEXTS = (
    ("credential propagation", "denied", "Google Drive was not allowed, or the pop-up was blocked.",
     "Run this cell again, allow pop-ups and third-party cookies, and pick the same account."),
    ("domain policy", "policy", "Your organisation's policy has switched Drive off here.",
     "Use a personal account, or download the results with the last cell."),
    ("initial read of root", "timeout", "Drive did not list its first folder in time.",
     "Move files of My Drive's top level into folders, wait a minute, and run this cell again."),
    ("already contain files", "occupied", "The folder for the drive holds files already.",
     "Something was written there before the drive was mounted: move it away and try again."),
    ("flush_and_unmount failed", "flush", "Drive did not take all files before the time was up.",
     "Keep this session open and run this cell again; nothing has been deleted here."),
    ("mount failed", "failed", "Google Drive could not be mounted.",
     "Wait a minute and run this cell again, or restart the runtime."),
)  # fmt: skip

_NUMBERS = {
    errno.EIO: ("quota", "Drive refused to read or write (errno 5): mostly a used-up quota.",
                "Wait some hours, or make a copy of a shared file in your own Drive."),
    errno.ENOTCONN: ("disconnected", "The connection to Drive has died (errno 107).",
                     "Runtime > Disconnect and delete runtime, then Run all: it goes on there."),
    errno.EOPNOTSUPP: ("no_links", "Drive cannot hold links (errno 95).",
                       "Keep the workspace on this machine (/content), not inside Drive."),
    errno.ENOSPC: ("full", "The disk or the drive is full (errno 28).",
                   "Delete old results (and empty Drive's bin), then run this again."),
    errno.EDQUOT: ("full", "Your Drive's space is used up.",
                   "Delete old results (and empty Drive's bin), then run this again."),
    errno.EROFS: ("read_only", "This folder can only be read.", "Choose another folder."),
    errno.EACCES: ("forbidden", "Writing to this folder is not allowed.", "Choose another folder."),
    errno.ETIMEDOUT: ("timeout", "Drive did not answer in time.",
                      "Wait a minute and run this again."),
}  # fmt: skip


def explain(error: BaseException) -> Refusal:
    """Put a failure of the drive into a sentence and a remedy."""
    text = str(error)
    for words, kind, message, remedy in _TEXTS:
        if words in text:
            return Refusal(kind, message, remedy)
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return Refusal(*_NUMBERS[error.errno])
    if isinstance(error, NotImplementedError) or "TBE_EPHEM_CREDS_ADDR" in text:
        return Refusal(
            "unsupported",
            "Google Drive cannot be mounted in this kind of session (Enterprise or local runtime).",
            "Download the results with the last cell instead.",
        )
    if isinstance(error, (ImportError, AttributeError)):
        return Refusal(
            "not_colab",
            "Google Drive can only be mounted from a cell of a Colab notebook.",
            "Open the notebook in Colab, or work in a folder of your own.",
        )
    if type(error).__name__ == "MessageError":
        return Refusal(
            "denied", "Google Drive was not allowed.", "Run this cell again and allow it."
        )
    if isinstance(error, NotebookError):
        return Refusal("damaged", error.message, error.hint)
    shown = text.splitlines()[0] if text else type(error).__name__
    return Refusal("failed", f"The drive failed: {shown}.", "Run this cell again.")


def _attempt(action: Callable[[], _Result]) -> tuple[_Result | None, Refusal | None]:
    try:
        return action(), None
    except (OSError, NotebookError) as error:
        return None, explain(error)


def attempt(action: Callable[[], _Result]) -> tuple[_Result | None, Refusal | None]:
    """Do something on the storage; return its result, or the refusal in words (also logged)."""
    result, refusal = _attempt(action)
    if refusal:
        _log.warning("%s", refusal.in_words())
    return result, refusal


def flush(storage: Storage, places: Places | None = None) -> str:
    """Let the drive take everything in, unmount it, and say what a person should still do.

    Close files before. Afterwards the linked folders lead nowhere until `open_storage` is called
    again. Raises NotebookError when Drive did not take everything.
    """
    if storage.kind == "kaggle":
        return (
            f"{storage.root} is kept when you press Save Version; all else goes with the session."
        )
    if storage.kind != "drive":
        return f"Results are in {storage.root} on this machine; nothing has to be sent."
    try:
        module = importlib.import_module("google.colab.drive")
        module.flush_and_unmount(timeout_ms=FLUSH_MILLISECONDS)
    except Exception as error:
        raise explain(error).error() from error
    for link in storage.links:
        links.unlink_folders(link.local.parent, (link.local.name,))
    return (
        "Drive has taken everything in and is unmounted. Look for the files at drive.google.com "
        "before you delete the runtime: large ones can take minutes to appear."
    )


# --------------------------------------------------------------------------------- Kaggle


def inputs(
    suffixes: Sequence[str] = (".pth", ".index", ".zip", ".wav", ".flac", ".mp3", ".tar"),
    places: Places | None = None,
) -> list[Path]:
    """List files of these kinds among the datasets attached to a Kaggle notebook."""
    root = (places or Places()).kaggle_input
    wanted = {suffix.lower() for suffix in suffixes}
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in wanted and p.is_file())


def export_zip(sources: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str]) -> Path:
    """Pack files and folders into one zip that can be downloaded. Raises NotebookError.

    Sound and weights do not compress, so they are stored. What is unfinished stays out.
    """
    path = Path(target)
    files = [(file, name) for source in sources for file, name in _files(Path(source))]
    files = [(file, name) for file, name in files if file.resolve() != path.resolve()]
    if not files:
        raise NotebookError("There is nothing to export yet.", "Convert or train something first.")
    try:
        with write_atomically(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for file, name in files:
                archive.write(file, name)
    except OSError as error:
        raise explain(error).error() from error
    return path


def _files(source: Path) -> list[tuple[Path, str]]:
    if source.is_file():
        return [(source, source.name)]
    # The folder may be a link to the drive: walk what it leads to.
    found = []
    for folder, _, names in os.walk(source, followlinks=True):
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_file() and ".partial" not in name:
                found.append((file, str(Path(source.name) / file.relative_to(source))))
    return sorted(found)
