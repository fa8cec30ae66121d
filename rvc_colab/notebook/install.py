"""Install what is missing, and move nothing that is there.

`setup()` names only missing packages to the installer, under constraints made from everything that
is installed, wheels only. What it did stands in a marker file on the runtime (never on a drive that
outlives it); while the marker's key holds, the next call only looks the few names up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import environment, installer, requirements
from rvc_colab.notebook.command import say
from rvc_colab.notebook.requirements import PLATFORM_BUILDS, Plan, Requirement
from rvc_colab.workspace import write_atomically

MARKER_SCHEMA = 1
LOCK_SECONDS = 900.0


class InstallError(NotebookError):
    """An install failed; `package` is the culprit where it is known, the message its last words."""

    def __init__(self, message: str, hint: str = "", package: str = "") -> None:
        super().__init__(message, hint)
        self.package = package


@dataclass(frozen=True)
class Runtime:
    """The Python that is installed into: its program, its package folders, its state folder."""

    python: Path
    paths: tuple[str, ...]
    state: Path

    @classmethod
    def here(cls) -> Runtime:
        """The running Python."""
        return cls(Path(sys.executable), tuple(sys.path), _state_folder())


@dataclass(frozen=True)
class SetupResult:
    """What `setup` found and did, in words through `in_words()`."""

    installed: Mapping[str, str] = field(default_factory=dict)
    from_marker: bool = False
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def in_words(self) -> str:
        """Say what was done in a line, and the warnings below it."""
        if self.from_marker:
            first = "Everything is installed already"
        elif self.installed:
            names = ", ".join(f"{name} {version}" for name, version in self.installed.items())
            first = f"Installed {names}"
        else:
            first = "Nothing was missing"
        return "\n".join([f"{first} ({self.seconds:.1f} s).", *self.warnings])


def setup(
    extras: Sequence[str] = (),
    wheelhouse: str | os.PathLike[str] | None = None,
    show: Callable[[str], None] = say,
    runtime: Runtime | None = None,
    wanted: Sequence[Requirement] | None = None,
) -> SetupResult:
    """Make sure that everything needed is installed, moving nothing that is there.

    `extras` are names of optional parts (`ui`, `tunnel`…); `wheelhouse` is a tar or folder of
    wheels that is used instead of the network (on Kaggle without internet one among the inputs is
    found); `wanted` replaces this package's own requirements. Raises InstallError with the failing
    package and the installer's last words.
    """
    began = time.monotonic()
    runtime = runtime or Runtime.here()
    try:
        needed = tuple(wanted) if wanted is not None else requirements.own_requirements(extras)
    except ValueError as error:
        raise InstallError(
            f"Setup cannot begin: {error}.", "Check the extras of setup()."
        ) from error
    key = marker_key(needed, runtime)
    if _marker_holds(runtime, key, needed):
        return SetupResult(from_marker=True, seconds=time.monotonic() - began)
    with _lock(runtime.state, show):
        if _marker_holds(runtime, key, needed):  # another cell finished it meanwhile
            return SetupResult(from_marker=True, seconds=time.monotonic() - began)
        added, warnings = _install(needed, runtime, wheelhouse, show)
        moved = [text for text in warnings if text.startswith("Moved")]
        if not moved:
            _write_marker(runtime, key, needed, added)
    return SetupResult(added, False, tuple(warnings), time.monotonic() - began)


def _install(
    needed: Sequence[Requirement],
    runtime: Runtime,
    wheelhouse: str | os.PathLike[str] | None,
    show: Callable[[str], None],
) -> tuple[dict[str, str], list[str]]:
    journal = runtime.state / "installing.json"
    cut_off = _read_json(journal)
    installer.remove_half_installed(cut_off, runtime.paths)
    before = installer.installed_versions(runtime.paths)
    origin = cut_off or before
    plan = make_plan(needed, before)
    warnings = [f"Left alone: {text}." for text in plan.outdated]
    if not plan.missing:
        journal.unlink(missing_ok=True)
        return {n: v for n, v in before.items() if n not in origin}, warnings
    show(f"Installing {', '.join(map(str, plan.missing))}")
    _write_json(journal, origin)
    with tempfile.TemporaryDirectory(prefix="rvc_colab_") as scratch:
        offline_source = wheelhouse or installer.wheelhouse_when_offline()
        source = installer.Source.of(offline_source, Path(scratch))
        constraints = installer.write_constraints(before, Path(scratch) / "installed.txt")
        failure = installer.install(plan.missing, runtime.python, constraints, source, show)
    if failure:
        raise InstallError(*failure.told())
    after = installer.installed_versions(runtime.paths)
    if absent := [r.name for r in plan.missing if r.key not in after]:
        raise InstallError(
            f"The installer reported success, but {', '.join(absent)} is still not there.",
            "Restart the runtime and run this cell again.",
            absent[0],
        )
    journal.unlink(missing_ok=True)
    moved = [
        f"Moved: {name} {version} became {after.get(name, 'removed')}. Restart the runtime."
        for name, version in before.items()
        if after.get(name) != version
    ]
    return {n: v for n, v in after.items() if n not in origin}, [*warnings, *moved]


def make_plan(needed: Sequence[Requirement], installed: Mapping[str, str]) -> Plan:
    """Plan the install here. Raises InstallError when torch is missing: it is never installed."""
    where = environment.platform_name(os.environ)
    plan = requirements.plan_install(needed, installed, where == environment.COLAB)
    if plan.unbuilt:
        names = " ".join(plan.unbuilt)
        hint = f"Run: pip install {names}"
        if where in (environment.COLAB, environment.KAGGLE):
            hint = (
                "The platform's image brings it: restart the session with its latest environment."
            )
        raise InstallError(f"{names} is not installed.", hint, plan.unbuilt[0])
    return plan


# ------------------------------------------------------------------------------- the marker


def marker_key(needed: Sequence[Requirement], runtime: Runtime) -> str:
    """Return the fingerprint of everything that a finished install depends on."""
    torch, cuda = environment.torch_build()
    facts = {
        "schema": MARKER_SCHEMA,
        "requirements": sorted(map(str, needed)),
        "package": requirements.own_version(),
        "python": [platform.python_version(), str(runtime.python), sysconfig.get_platform()],
        "torch": [torch, cuda],
        "image": environment.image_mark(os.environ),
        "boot": environment.boot_id(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _marker_holds(runtime: Runtime, key: str, needed: Sequence[Requirement]) -> bool:
    marker = _read_json(_marker(runtime))
    if key not in marker.get("keys", []):
        return False
    skipped = PLATFORM_BUILDS | requirements.NOT_ON_COLAB
    return all(
        installer.version_of(requirement.name, runtime.paths) is not None
        for requirement in needed
        if requirement.key not in skipped
    )


def _write_marker(
    runtime: Runtime, key: str, needed: Sequence[Requirement], added: Mapping[str, str]
) -> None:
    """Record the key; the record of what setup itself added grows over calls and extras."""
    old = _read_json(_marker(runtime))
    present = {
        name: version
        for name, version in {**old.get("added", {}), **added}.items()
        if installer.version_of(name, runtime.paths) == version
    }
    content = {
        "keys": [*old.get("keys", [])[-9:], key],
        "requirements": sorted(map(str, needed)),
        "added": present,
    }
    _write_json(_marker(runtime), content)


def added_by_setup(runtime: Runtime | None = None) -> dict[str, str]:
    """Return the packages (name → version) that earlier setups added to the platform's own."""
    return dict(_read_json(_marker(runtime or Runtime.here())).get("added", {}))


def _marker(runtime: Runtime) -> Path:
    return runtime.state / "setup.json"


def _state_folder() -> Path:
    """A folder that lives and dies with this Python: beside its packages, else the temp folder."""
    folder = Path(sys.prefix) / "share" / "rvc_colab"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    mark = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"rvc_colab-{user}-{mark}"


@contextlib.contextmanager
def _lock(folder: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Hold the install lock of this runtime; the system frees it when its holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "setup.lock").open("a") as handle:
        try:
            import fcntl
        except ImportError:  # Windows: no second kernel shares a runtime there
            yield
            return
        end, told = time.monotonic() + LOCK_SECONDS, False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise InstallError(
                        f"Another setup has been running for {LOCK_SECONDS / 60:.0f} minutes.",
                        "Restart the runtime and run this cell again.",
                    ) from None
                if not told:
                    show("Waiting for another setup on this runtime to finish")
                told = True
                time.sleep(0.2)
        yield


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
