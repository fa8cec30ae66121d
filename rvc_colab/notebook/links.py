"""Let folders of the workspace live on the drive: links out of local folders, merged first.

The links are local and point to the drive; a link inside the drive is refused by it (errno 95).
A real folder is copied file by file and every copy read back before the link takes its place.
Files that differ are both kept.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rvc_colab.notebook.publishing import PARTIAL, copy_verified, free_name, same_bytes

LINKED = ("weights", "indexes", "logs")
_ASIDE = ".moved-to-drive-"


@dataclass(frozen=True)
class Link:
    """A workspace folder and where it now lives; what was copied, and kept under another name."""

    local: Path
    remote: Path
    copied: tuple[str, ...] = ()
    kept_both: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Say what was done in one line."""
        parts = [f"{self.local.name} → {self.remote}"]
        if self.copied:
            parts.append(f"{len(self.copied)} files copied")
        if self.kept_both:
            parts.append(f"both kept: {', '.join(self.kept_both)}")
        if self.skipped:
            parts.append(f"left out (links that lead nowhere): {', '.join(self.skipped)}")
        return "; ".join(parts)


def link_folders(
    workspace: str | os.PathLike[str],
    remote: str | os.PathLike[str],
    names: tuple[str, ...] = LINKED,
) -> list[Link]:
    """Link each named folder of the workspace to one in `remote`. Raises OSError as the drive does.

    When a copy fails the local folder stays as it was, with all its files.
    """
    return [link_folder(Path(workspace) / name, Path(remote) / name) for name in names]


def link_folder(local: Path, remote: Path) -> Link:
    """Link one folder; a folder that is a link already is pointed to `remote`."""
    remote.mkdir(parents=True, exist_ok=True)
    local.parent.mkdir(parents=True, exist_ok=True)
    link = Link(local, remote)
    if local.is_symlink():
        if Path(os.readlink(local)) == remote:
            return _finished(link)
        local.unlink()
    elif local.exists():
        link = _merged(local, remote)
        # The copies are verified. Aside, link, then delete: a kill in between loses nothing.
        os.rename(local, free_name(local.with_name(_ASIDE + local.name), "aside"))
    os.symlink(remote, local, target_is_directory=True)
    return _finished(link)


def unlink_folders(
    workspace: str | os.PathLike[str], names: tuple[str, ...] = LINKED
) -> list[Path]:
    """Turn links that lead nowhere (the drive is gone) back into local folders, and name them."""
    restored = []
    for name in names:
        local = Path(workspace) / name
        if local.is_symlink() and not _reachable(local):
            local.unlink()
            local.mkdir()
            restored.append(local)
    return restored


def _reachable(path: Path) -> bool:
    try:
        return path.is_dir() and os.listdir(path) is not None
    except OSError:
        return False


def _finished(link: Link) -> Link:
    """Delete what was set aside, once all of it is on the drive; a kill may have left some."""
    for aside in link.local.parent.glob(f"{_ASIDE}{link.local.name}*"):
        again = _merged(aside, link.remote)
        shutil.rmtree(aside)
        link = Link(
            link.local,
            link.remote,
            link.copied + again.copied,
            link.kept_both + again.kept_both,
            link.skipped + again.skipped,
        )
    return link


def _merged(local: Path, remote: Path) -> Link:
    """Copy every file that the drive does not have; nothing there is overwritten."""
    copied, kept_both, skipped = [], [], []
    for folder, _, files in os.walk(local, followlinks=False):
        inside = Path(folder).relative_to(local)
        (remote / inside).mkdir(parents=True, exist_ok=True)
        for file in sorted(files):
            source, target = Path(folder) / file, remote / inside / file
            if file.endswith(PARTIAL):
                continue
            if not source.is_file():
                skipped.append(str(inside / file))
            elif not target.exists():
                copy_verified(source, target)
                copied.append(str(inside / file))
            elif not _on_drive(source, target):
                other = free_name(target, "local")
                copy_verified(source, other)
                kept_both.append(str(inside / other.name))
    return Link(local, remote, tuple(copied), tuple(kept_both), tuple(skipped))


def _on_drive(source: Path, target: Path) -> bool:
    """Tell whether the drive has these bytes, under this name or a kept copy's."""
    kept = target.parent.glob(f"{_plain(target.stem)}.local-*{target.suffix}")
    return any(same_bytes(source, other) for other in (target, *sorted(kept)))


def _plain(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)
