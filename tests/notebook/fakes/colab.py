"""A stand-in for `google.colab`: the surface this package touches, with failures to choose.

`install_colab(root)` puts `google.colab*` into sys.modules (the namespace package `google`, shared
with protobuf, stays as it is) and a fake drive under `root`. Texts and orders follow colabtools.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

ALREADY = (
    "Drive already mounted at {mp}; to attempt to forcibly remount, "
    'call drive.mount("{mp}", force_remount=True).'
)
CREDENTIALS = "Error: credential propagation was unsuccessful"
POLICY = (
    "The domain policy has disabled Drive File Stream: https://support.google.com/a/answer/7496409"
)
TIMED_OUT = (
    "mount failed: timeout during initial read of root folder; for more info: "
    "https://research.google.com/colaboratory/faq.html#drive-timeout"
)
NO_DRIVE = "Mounting drive is unsupported in this environment. Use PyDrive2 instead."


class Error(Exception):
    """google.colab.errors.Error"""


class AuthorizationError(Error):
    """google.colab.errors.AuthorizationError"""


class RuntimeManagementError(Error):
    """google.colab.errors.RuntimeManagementError"""


class WidgetException(Error):
    """google.colab.errors.WidgetException"""


class MessageError(Error):
    """google.colab._message.MessageError: the frontend's refusal"""


class SecretNotFoundError(Error):
    """google.colab.userdata.SecretNotFoundError"""


class TimeoutException(Error):
    """google.colab.userdata.TimeoutException"""


class NotebookAccessError(Exception):
    """google.colab.userdata.NotebookAccessError: not derived from errors.Error"""


@dataclass
class FakeColab:
    """What the fake did and is told to do. `mount_failure` names one of the ways to fail."""

    root: Path
    mount_failure: str = ""
    flush_failure: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    secrets_time_out: bool = False
    proxy_url: str | None = "https://8000-colab-proxy.example/"
    asked: list[str] = field(default_factory=list)
    downloaded: list[str] = field(default_factory=list)

    @property
    def mountpoint(self) -> Path:
        """Where /content/drive stands in the fake."""
        return self.root / "content" / "drive"

    def mount(
        self,
        mountpoint: str,
        force_remount: bool = False,
        timeout_ms: int = 120000,
        readonly: bool = False,
    ) -> None:
        """Follow drive._mount: the environment, then the pop-up, then "already mounted"."""
        point = Path(mountpoint)
        if self.mount_failure == "enterprise":
            raise NotImplementedError(NO_DRIVE)
        if " " in mountpoint:
            raise ValueError("Mountpoint must not contain a space.")
        self.asked.append("request_auth")
        if self.mount_failure == "denied":
            raise MessageError(CREDENTIALS)
        if self.mount_failure == "no_reply":
            return
        if (point / "My Drive").is_dir() and not force_remount:
            sys.stdout.write(ALREADY.format(mp=mountpoint) + "\n")
            return
        if force_remount:
            self.asked.append("killed the drive process")
        texts = {"policy": POLICY, "timeout": TIMED_OUT, "failed": "mount failed"}
        if self.mount_failure in texts:
            raise ValueError(texts[self.mount_failure])
        if point.is_dir() and any(point.iterdir()):
            raise ValueError("Mountpoint must not already contain files")
        (point / "MyDrive").mkdir(parents=True)
        (point / "My Drive").symlink_to("MyDrive")
        sys.stdout.write(f"Mounted at {mountpoint}\n")

    def flush_and_unmount(self, timeout_ms: int = 24 * 60 * 60 * 1000) -> None:
        """Unmount; the bytes stay in `root/cloud`."""
        self.asked.append("flush")
        if self.flush_failure:
            raise ValueError("flush_and_unmount failed")
        if not (self.mountpoint / "My Drive").is_dir():
            sys.stdout.write("Drive not mounted, so nothing to flush and unmount.\n")
            return
        (self.mountpoint / "My Drive").unlink()
        (self.mountpoint / "MyDrive").rename(self.root / "cloud")

    def get_secret(self, key: str) -> str:
        """userdata.get"""
        if not key or not isinstance(key, str) or " " in key:
            raise ValueError("Please enter a valid secret name")
        if self.secrets_time_out:
            raise TimeoutException(f"Requesting secret {key} timed out.")
        if key in self.locked:
            raise NotebookAccessError(f"Notebook does not have access to secret {key}")
        if key not in self.secrets:
            raise SecretNotFoundError(f"Secret {key} does not exist.")
        return self.secrets[key]

    def eval_js(
        self, script: str, ignore_result: bool = False, timeout_sec: float | None = None
    ) -> object:
        """output.eval_js: the proxy's address, None after a timeout"""
        assert timeout_sec is not None, "without a timeout the real one blocks forever"
        self.asked.append(script)
        return self.proxy_url if "proxyPort" in script else None

    def upload(self, target_dir: str = "") -> dict[str, bytes]:
        """files.upload: the person closed the dialog"""
        return {}

    def download(self, filename: str) -> None:
        """files.download"""
        if not Path(filename).exists():
            raise FileNotFoundError(f"Cannot find file: {filename}")
        self.downloaded.append(filename)


class Shell:
    """Its text names google.colab, as the real shell's does."""

    def __str__(self) -> str:
        return "<google.colab._shell.Shell object at 0x7f>"


def install_colab(root: Path) -> FakeColab:
    """Put the fake into sys.modules and its marks under `root`; return it for choosing failures."""
    fake = FakeColab(root)
    (root / "var/colab").mkdir(parents=True, exist_ok=True)
    (root / "var/colab/hostname").write_text("fake")
    (root / "content").mkdir(exist_ok=True)
    content = {
        "": {"__path__": []},
        "drive": {"mount": fake.mount, "flush_and_unmount": fake.flush_and_unmount},
        "userdata": {
            "get": fake.get_secret,
            "SecretNotFoundError": SecretNotFoundError,
            "NotebookAccessError": NotebookAccessError,
            "TimeoutException": TimeoutException,
        },
        "files": {
            "upload": fake.upload,
            "upload_file": lambda filename: None,
            "download": fake.download,
            "view": lambda path: None,
        },
        "output": {
            "eval_js": fake.eval_js,
            "serve_kernel_port_as_iframe": lambda port, **options: fake.asked.append(
                f"iframe {port}"
            ),
            "serve_kernel_port_as_window": lambda port, **options: fake.asked.append(
                f"window {port}"
            ),
            "register_callback": lambda name, function: None,
            "unregister_callback": lambda name: None,
            "clear": lambda wait=False, output_tags=(): None,
            "enable_custom_widget_manager": lambda version="": None,
        },
        "errors": {
            "Error": Error,
            "AuthorizationError": AuthorizationError,
            "RuntimeManagementError": RuntimeManagementError,
            "WidgetException": WidgetException,
        },
        "_message": {"MessageError": MessageError, "blocking_request": lambda *a, **k: None},
        "runtime": {"unassign": lambda: None},
    }
    for name, members in content.items():
        full = f"google.colab.{name}".rstrip(".")
        module = types.ModuleType(full)
        module.__dict__.update(members)
        sys.modules[full] = module
        if name:
            setattr(sys.modules["google.colab"], name, module)
    return fake


def remove_colab() -> None:
    """Take the fake out of sys.modules again."""
    for name in [n for n in sys.modules if n == "google.colab" or n.startswith("google.colab.")]:
        del sys.modules[name]
