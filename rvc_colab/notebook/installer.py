"""Drive uv or pip: constraints from what is installed, wheels only, last words on failure."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rvc_colab.errors import NotebookError
from rvc_colab.notebook.command import Outcome, run
from rvc_colab.notebook.environment import KAGGLE, has_internet, platform_name
from rvc_colab.notebook.requirements import Requirement, normal

# Colab's image has set these to files that did not exist, and to a policy that moves versions.
UNSET = ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_PRERELEASE", "UV_OVERRIDE", "PIP_CONSTRAINT")
_VERSION = re.compile(r"^[vV]?(\d+!)?\d+(\.\d+)*[\w.+-]*$")
# How uv and pip name the package that failed, the most telling first.
_CULPRITS = (
    re.compile(r"No matching distribution found for ([\w.-]+)"),
    re.compile(r"Failed to (?:build|download|download and build|fetch|read)[: ]+`?([\w.-]+)"),
    re.compile(r"Failed building wheel for ([\w.-]+)"),
    re.compile(r"Because ([\w.-]+) (?:was not found|has no|needs|cannot)"),
    re.compile(
        r"(?:[Bb]ecause|and) (?:only )?([\w.-]+?)(?:[<>=!~]\S*)? (?:is|are|has) .*"
        r"(?:unsatisfiable|no wheels|not available|cannot be used|available)"
    ),
    re.compile(r"ERROR: Could not find a version that satisfies the requirement ([\w.-]+)"),
)


@dataclass(frozen=True)
class Source:
    """Where wheels come from: the network, or folders of wheels alone."""

    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, wheelhouse: str | os.PathLike[str] | None, scratch: Path) -> Source:
        """Accept a folder (wheels at any depth) or a tar of wheels; None is the network."""
        if wheelhouse is None:
            return cls()
        path = Path(wheelhouse)
        remedy = "Name a folder or a tar made by make_wheelhouse()."
        if path.is_dir():
            folders = sorted({wheel.parent for wheel in path.rglob("*.whl")})
        elif path.is_file():
            folders = [_unpacked(path, scratch / "wheels")]
        else:
            raise NotebookError(f"There is no wheelhouse {path}.", remedy)
        if not any(folder.glob("*.whl") for folder in folders):
            raise NotebookError(f"The wheelhouse {path} holds no wheels.", remedy)
        return cls(tuple(folders))

    def options(self) -> list[str]:
        """Return the options that uv and pip both understand."""
        links = [part for folder in self.folders for part in ("--find-links", str(folder))]
        return ["--no-index", *links] if links else []


@dataclass(frozen=True)
class Failure:
    """How an install failed: the package where it is known, and the installer's last words."""

    package: str
    last_words: str
    offline: bool = False

    def told(self) -> tuple[str, str, str]:
        """Return message, hint and package."""
        subject = f"Installing {self.package} failed" if self.package else "The install failed"
        hint = "Run this cell again; nothing that was there has been changed."
        if self.offline:
            hint = "The wheelhouse lacks it or was made for another Python: make it again."
        elif re.search(
            r"dns error|name resolution|connect|timed out|unreachable", self.last_words, re.I
        ):
            hint = "The network did not answer. On Kaggle switch Internet on, or pass a wheelhouse."
        elif "externally" in self.last_words:
            hint = "This Python belongs to the system: make an environment of your own first."
        elif "No space left" in self.last_words:
            hint = "The disk is full: delete what you do not need and run this cell again."
        return f"{subject}:\n{self.last_words}", hint, self.package


def _unpacked(archive: Path, folder: Path) -> Path:
    """Take the wheels out of a tar, by their base names only."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                handle = tar.extractfile(member) if member.isfile() else None
                if handle is None or not name.endswith(".whl"):
                    continue
                with handle, (folder / name).open("wb") as target:
                    shutil.copyfileobj(handle, target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise NotebookError(
            f"The wheelhouse {archive} cannot be read: {error}.", "Make or copy it again."
        ) from error
    return folder


def installed_versions(paths: Sequence[str]) -> dict[str, str]:
    """Return normal name → version of all distributions in these folders, the first one winning."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=list(paths)):
        with contextlib.suppress(Exception):  # a damaged entry is as good as none
            name = distribution.metadata["Name"]
            if name and distribution.version:
                found.setdefault(normal(name), distribution.version)
    return found


def version_of(name: str, paths: Sequence[str]) -> str | None:
    """Look one distribution's version up, None when it is not there."""
    for distribution in importlib.metadata.distributions(name=name, path=list(paths)):
        with contextlib.suppress(Exception):
            return distribution.version
    return None


def write_constraints(installed: Mapping[str, str], path: Path) -> Path:
    """Pin everything installed, so that a resolver can move nothing."""
    lines = [f"{name}=={v}\n" for name, v in sorted(installed.items()) if _VERSION.match(v)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def install(
    missing: Sequence[Requirement],
    python: Path,
    constraints: Path,
    source: Source,
    show: Callable[[str], None],
) -> Failure | None:
    """Install with uv where it is found, else or after its failure with pip; None is success."""
    environ = clean_environ()
    common = ["--constraint", str(constraints), "--only-binary", ":all:", *source.options()]
    names = [str(requirement) for requirement in missing]
    failed: Failure | None = None
    for command in _installers(python):
        if failed:
            show("uv failed; trying pip")
        outcome = run([*command, *common, *names], show, environ)
        if outcome.code == 0:
            return None
        # pip may be absent altogether: then the first installer's words say more.
        if failed is None or "No module named pip" not in outcome.text:
            failed = _failure(outcome, missing, bool(source.folders))
    return failed or Failure("", "Neither uv nor pip is there to install with.")


def clean_environ() -> dict[str, str]:
    """Return the environment without the variables that bend an installer's choices."""
    return {name: value for name, value in os.environ.items() if name not in UNSET}


def _installers(python: Path) -> list[list[str]]:
    commands = [[*pip_of(python), "install", "--no-input", "--progress-bar", "off"]]
    if uv := find_uv():
        commands.insert(0, [uv, "pip", "install", "--no-progress", "--python", str(python)])
    return commands


def pip_of(python: Path) -> list[str]:
    """Return the start of a pip command for that Python, which need not have pip itself."""
    here = [sys.executable, "-m", "pip"]
    return here if python == Path(sys.executable) else [*here, "--python", str(python)]


def wheelhouse_when_offline(root: Path = Path("/kaggle/input")) -> Path | None:
    """Find wheels among Kaggle's inputs when internet is switched off, else None."""
    if platform_name(os.environ) != KAGGLE or has_internet():
        return None
    tars = sorted(root.rglob("rvc_colab-wheels*.tar"))
    folders = sorted({wheel.parent for wheel in root.rglob("faiss_cpu-*.whl")})
    return next(iter([*tars, *folders]), None)


def find_uv() -> str | None:
    """Find the uv program: on the path, or beside this Python."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if beside.exists() else None)


def _failure(outcome: Outcome, missing: Sequence[Requirement], offline: bool) -> Failure:
    joined = re.sub(r"\s+", " ", outcome.text)
    named = {requirement.key: requirement.name for requirement in missing}
    suspects = [normal(match) for pattern in _CULPRITS for match in pattern.findall(joined)]
    known = [named[suspect] for suspect in suspects if suspect in named]
    package = (known or suspects or ([missing[0].name] if len(missing) == 1 else [""]))[0]
    words = "\n".join(outcome.last_words[-12:]) or f"It ended with code {outcome.code}."
    return Failure(package, words, offline)


def remove_half_installed(before: Mapping[str, str], paths: Sequence[str]) -> list[str]:
    """Clear what an install that was cut off left incomplete, and return the names.

    `before` is what was there when it began: those are never touched. Of the rest, a distribution
    whose recorded files are not all there loses its metadata, so that it counts as missing.
    """
    if not before:
        return []
    removed = []
    for distribution in list(importlib.metadata.distributions(path=list(paths))):
        folder = getattr(distribution, "_path", None)
        name = _name(distribution, folder)
        if not isinstance(folder, Path) or normal(name) in before or _whole(distribution):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed.append(name)
    return removed


def _name(distribution: importlib.metadata.Distribution, folder: object) -> str:
    with contextlib.suppress(Exception):
        if name := distribution.metadata["Name"]:
            return str(name)
    return str(getattr(folder, "name", "")).split("-")[0]


def _whole(distribution: importlib.metadata.Distribution) -> bool:
    """Tell whether every recorded file is there with its recorded size."""
    try:
        files = distribution.files
        sizes = [(Path(str(file.locate())).stat().st_size, file.size) for file in files or ()]
        return bool(sizes and distribution.version) and all(
            found == (found if recorded is None else recorded) for found, recorded in sizes
        )
    except (OSError, ValueError, KeyError):
        return False
