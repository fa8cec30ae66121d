"""Say where we are: Colab, Kaggle, Jupyter or a plain machine, and what is there.

Kaggle is asked first: its image is built on Colab's and carries Colab's marks too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rvc_colab.hardware import Facts, facts

COLAB, KAGGLE, JUPYTER, PLAIN = "colab", "kaggle", "jupyter", "plain"
# The longest session that the platforms' help pages promise (a GPU or CPU session), in seconds.
SESSION_SECONDS = {COLAB: 12 * 3600, KAGGLE: 12 * 3600}
KAGGLE_TPU_SECONDS = 9 * 3600
# Where the voices' encoders come from: if this host answers, downloads work.
INTERNET_HOST = ("huggingface.co", 443)
INTERNET_SECONDS = 4.0

PLATFORM_WORDS = {
    COLAB: "Google Colab",
    KAGGLE: "Kaggle",
    JUPYTER: "a Jupyter notebook",
    PLAIN: "a plain machine",
}


@dataclass(frozen=True)
class Environment:
    """Where this runs and what is there. Sizes and GPUs are in `machine`."""

    platform: str
    python: str = ""
    torch: str = ""  # with the build, such as 2.11.0+cu128; empty when not installed
    cuda: str = ""
    image: str = ""
    boot: str = ""
    interactive: bool = True
    seconds_since_start: float | None = None
    session_seconds: float | None = None
    internet: bool | None = None  # None: not asked
    machine: Facts = field(default_factory=Facts)

    @property
    def hosted(self) -> bool:
        """Tell whether this is somebody else's machine with a prepared Python."""
        return self.platform in {COLAB, KAGGLE}

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds until the session's limit, None when there is none."""
        if self.session_seconds is None or self.seconds_since_start is None:
            return None
        return max(0.0, self.session_seconds - self.seconds_since_start)

    def in_words(self) -> str:
        """Say where we are in a few lines."""
        torch = f"torch {self.torch}" if self.torch else "no torch"
        lines = [f"{PLATFORM_WORDS[self.platform]}, Python {self.python}, {torch}"]
        if self.image:
            lines.append(f"Image {self.image}")
        lines.append(self.machine.in_words())
        if self.internet is False:
            lines.append(
                "No internet: downloads fail. On Kaggle switch Internet on in the settings."
            )
        if self.seconds_left is not None:
            limit = (self.session_seconds or 0) / 3600
            lines.append(
                f"About {self.seconds_left / 3600:.1f} of at most {limit:.0f} hours of this "
                "session are left; an idle one may end sooner."
            )
        return "\n".join(lines)


def detect(
    root: str | os.PathLike[str] = "/",
    folder: str | os.PathLike[str] = ".",
    ask_internet: bool = False,
) -> Environment:
    """Find out where this runs. Reads files and the driver's answer; loads no torch.

    `root` is the file system's root (another one in tests); `folder` says whose disk is meant;
    `ask_internet` tries a connection, for at most some seconds.
    """
    base = Path(root)
    where = platform_name(os.environ, base)
    torch, cuda = torch_build()
    limit: float | None = SESSION_SECONDS.get(where)
    if where == KAGGLE and (os.environ.get("TPU_NAME") or os.environ.get("ISTPUVM")):
        limit = KAGGLE_TPU_SECONDS
    return Environment(
        platform=where,
        python=platform.python_version(),
        torch=torch,
        cuda=cuda,
        image=image_mark(os.environ, base),
        boot=boot_id(base),
        interactive=os.environ.get("KAGGLE_KERNEL_RUN_TYPE", "Interactive") != "Batch",
        seconds_since_start=seconds_since_start(base),
        session_seconds=limit,
        internet=has_internet() if ask_internet else None,
        machine=facts(folder, ask_torch=False),
    )


def platform_name(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """Return `kaggle`, `colab`, `jupyter` or `plain`."""
    if environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return KAGGLE
    shell = _shell()
    if "google.colab" in shell:
        return COLAB
    if environ.get("COLAB_RELEASE_TAG") and (root / "var/colab/hostname").exists():
        return COLAB  # a subprocess of a Colab kernel
    return JUPYTER if "zmqshell" in shell or "ipykernel" in shell.lower() else PLAIN


def image_mark(environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """Name the image by release tag, build date and commit, as far as it tells them."""
    marks = (environ.get("COLAB_RELEASE_TAG", ""), *map(_read, _mark_files(root)))
    return " ".join(mark for mark in marks if mark)


def _mark_files(root: Path) -> tuple[Path, Path]:
    return root / "etc/build_date", root / "etc/git_commit"


def boot_id(root: Path = Path("/")) -> str:
    """Return what changes with every start of the machine; empty where the system has none."""
    return _read(root / "proc/sys/kernel/random/boot_id")


def torch_build() -> tuple[str, str]:
    """Return the installed torch's version and CUDA version from its files, without loading it."""
    try:
        version = importlib.metadata.version("torch")
        spec = importlib.util.find_spec("torch")
    except (importlib.metadata.PackageNotFoundError, ImportError, ValueError):
        return "", ""
    folders = list(spec.submodule_search_locations or []) if spec else []
    text = _read(Path(folders[0]) / "version.py") if folders else ""
    exact = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", text)
    cuda = re.search(r"^cuda\b[^=]*=\s*['\"]([\d.]+)", text, re.MULTILINE)
    return exact[1] if exact else version, cuda[1] if cuda else ""


def seconds_since_start(root: Path = Path("/")) -> float | None:
    """Return the age of the session: of its first process, which starts with the container."""
    try:
        uptime = float(_read(root / "proc/uptime").split()[0])
        # The command's name, in brackets, may hold spaces; the start is the 22nd field of all.
        ticks = int(_read(root / "proc/1/stat").rpartition(")")[2].split()[19])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (IndexError, ValueError, AttributeError, OSError):
        return None


def has_internet(
    address: tuple[str, int] = INTERNET_HOST, timeout_seconds: float = INTERNET_SECONDS
) -> bool:
    """Tell whether downloads can work (Kaggle has a switch for it in the notebook's settings)."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True  # a direct connection proves nothing behind a proxy
    try:
        socket.create_connection(address, timeout_seconds).close()
    except OSError:
        return False
    return True


def _shell() -> str:
    """Describe the running IPython shell's class, without importing IPython."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module and hasattr(module, "get_ipython") else None
    return "" if shell is None else f"{type(shell).__module__} {shell!s}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
