"""What the tabs share: the workspace, the models, who owns what, and the training jobs."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rvc_colab.errors import ConfigError, VoiceError
from rvc_colab.store.assets import bundled
from rvc_colab.store.voices import DEMO, find_voice, voice_name
from rvc_colab.ui.access import OPEN, Owners
from rvc_colab.workspace import Workspace, write_atomically

if TYPE_CHECKING:
    from rvc_colab.memory import Lifecycle
    from rvc_colab.memory.turns import Turns
    from rvc_colab.ui.conversions import Conversions
    from rvc_colab.ui.training_jobs import TrainingJobs

KEEP_SECONDS = 24 * 3600.0  # results and uploads are for fetching, not for keeping
MOUNTS = ("/content/drive", "/kaggle/input")  # a person's own files on hosted notebooks


@dataclass(frozen=True)
class PageOptions:
    """How the page is opened. `public` says that others can reach it: then it asks who they are."""

    host: str = "127.0.0.1"
    port: int | None = None
    public: bool = False
    user: str = "rvc"
    password: str = ""
    upload_megabytes: int = 500
    queue_length: int = 64

    def __post_init__(self) -> None:
        if self.host not in {"127.0.0.1", "localhost", "::1"} and not self.public:
            object.__setattr__(self, "public", True)
        if self.public and not self.password:
            object.__setattr__(self, "password", secrets.token_urlsafe(9))
        if self.public and (len(self.password) < 8 or not self.user):
            raise ConfigError(
                f"A password of {len(self.password)} characters does not keep others out.",
                "Give one of 8 or more, or none: then one is made up.",
            )


@dataclass
class Page:
    """The page of one workspace."""

    workspace: Workspace
    options: PageOptions
    lifecycle: Lifecycle
    jobs: TrainingJobs
    owners: Owners
    conversions: Conversions
    turns: Turns

    @property
    def outputs(self) -> Path:
        """Results, one folder per person."""
        return self.workspace.root / "outputs"

    @property
    def examples(self) -> Path:
        """Sounds to try things with; whatever a person puts there is offered."""
        return self.workspace.root / "examples"

    @property
    def uploads(self) -> Path:
        """What browsers sent, and copies on their way back."""
        return self.workspace.cache / "page"

    def prepare(self) -> None:
        """Make the folders, put the shipped clip among the examples, and drop what is old."""
        for folder in (self.outputs, self.examples, self.uploads):
            folder.mkdir(parents=True, exist_ok=True)
        clip = self.examples / "clip.wav"
        if not clip.exists():
            with write_atomically(clip) as temporary:
                shutil.copyfile(bundled("clip.wav"), temporary)
        self.drop_old()

    def drop_old(self) -> None:
        """Remove the results of more than a day ago."""
        oldest = time.time() - KEEP_SECONDS
        for folder in self.outputs.glob("*/*"):
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)

    def new_folder(self, person: str) -> Path:
        """Make a folder for results that only this person can read.

        Whoever has no cookie gets one that cannot be guessed.
        """
        token = secrets.token_hex(16)
        owner = person or f"{OPEN}{token}"
        folder = self.outputs / owner / token
        folder.mkdir(parents=True)
        return folder

    def voice(self, name: str | None) -> str:
        """Check that `name` is a voice of the library, and not a path to something else."""
        if not name:
            raise VoiceError("No voice is chosen.", "Choose one, or import one under Voices.")
        if name != DEMO:
            find_voice(self.workspace.weights / f"{voice_name(name)}.pth", self.workspace)
        return name

    def datasets(self, person: str) -> Path:
        """Where dropped recordings are kept; of each person apart where others come in."""
        return self.workspace.root / "datasets" / (person if self.options.public else "")

    def folder(self, text: str, person: str) -> Path:
        """Check a folder that a person typed: through a public page only their own are reached."""
        path = Path(text.strip()).expanduser()
        if not text.strip() or not path.is_dir():
            raise ConfigError(f"There is no folder {text!r}.", "Name a folder, or drop the files.")
        if self.options.public and not self._is_open(path.resolve(), person):
            raise ConfigError(
                f"{path} lies outside the workspace, or holds what others brought.",
                "Through an open page a folder of your own in "
                f"{self.workspace.root} is read; or drop the files.",
            )
        return path

    def _is_open(self, path: Path, person: str) -> bool:
        """Tell whether a folder is this person's, or one that nobody's work lies in."""
        if any(path.is_relative_to(mount) for mount in MOUNTS):
            return True
        root, work = self.workspace.root.resolve(), self.workspace
        if person and path.is_relative_to(self.datasets(person).resolve()):
            return True
        kept = [root / "datasets", self.outputs, work.cache, work.logs, work.weights, work.indexes]
        closed = [folder.resolve() for folder in kept]
        apart = not any(path.is_relative_to(f) or f.is_relative_to(path) for f in closed)
        return path.is_relative_to(root) and apart

    def own(self, path: str, person: str) -> Path:
        """Check that an uploaded file is this person's."""
        if not self.owners.may_read(Path(path), person):
            raise ConfigError("That file belongs to somebody else.", "Upload your own.")
        return Path(path)
