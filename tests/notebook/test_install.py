"""Only what is missing is installed, nothing moves, and the marker never lies.

Real wheels, real uv and pip, a real environment; no network.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.wheels import write_wheel

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import install, installer
from rvc_colab.notebook.install import InstallError, Runtime, setup
from rvc_colab.notebook.requirements import Requirement
from rvc_colab.notebook.wheelhouse import default_name, make_wheelhouse

ROOT = Path(__file__).parents[2]
SINGER = (Requirement("rvcsinger", ">=1.0"),)
Wheels = Callable[..., Path]
PARTS = 48
KILL_DELAYS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)


def _quiet(line: str) -> None:
    pass


def _run(runtime: Runtime, wheels: Path | None, *wanted: Requirement) -> install.SetupResult:
    return setup((), wheels, _quiet, runtime, wanted or SINGER)


def test_what_is_missing_is_installed(site: Runtime, wheels: Wheels) -> None:
    result = _run(site, wheels(("rvcsinger", "1.2")))
    assert result.installed == {"rvcsinger": "1.2"}
    code = "import rvcsinger; print(rvcsinger.version)"
    done = subprocess.run([site.python, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "1.2"


def test_what_is_installed_stays_where_it_is(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcbass", "1.0"), ("rvcbass", "2.0"))
    _run(site, folder, Requirement("rvcbass", "==1.0"))
    write_wheel(folder, "rvcsinger", "1.2", ("rvcbass>=1.0",))
    assert _run(site, folder).installed == {"rvcsinger": "1.2"}
    assert installer.version_of("rvcbass", site.paths) == "1.0"


def test_a_package_that_would_move_another_is_refused(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcbass", "1.0"), ("rvcbass", "2.0"))
    _run(site, folder, Requirement("rvcbass", "==1.0"))
    write_wheel(folder, "rvcsinger", "1.2", ("rvcbass>=2.0",))
    with pytest.raises(InstallError) as caught:
        _run(site, folder)
    assert caught.value.package == "rvcsinger" and "rvcbass" in caught.value.message
    assert installer.version_of("rvcbass", site.paths) == "1.0"


def test_the_second_call_only_looks_names_up(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcsinger", "1.2"))
    _run(site, folder)
    again = _run(site, folder)
    assert again.from_marker and again.seconds < 1.0
    assert "installed already" in again.in_words()


def test_the_second_call_loads_no_torch(site: Runtime, wheels: Wheels) -> None:
    _run(site, wheels(("rvcsinger", "1.2")))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from rvc_colab.notebook.install import Runtime, setup
from rvc_colab.notebook.requirements import Requirement
runtime = Runtime(Path({str(site.python)!r}), {site.paths!r}, Path({str(site.state)!r}))
result = setup((), None, print, runtime, [Requirement("rvcsinger", ">=1.0")])
assert result.from_marker, result
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_package_that_vanished_is_installed_again(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcsinger", "1.2"))
    _run(site, folder)
    (info,) = Path(site.paths[0]).glob("rvcsinger*.dist-info")
    info.rename(info.with_name("gone"))
    assert _run(site, folder).installed == {"rvcsinger": "1.2"}


@pytest.mark.parametrize(
    "change", ["requirement", "package version", "torch", "python", "image", "boot"]
)
def test_the_marker_does_not_outlive_a_change(
    site: Runtime, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    wanted = SINGER
    before = install.marker_key(wanted, site)
    if change == "requirement":
        wanted = (*SINGER, Requirement("rvcbass"))
    elif change == "package version":
        monkeypatch.setattr(install.requirements, "own_version", lambda: "99.0")
    elif change == "torch":
        monkeypatch.setattr(install.environment, "torch_build", lambda: ("9.9+cu999", "99.9"))
    elif change == "python":
        monkeypatch.setattr(install.platform, "python_version", lambda: "3.99.0")
    elif change == "boot":
        monkeypatch.setattr(install.environment, "boot_id", lambda: "another start")
    else:
        monkeypatch.setenv("COLAB_RELEASE_TAG", "another")
    assert install.marker_key(wanted, site) != before


def test_both_sets_of_extras_stay_marked(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcsinger", "1.2"), ("rvcbass", "1.0"))
    _run(site, folder)
    _run(site, folder, *SINGER, Requirement("rvcbass"))
    assert _run(site, folder).from_marker
    assert install.added_by_setup(site) == {"rvcsinger": "1.2", "rvcbass": "1.0"}


def test_a_missing_package_is_named_with_the_last_words(site: Runtime, wheels: Wheels) -> None:
    with pytest.raises(InstallError) as caught:
        _run(
            site, wheels(("rvcbass", "1.0")), Requirement("rvcbass"), Requirement("rvcdrum", ">=1")
        )
    assert caught.value.package == "rvcdrum"
    assert "rvcdrum" in caught.value.message and "wheelhouse" in caught.value.hint
    assert not (site.state / "setup.json").exists()


def test_a_damaged_wheel_is_named(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcsinger", "1.2"))
    wheel = folder / "rvcsinger-1.2-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(InstallError) as caught:
        _run(site, folder)
    assert caught.value.package == "rvcsinger"


def test_nothing_is_built_from_source(site: Runtime, tmp_path: Path) -> None:
    source = tmp_path / "rvcsinger-1.2"
    source.mkdir()
    (source / "setup.py").write_text("raise SystemExit('was built')")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: rvcsinger\nVersion: 1.2\n")
    write_wheel(tmp_path / "house", "rvcbass", "1.0")
    with tarfile.open(tmp_path / "house" / "rvcsinger-1.2.tar.gz", "w:gz") as tar:
        tar.add(source, "rvcsinger-1.2")
    with pytest.raises(InstallError) as caught:
        _run(site, tmp_path / "house")
    assert "was built" not in caught.value.message


def test_pip_takes_over_without_uv(
    site: Runtime, wheels: Wheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "find_uv", lambda: None)
    assert _run(site, wheels(("rvcsinger", "1.2"))).installed == {"rvcsinger": "1.2"}


def test_pip_takes_over_from_a_failing_uv(
    site: Runtime, wheels: Wheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "find_uv", lambda: "/bin/false")
    shown: list[str] = []
    result = setup((), wheels(("rvcsinger", "1.2")), shown.append, site, SINGER)
    assert result.installed == {"rvcsinger": "1.2"} and "uv failed; trying pip" in shown


def test_pip_names_the_culprit_too(
    site: Runtime, wheels: Wheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "find_uv", lambda: None)
    with pytest.raises(InstallError) as caught:
        _run(
            site, wheels(("rvcbass", "1.0")), Requirement("rvcbass"), Requirement("rvcdrum", ">=1")
        )
    assert caught.value.package == "rvcdrum"


def test_the_images_uv_variables_do_not_reach_uv(
    site: Runtime, wheels: Wheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        installer,
        "_installers",
        lambda python: [[str(installer.find_uv()), "pip", "install", "--python", str(python)]],
    )
    for name in ("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"):
        monkeypatch.setenv(name, "/not/there.txt")
    assert _run(site, wheels(("rvcsinger", "1.2"))).installed


def test_a_moved_package_is_told_and_not_marked(
    site: Runtime, wheels: Wheels, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = wheels(("rvcbass", "1.0"), ("rvcbass", "2.0"), ("rvcsinger", "1.2"))
    _run(site, folder, Requirement("rvcbass", "==1.0"))
    monkeypatch.setattr(installer, "write_constraints", lambda installed, path: path)
    monkeypatch.setattr(installer.Source, "options", lambda self: ["--no-index", "-f", str(folder)])

    def careless(missing, python, constraints, source, show):  # type: ignore[no-untyped-def]
        command = [str(installer.find_uv()), "pip", "install", "-q", "--python", str(python)]
        names = ["rvcsinger", "rvcbass==2.0"]
        subprocess.run([*command, "--no-index", "-f", str(folder), *names], check=True)

    monkeypatch.setattr(installer, "install", careless)
    result = _run(site, folder)
    assert result.warnings == ("Moved: rvcbass 1.0 became 2.0. Restart the runtime.",)
    assert not _run(site, folder).from_marker


def test_a_missing_torch_is_named_with_the_command(site: Runtime) -> None:
    with pytest.raises(InstallError, match="torch is not installed") as caught:
        _run(site, None, Requirement("torch", ">=2.4"))
    assert caught.value.hint == "Run: pip install torch"


def test_an_unknown_extra_is_refused(site: Runtime) -> None:
    with pytest.raises(InstallError, match="no extra 'gui'"):
        setup(("gui",), None, _quiet, site)


def test_an_install_killed_at_any_moment_is_not_marked_and_is_finished_later(
    site: Runtime, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    write_wheel(folder, "rvcsinger", "1.2", megabytes=PARTS)
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from rvc_colab.notebook.install import Runtime, setup
from rvc_colab.notebook.requirements import Requirement
runtime = Runtime(Path({str(site.python)!r}), {site.paths!r}, Path({str(site.state)!r}))
setup((), {str(folder)!r}, print, runtime, [Requirement("rvcsinger", ">=1.0")])
"""
    packages, unfinished = Path(site.paths[0]), 0
    for delay in KILL_DELAYS:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
        while child.poll() is None and not (site.state / "installing.json").exists():
            time.sleep(0.005)
        time.sleep(delay)
        child.kill()
        child.wait()
        while _at_work_on(site):  # the supervisor is taking the installer down
            time.sleep(0.02)
        if not (site.state / "setup.json").exists():
            unfinished += 1
            continue
        assert len(list(packages.glob("rvcsinger/part_*.bin"))) == PARTS
        shutil.rmtree(packages / "rvcsinger")
        shutil.rmtree(packages / "rvcsinger-1.2.dist-info")
        (site.state / "setup.json").unlink()
    assert unfinished
    _run(site, folder)
    sizes = [path.stat().st_size for path in packages.glob("rvcsinger/part_*.bin")]
    assert sizes == [1 << 20] * PARTS
    assert _run(site, folder).from_marker


def _at_work_on(site: Runtime) -> bool:
    """Tell whether a process still works on this environment."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(site.python).encode() in entry.read_bytes():
                return True
        except OSError:
            continue
    return False


def test_files_missing_after_a_cut_are_noticed_and_written_again(
    site: Runtime, wheels: Wheels
) -> None:
    folder = wheels(("rvcsinger", "1.2"), ("rvcbass", "1.0"))
    _run(site, folder, Requirement("rvcbass"))
    _run(site, folder)
    packages = Path(site.paths[0])
    (packages / "rvcsinger/__init__.py").unlink()
    (site.state / "setup.json").unlink()
    (site.state / "installing.json").write_text('{"rvcbass": "1.0"}')
    assert _run(site, folder).installed == {"rvcsinger": "1.2"}
    assert (packages / "rvcsinger/__init__.py").exists()
    assert not (site.state / "installing.json").exists()


def test_two_setups_at_once_wait_for_each_other(site: Runtime, wheels: Wheels) -> None:
    folder = wheels(("rvcsinger", "1.2"))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from rvc_colab.notebook.install import Runtime, setup
from rvc_colab.notebook.requirements import Requirement
runtime = Runtime(Path({str(site.python)!r}), {site.paths!r}, Path({str(site.state)!r}))
print(setup((), {str(folder)!r}, lambda line: None, runtime,
            [Requirement("rvcsinger", ">=1.0")]).from_marker)
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = sorted(child.communicate()[0].strip() for child in children)
    assert answers == ["False", "True"]


def test_a_wheelhouse_is_made_and_used_offline(
    site: Runtime, wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = wheels(("rvcsinger", "1.2"))
    write_wheel(folder, "rvcbass", "1.0", ("rvcsinger",))
    _run(site, folder)  # one is installed by an earlier setup, the other still missing
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    made = make_wheelhouse(tmp_path, (), _quiet, site, (*SINGER, Requirement("rvcbass")))
    assert made.name == default_name()
    with tarfile.open(made) as tar:
        assert sorted(tar.getnames()) == [
            "rvcbass-1.0-py3-none-any.whl",
            "rvcsinger-1.2-py3-none-any.whl",
        ]
    fresh = dataclasses.replace(site, state=tmp_path / "fresh")
    assert _run(fresh, made, Requirement("rvcbass")).installed == {"rvcbass": "1.0"}


def test_a_nested_folder_is_a_wheelhouse(site: Runtime, tmp_path: Path) -> None:
    write_wheel(tmp_path / "house" / "deep" / "down", "rvcsinger", "1.2")
    assert _run(site, tmp_path / "house").installed == {"rvcsinger": "1.2"}


def test_a_tar_cannot_write_outside(site: Runtime, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "w", "rvcsinger", "1.2")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(wheel, f"../../../{wheel.name}")
    assert _run(site, tmp_path / "evil.tar").installed == {"rvcsinger": "1.2"}


@pytest.mark.parametrize("kind", ["absent", "empty", "no tar"])
def test_a_bad_wheelhouse_is_named(site: Runtime, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "house"
    if kind == "empty":
        path.mkdir()
    elif kind == "no tar":
        path.write_bytes(b"not a tar")
    with pytest.raises(NotebookError, match="wheelhouse"):
        _run(site, path)
