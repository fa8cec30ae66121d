"""What the package needs, and what of it is missing here. Pure functions on a bare Python."""

from __future__ import annotations

import importlib.metadata
import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "rvc_colab"
# The platform's own builds, tied to its driver: an install there never names them.
PLATFORM_BUILDS = frozenset({"torch", "torchaudio", "torchvision", "torchcodec", "triton"})
# Colab ships IPython without jedi; ipywidgets from PyPI would bring it in. Colab has its own.
NOT_ON_COLAB = frozenset({"ipywidgets"})

_REQUIREMENT = re.compile(
    r"^\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?\s*(?:\(?([^;@()]*)\)?)?\s*(?:;(.*))?$"
)
_CLAUSE = re.compile(
    r"^\(*\s*([\w.]+|'[^']*'|\"[^\"]*\")\s*(<=|>=|==|!=|<|>|in|not in)\s*(.+?)\s*\)*$"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Requirement:
    """One named package with its bounds, such as `gradio>=5.50,<7`."""

    name: str
    bounds: str = ""
    extras: str = ""

    @property
    def key(self) -> str:
        """The name as package indexes compare it."""
        return normal(self.name)

    def __str__(self) -> str:
        return (
            f"{self.name}[{self.extras}]{self.bounds}" if self.extras else self.name + self.bounds
        )


@dataclass(frozen=True)
class Plan:
    """What an install would do. `missing` is named to the installer; the rest is told.

    `outdated` are installed below their bound: left alone, since moving a platform's package
    breaks others. `unbuilt` are platform builds (torch) that are not there at all.
    """

    missing: tuple[Requirement, ...] = ()
    outdated: tuple[str, ...] = ()
    unbuilt: tuple[str, ...] = ()


def normal(name: str) -> str:
    """Return a package name as indexes compare it: lower case, `-` for `_` and `.`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plan_install(
    requirements: Iterable[Requirement], installed: Mapping[str, str], on_colab: bool = False
) -> Plan:
    """Compare requirements with the installed versions (by normal name)."""
    missing: list[Requirement] = []
    unbuilt: list[Requirement] = []
    outdated = []
    for requirement in requirements:
        version = installed.get(requirement.key)
        if on_colab and requirement.key in NOT_ON_COLAB:
            continue
        if version is None:
            (unbuilt if requirement.key in PLATFORM_BUILDS else missing).append(requirement)
        elif not satisfies(version, requirement.bounds):
            outdated.append(f"{requirement.name} {version} is installed, {requirement} is wanted")
    names = tuple(requirement.name for requirement in unbuilt)
    return Plan(tuple(missing), tuple(outdated), names)


def parse(text: str, extra: str = "") -> Requirement | None:
    """Read one requirement line; None when its marker does not hold for `extra` here."""
    found = _REQUIREMENT.match(text)
    if not found:
        return None
    name, extras, bounds, marker = (part or "" for part in found.groups())
    if marker and not _holds(marker, extra):
        return None
    return Requirement(name, bounds.replace(" ", ""), extras.replace(" ", ""))


def own_requirements(
    extras: Sequence[str] = (), source: str | os.PathLike[str] | None = None
) -> tuple[Requirement, ...]:
    """Return this package's requirements with `extras`, each once.

    They stand in pyproject.toml when the package runs from its source tree (`source`), else in the
    installed distribution's metadata. Raises ValueError for an extra that does not exist.
    """
    lines, known = _declared(Path(source) if source else Path(__file__).parents[2])
    if unknown := [extra for extra in extras if normal(extra) not in known]:
        raise ValueError(
            f"there is no extra {unknown[0]!r}; choose from {', '.join(sorted(known))}"
        )
    found: dict[tuple[str, str], Requirement] = {}
    for extra in ("", *map(normal, extras)):
        for line in lines:
            if requirement := parse(line, extra):
                found.setdefault((requirement.key, requirement.bounds), requirement)
    return tuple(found.values())


def own_version(source: str | os.PathLike[str] | None = None) -> str:
    """Return this package's version, from pyproject.toml in a source tree or from the metadata."""
    project = _project(Path(source) if source else Path(__file__).parents[2])
    if project:
        return str(project.get("version", ""))
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _declared(source: Path) -> tuple[list[str], set[str]]:
    project = _project(source)
    if project:
        groups = {normal(name): names for name, names in project["optional-dependencies"].items()}
        lines = [f'{line}; extra == "{extra}"' for extra, names in groups.items() for line in names]
        return [*project["dependencies"], *lines], set(groups)
    try:
        metadata = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"{PACKAGE} is neither installed nor run from its source tree") from None
    extras = metadata.metadata.get_all("Provides-Extra") or []
    return list(metadata.requires or []), {normal(extra) for extra in extras}


def _project(source: Path) -> dict[str, Any] | None:
    import tomllib

    try:
        content = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    project = content.get("project", {})
    if normal(str(project.get("name", ""))) != normal(PACKAGE):
        return None
    return {"dependencies": [], "optional-dependencies": {}, **project}


def satisfies(version: str, bounds: str) -> bool:
    """Tell whether a version keeps within bounds such as `>=5.50,<7` or `~=2.1`.

    Compares the numbers of the release; a clause it does not understand counts as kept.
    """
    release = _release(version)
    for clause in filter(None, bounds.split(",")):
        found = re.match(r"(~=|>=|<=|==|!=|>|<)\s*([\w.*+!-]+)$", clause.strip())
        if not found:
            continue
        sign, bound = found.groups()
        wanted = _release(bound)
        if sign == "~=":
            kept = release >= wanted and release[: len(wanted) - 1] == wanted[:-1]
        elif bound.endswith(".*"):
            kept = (release[: len(wanted)] == wanted) is (sign == "==")
        else:
            width = max(len(release), len(wanted))
            kept = _COMPARE[sign](_padded(release, width), _padded(wanted, width))
        if not kept:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    plain = version.split("!")[-1].split("+")[0]
    found = re.match(r"v?(\d+(?:\.\d+)*)", plain)
    return tuple(int(part) for part in found[1].split(".")) if found else (0,)


def _padded(release: tuple[int, ...], width: int) -> tuple[int, ...]:
    return release + (0,) * (width - len(release))


def _holds(marker: str, extra: str) -> bool:
    """Evaluate a marker of `and`s and `or`s; a clause it does not understand counts as true."""
    return any(
        all(_clause_holds(clause, extra) for clause in re.split(r"\band\b", part))
        for part in re.split(r"\bor\b", marker)
    )


def _clause_holds(clause: str, extra: str) -> bool:
    found = _CLAUSE.match(clause.strip())
    if not found:
        return True
    left, sign, right = found.groups()
    values = {
        "extra": extra,
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "python_full_version": platform.python_version(),
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "os_name": os.name,
        "implementation_name": sys.implementation.name,
        "platform_python_implementation": platform.python_implementation(),
    }
    if left not in values or sign not in _COMPARE:
        return True
    wanted = right.strip("'\"")
    if left == "extra":
        return (normal(extra) == normal(wanted)) is (sign == "==")
    if left.startswith("python"):
        return satisfies(values[left], f"{sign}{wanted}")
    return _COMPARE[sign](values[left], wanted)
