"""On each platform's own package list an install moves nothing, stays small and builds nothing.

The lists in `platforms/` are what the images of Colab and Kaggle bring. The check plans as `setup`
does and asks the resolver for the rest, with every listed version held and wheels only. torch is
left out of the resolution as it is of the install: PyPI's build is another one than the image's.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from rvc_colab.notebook.installer import clean_environ, find_uv
from rvc_colab.notebook.requirements import (
    PLATFORM_BUILDS,
    Plan,
    normal,
    own_requirements,
    plan_install,
)

PLATFORMS = {"colab-py313": "3.13", "colab-py312": "3.12", "kaggle-py312": "3.12"}
LISTS = Path(__file__).parent / "platforms"
EXTRAS = ("ui", "tunnel", "crepe", "fcpe", "effects", "notebook")
CORE_MEGABYTES, ALL_MEGABYTES = 60.0, 200.0


@dataclass(frozen=True)
class Resolution:
    """What a resolver would fetch: name → (version, megabytes), and what it would move."""

    new: dict[str, tuple[str, float]]
    changed: dict[str, str]

    @property
    def megabytes(self) -> float:
        return sum(size for _, size in self.new.values())


def _listed(platform: str) -> dict[str, str]:
    lines = (LISTS / f"{platform}.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {normal(name): version.strip() for name, version in pairs}


def _plan(platform: str, extras: tuple[str, ...]) -> Plan:
    return plan_install(own_requirements(extras), _listed(platform), platform.startswith("colab"))


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("extras", [(), EXTRAS], ids=["core", "all"])
def test_what_the_image_brings_is_new_enough(platform: str, extras: tuple[str, ...]) -> None:
    plan = _plan(platform, extras)
    assert plan.outdated == () and plan.unbuilt == ()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_torch_is_never_among_the_missing(platform: str) -> None:
    assert not {r.key for r in _plan(platform, EXTRAS).missing} & PLATFORM_BUILDS


@pytest.mark.network
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("extras", "most"), [((), CORE_MEGABYTES), (EXTRAS, ALL_MEGABYTES)], ids=["core", "all"]
)
def test_an_install_moves_nothing_and_stays_small(
    platform: str,
    extras: tuple[str, ...],
    most: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _resolve(platform, extras, tmp_path)
    with capsys.disabled():
        print(
            f"\n{platform}, {'all extras' if extras else 'core'}: {len(found.changed)} moved, "
            f"{len(found.new)} new, {found.megabytes:.1f} MB"
        )
        for name, (version, size) in sorted(found.new.items()):
            print(f"  {name:<24} {version:<10} {size:7.2f} MB")
    assert found.changed == {}
    assert found.megabytes <= most


def _resolve(platform: str, extras: tuple[str, ...], folder: Path) -> Resolution:
    missing, lock = folder / "missing.in", folder / "pylock.toml"
    missing.write_text("\n".join(map(str, _plan(platform, extras).missing)))
    (folder / "builds.txt").write_text("\n".join(sorted(PLATFORM_BUILDS)))
    uv = find_uv()
    if uv is None:
        pytest.skip("uv is not installed")
    command = [uv, "pip", "compile", str(missing), "--constraint", str(LISTS / f"{platform}.txt")]
    command += ["--excludes", str(folder / "builds.txt"), "--only-binary", ":all:", "--quiet"]
    command += ["--python-version", PLATFORMS[platform], "--format", "pylock.toml"]
    command += ["--python-platform", "x86_64-manylinux_2_35", "--output-file", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environ())
    assert done.returncode == 0, done.stderr
    listed, new, changed = _listed(platform), {}, {}
    for package in tomllib.loads(lock.read_text())["packages"]:
        name, version = normal(package["name"]), package["version"]
        if name not in listed:
            assert package.get("wheels"), f"{name} would be built from source"
            new[name] = (version, _megabytes(package["wheels"][0]))
        elif _public(listed[name]) != _public(version):
            changed[name] = f"{listed[name]} → {version}"
    return Resolution(new, changed)


def _megabytes(wheel: dict[str, object]) -> float:
    if "size" in wheel:
        return float(str(wheel["size"])) / 1e6
    request = urllib.request.Request(str(wheel["url"]), method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.headers["Content-Length"]) / 1e6


def _public(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version.split("+")[0])
