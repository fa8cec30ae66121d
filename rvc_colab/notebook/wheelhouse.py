"""Make an offline wheelhouse: the wheels that a platform lacks, in one tar."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rvc_colab.notebook import installer, requirements
from rvc_colab.notebook.command import Outcome, run, say
from rvc_colab.notebook.install import InstallError, Runtime, added_by_setup, make_plan
from rvc_colab.notebook.requirements import Requirement
from rvc_colab.workspace import write_atomically


def make_wheelhouse(
    target: str | os.PathLike[str],
    extras: Sequence[str] = (),
    show: Callable[[str], None] = say,
    runtime: Runtime | None = None,
    wanted: Sequence[Requirement] | None = None,
) -> Path:
    """Write one tar with the wheels that this platform's image lacks, and return its path.

    `target` is a file, or a folder that gets `rvc_colab-wheels-PYTHON-PLATFORM.tar`. The wheels are
    those that `setup` added plus those still missing. Raises InstallError.
    """
    runtime = runtime or Runtime.here()
    needed = tuple(wanted) if wanted is not None else requirements.own_requirements(extras)
    path = Path(target)
    if path.is_dir():
        path = path / default_name()
    with tempfile.TemporaryDirectory(prefix="rvc_colab_") as scratch:
        pins = {**added_by_setup(runtime), **_missing_pins(needed, runtime, Path(scratch), show)}
        if not pins:
            raise InstallError(
                "This image lacks nothing, so there is nothing to put into a wheelhouse.",
                "No wheelhouse is needed here.",
            )
        folder = _download(pins, runtime, Path(scratch) / "wheels", show)
        with write_atomically(path) as temporary, tarfile.open(temporary, "w") as tar:
            for wheel in sorted(folder.glob("*.whl")):
                tar.add(wheel, arcname=wheel.name)
    return path


def default_name() -> str:
    """Name a wheelhouse by the Python and platform it fits."""
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return f"rvc_colab-wheels-{python}-{sysconfig.get_platform().replace('-', '_')}.tar"


def _missing_pins(
    needed: Sequence[Requirement],
    runtime: Runtime,
    scratch: Path,
    show: Callable[[str], None],
) -> dict[str, str]:
    """Resolve what is missing to exact versions, with everything installed held still."""
    before = installer.installed_versions(runtime.paths)
    missing = make_plan(needed, before).missing
    if not missing:
        return {}
    report = scratch / "report.json"
    constraints = installer.write_constraints(before, scratch / "installed.txt")
    command = [*installer.pip_of(runtime.python), "install", "--dry-run", "--quiet", "--no-input"]
    options = ["--report", str(report), "--constraint", str(constraints), "--only-binary", ":all:"]
    outcome = run([*command, *options, *map(str, missing)], show, installer.clean_environ())
    _check(outcome, "Finding out what is missing")
    content = json.loads(report.read_text(encoding="utf-8"))
    found = [entry["metadata"] for entry in content["install"]]
    return {requirements.normal(entry["name"]): entry["version"] for entry in found}


def _download(
    pins: dict[str, str], runtime: Runtime, folder: Path, show: Callable[[str], None]
) -> Path:
    folder.mkdir(parents=True)
    command = [*installer.pip_of(runtime.python), "download", "--no-deps", "--only-binary", ":all:"]
    names = [f"{name}=={version}" for name, version in sorted(pins.items())]
    outcome = run(
        [*command, "--no-input", "--dest", str(folder), *names], show, installer.clean_environ()
    )
    _check(outcome, "Downloading the wheels")
    return folder


def _check(outcome: Outcome, what: str) -> None:
    if outcome.code:
        raise InstallError(f"{what} failed:\n{outcome.text}", "Check the network and try again.")
