"""Folders and file names on disk, and nowhere else.

A workspace holds what a person keeps (`weights/`, `indexes/`, `logs/`) and what can be made again
(`cache/`). It is named by `--workspace`, else `RVC_WORKSPACE`, else `~/rvc_colab`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rvc_colab.errors import ConfigError

MAX_NAME_LENGTH = 120
_STEM_KEPT = 40
_RESERVED = {"con", "prn", "aux", "nul", "demo"} | {
    f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)
}


@dataclass(frozen=True)
class Workspace:
    """The folders of one person's work under `root`."""

    root: Path

    @classmethod
    def locate(cls, root: str | os.PathLike[str] | None = None) -> Workspace:
        """Find the workspace: the argument, else RVC_WORKSPACE, else ~/rvc_colab."""
        chosen = root or os.environ.get("RVC_WORKSPACE") or Path.home() / "rvc_colab"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def weights(self) -> Path:
        """Voices (`NAME.pth`)."""
        return self._folder("weights")

    @property
    def indexes(self) -> Path:
        """Retrieval indexes (`*.index`)."""
        return self._folder("indexes")

    @property
    def logs(self) -> Path:
        """Training runs, one folder per voice name."""
        return self._folder("logs")

    @property
    def cache(self) -> Path:
        """Downloaded weights and other things that can be made again."""
        chosen = os.environ.get("RVC_CACHE")
        path = Path(chosen).expanduser().absolute() if chosen else self.root / "cache"
        return _made(path)

    def run(self, name: str) -> Path:
        """Return the folder of the training run `name` (not created)."""
        return self.logs / safe_name(name)

    def tensorboard(self, name: str) -> Path:
        """Return the local folder of the run's live TensorBoard files (not created).

        Workspaces may share a cache, so theirs are told apart.
        """
        place = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        return self.cache / "tensorboard" / f"{safe_name(name)}-{place}"

    def _folder(self, name: str) -> Path:
        return _made(self.root / name)


def _made(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {path} cannot be made: {error.strerror or error}.",
            "Name another one with --workspace DIR or RVC_WORKSPACE.",
        ) from error
    return path


def machine_folder() -> Path:
    """Return the local folder where this user's programs tell each other of themselves."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"rvc_colab-{user}"


def own_folder(path: Path) -> None:
    """Make a folder for this user alone. Raises PermissionError when it is somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and (path.is_symlink() or path.stat().st_uid != os.getuid()):
        raise PermissionError(f"{path} belongs to somebody else.")


def safe_name(text: str) -> str:
    """Check that `text` can be the name of a voice or run on every file system, and return it.

    Letters and digits of any script, space, dot, dash and underscore are allowed; at most
    120 characters; no leading dot, no reserved device name. Raises ConfigError otherwise.
    """
    name = unicodedata.normalize("NFC", text if is_text(text) else ascii(text)).strip()
    rule = "Use letters, digits, spaces, '.', '-' and '_', for example my_voice-2."
    if not name or name in {".", ".."}:
        raise ConfigError(f"{text!r} cannot be a name: it is empty.", rule)
    if len(name.encode()) > MAX_NAME_LENGTH:
        raise ConfigError(
            f"The name {name[:20]}… has {len(name.encode())} bytes; at most {MAX_NAME_LENGTH} fit.",
            rule,
        )
    if bad := sorted(set(re.findall(r"[^\w .\-]", name))):
        raise ConfigError(
            f"The name {name!r} contains {' '.join(bad)!s}, which is not allowed.", rule
        )
    if name.startswith(".") or name.endswith("."):
        raise ConfigError(f"The name {name!r} begins or ends with a dot.", rule)
    if name.split(".")[0].lower() in _RESERVED:
        raise ConfigError(f"The name {name!r} is reserved.", "Choose another name.")
    return name


def is_text(name: str) -> bool:
    """Tell whether a file's name can be written as UTF-8; old archives bring others."""
    try:
        name.encode()
        return True
    except UnicodeEncodeError:
        return False


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it into place.

    On an error the temporary file is removed and the old file, if any, stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The stem is cut: a name as long as the disk allows must stay possible with what is added.
    temporary = target.with_name(
        f".{target.stem[:_STEM_KEPT]}.{os.getpid()}.{os.urandom(3).hex()}.partial{target.suffix}"
    )
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def sync_file(path: Path) -> None:
    """Force the bytes of one file to the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    """Force a folder's entries to the disk, where the system can (network drives refuse)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
