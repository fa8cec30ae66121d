"""One verb per cell: set up, keep, get a voice, convert, train, watch, share, finish.

    from rvc_colab.notebook import steps
    studio = steps.begin()

Each verb says what it did, ends in a short card when it fails, and may be run again: what is there
already is used, a training that runs is shown, one that was cut off goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import drive, environment, install, materials, outlet
from rvc_colab.notebook.command import say
from rvc_colab.notebook.drive import Places, Storage
from rvc_colab.notebook.environment import COLAB, KAGGLE, Environment
from rvc_colab.notebook.jobs import FAILED, LOST, STOPPED, Job, running
from rvc_colab.notebook.page import Page, launch_ui
from rvc_colab.notebook.publishing import copy_verified, free_name
from rvc_colab.notebook.widgets import CellStop, Panel, carded
from rvc_colab.workspace import Workspace, safe_name

DEMO = "demo"
# Left at the end of a session for the last snapshot, the index and the voice.
LAST_MINUTES = 15.0
STOP_SECONDS = 600.0  # a stopped training finishes its step, its index and its voice
_FOLDERS = {COLAB: "/content/rvc_colab", KAGGLE: "/tmp/rvc_colab"}


@carded
def begin(extras: Sequence[str] = (), workspace: str | os.PathLike[str] | None = None) -> Studio:
    """Install what is missing, look at the machine, and return the studio the other cells use."""
    say(install.setup(extras).in_words())
    where = environment.platform_name(os.environ)
    chosen = workspace or os.environ.get("RVC_WORKSPACE") or _FOLDERS.get(where)
    place = Workspace.locate(chosen)
    os.environ["RVC_WORKSPACE"] = str(place.root)  # the command line in other cells means the same
    found = environment.detect(folder=place.cache)
    say(found.in_words())
    return Studio(place, found, Storage("local", place.root))


@dataclass
class Studio:
    """What the cells of a notebook share: the workspace, where results are kept, and the voice."""

    workspace: Workspace
    environment: Environment
    storage: Storage
    places: Places = field(default_factory=Places)
    voice: str = DEMO
    converted: Path | None = None
    job: Job | None = None
    page: Page | None = None

    # -------------------------------------------------------------------------------- keeping

    @carded
    def keep(self, on_drive: bool = True) -> None:
        """Keep results on Google Drive (on Kaggle: in the output); else on this machine only.

        A refusal is said in words and work goes on. Names what is there from earlier sessions.
        """
        if on_drive or self.environment.platform == KAGGLE:
            self.storage = drive.open_storage(self.workspace.root, places=self.places)
            say(self.storage.in_words())
            if self.storage.kind == "kaggle":
                say(outlet.bring_back(self.storage, self.places) or "No earlier session attached.")
        else:
            say(f"Results stay on this machine only, in {self.workspace.root}.")
        for line in outlet.earlier_work(self.workspace):
            say(line)
        if self.environment.platform == KAGGLE and (found := drive.inputs(places=self.places)):
            names = ", ".join(path.name for path in found[:8])
            say(f"Among the inputs: {names}" + " …" * (len(found) > 8))

    # --------------------------------------------------------------------------------- voices

    @carded
    def get_voice(self, source: str = "", name: str = "", upload: bool = False) -> None:
        """Choose the voice: the embedded demo, one of the workspace, or one to bring in.

        `source` is a voice's name, a .pth, a zip, a folder, a web address, a Drive link or
        `owner/repo` of the Hugging Face hub. What came from the same source before is used again.
        """
        from rvc_colab.store.voices import show_voice

        source, name = source.strip(), name.strip()
        if upload:
            files = materials.upload(self.workspace.cache / "uploads")
            source = str(next((f for f in files if f.suffix != ".index"), files[0]))
        self.voice = outlet.voice_from(source, name, self.workspace, self.places)
        card = show_voice(self.voice, self.workspace)
        say(f"The voice is {card.summary}")
        for warning in card.warnings:
            say(f"Note: {warning}")

    # ----------------------------------------------------------------------------- converting

    @carded
    def convert(self, recording: str = "", upload: bool = False, **settings: Any) -> None:
        """Convert a recording, or a folder of them, into the voice; the shipped clip when empty.

        `settings` are those of ConversionConfig. Interrupting the cell stops the conversion.
        """
        from rvc_colab import config
        from rvc_colab.settings import load

        load(config.ConversionConfig, settings)  # refuse before anything is started
        source = self._recording(recording, upload)
        if not recording and not upload:
            settings = outlet.fit_clip(self.voice, settings, say)
        folder = self.workspace.root / "converted"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / (f"{source.stem}_{self.voice}" + ("" if source.is_dir() else ".wav"))
        target = free_name(target, "take") if target.exists() else target
        asked = {"source": str(source), "target": str(target), "voice": self.voice}
        job = Job.start("convert", asked, settings, self.workspace)
        try:
            state = Panel(job).show().attend()
        except KeyboardInterrupt:
            job.stop()
            say(job.wait(10).in_words())
            return
        if state.status == STOPPED:
            return
        if state.status in {FAILED, LOST}:
            raise CellStop(state.message, state.hint)
        self.converted = Path(state.result.get("target") or target)
        say(str(state.result.get("words", self.converted)))
        self._store(self.converted)

    def _recording(self, recording: str, upload: bool) -> Path:
        from rvc_colab.store.assets import DEMO_CLIP, bundled

        if upload:
            return materials.upload(self.workspace.root / "recordings")[0]
        if not recording.strip():
            return bundled(DEMO_CLIP)
        return materials.find_sound(recording.strip(), self._roots())

    def _roots(self) -> list[Path]:
        return materials.search_roots(self.workspace.root, self.storage.root, self.places)

    def _store(self, path: Path) -> None:
        """Copy a result to the lasting storage; a refusal is said, and the result stays here."""
        if not self.storage.lasting:
            return

        def copy() -> Path:
            folder = self.storage.folder("converted")
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            for file in files:
                target = folder / file.relative_to(path.parent)
                copy_verified(file, free_name(target, "take") if target.exists() else target)
            return folder

        folder, refusal = drive.attempt(copy)
        say(refusal.in_words() if refusal else f"A copy is in {folder}.")

    # ------------------------------------------------------------------------------- training

    @carded
    def train(
        self,
        now: bool = False,
        name: str = "my_voice",
        recordings: str = "",
        upload: bool = False,
        wait: bool | None = None,
        **settings: Any,
    ) -> None:
        """Train the voice `name` in the background, or go on with a training that was cut off.

        `recordings` is a folder, a zip or a file; when empty the folder `recordings/NAME` of where
        results are kept. `settings` are those of TrainingConfig, and `gpus`: at most so many are
        used. Waits in a run without a person.
        """
        if not now:
            say("Training is switched off here. Tick train_now when your recordings are in place.")
            return
        from rvc_colab import config
        from rvc_colab.settings import load

        name, gpus = safe_name(name), settings.pop("gpus", None)
        load(config.TrainingConfig, settings)
        job = running(self.workspace, "train", name=name)
        if job:
            say("This training is running already; here it is.")
        else:
            folder = self._training_folder(name, recordings, upload)
            processes, words = outlet.processes(settings, gpus)
            say(words)
            settings = self._within_session(settings)
            asked = {"name": name, "folder": str(folder)}
            job = Job.start("train", asked, settings, self.workspace, processes)
        self.job = job
        panel = Panel(job).show()
        if wait if wait is not None else not self.environment.interactive:
            self._trained(panel, name)
        else:
            panel.follow()

    def _trained(self, panel: Panel, name: str) -> None:
        try:
            state = panel.attend()
        except KeyboardInterrupt:
            say("The training goes on in the background; the next cell shows it and can stop it.")
            return
        if state.status in {FAILED, LOST}:
            raise CellStop(state.message, state.hint)
        self.voice = name

    def _training_folder(self, name: str, recordings: str, upload: bool) -> Path:
        own = self.storage.folder("recordings") / name
        if upload:
            files = materials.upload(own)
            return self._unpacked(files[0]) if len(files) == 1 else own
        if recordings.strip():
            return self._unpacked(materials.find_sound(recordings.strip(), self._roots()))
        if not own.is_dir() or not any(own.iterdir()):
            raise NotebookError(
                f"There are no recordings to train {name} on.",
                f"Put them into {own}, or name a folder or zip in `recordings`, or tick upload.",
            )
        return own

    def _unpacked(self, given: Path) -> Path:
        return materials.recordings_folder(given, self.workspace.cache / "recordings")

    def _within_session(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Let the training end, with its voice, before the session's limit."""
        left = self.environment_now().seconds_left
        if left is None or settings.get("max_minutes"):
            return settings
        minutes = max(1.0, left / 60 - LAST_MINUTES)
        say(
            f"It ends with a voice after at most {minutes / 60:.1f} hours, before this session "
            "does; in the next session the same cell goes on with it."
        )
        return {**settings, "max_minutes": round(minutes, 1)}

    def environment_now(self) -> Environment:
        """Look again at the machine and the time that is left."""
        return environment.detect(folder=self.workspace.cache)

    @carded
    def watch(self) -> None:
        """Show the latest training again: after the page was reloaded, or in a new kernel."""
        job = Job.attach(self.workspace, "train")
        if job is None:
            say("No training has been started in this workspace yet.")
            return
        self.job = job
        panel = Panel(job).show()
        state = job.state()
        if not state.finished:
            panel.follow()
        elif state.status == LOST:
            say("Run the training cell again: it goes on from the last snapshot.")
        elif state.result.get("voice"):
            self.voice = Path(state.result["voice"]).stem
            say(f"The voice {self.voice} is ready: run the convert cell again to hear it.")

    # -------------------------------------------------------------------------------- sharing

    @carded
    def share(self, voice: str = "", download: bool = False, hub: str = "") -> None:
        """Play the last conversion, and pack the voice with its index as one zip to pass on.

        The zip is kept with the results; `download` sends it to the browser, `hub` (`owner/repo`)
        to the Hugging Face hub with the token HF_TOKEN from the secrets.
        """
        outlet.play_last(self.converted, self.workspace)
        packed = outlet.pack(voice.strip() or self.voice, self.workspace, self.storage)
        if self.environment.platform == KAGGLE:
            packed = outlet.everything(self.workspace, self.storage)
        if download:
            outlet.send_to_browser(packed)
        if hub.strip():
            say(outlet.send_to_hub(packed, hub.strip()))

    @carded
    def finish(self, now: bool = False) -> None:
        """Stop what runs (it saves first), let the drive take everything in, say what is left."""
        if not now:
            say("Nothing to do yet. Tick finish_now before you close the session.")
            return
        job = Job.attach(self.workspace, "train")
        if job and not job.state().finished:
            job.stop()
            state = job.wait(STOP_SECONDS)
            say(state.in_words())
            if not state.finished:
                raise NotebookError(
                    "The training is still saving, so Drive was not closed.",
                    "Run this cell again in a minute.",
                )
        say(drive.flush(self.storage, self.places))
        self.storage = Storage("local", self.workspace.root)

    @carded
    def open_page(self, allow_web_ui: bool = False, way: str = "proxy") -> None:
        """Open the web page, once its rule was read; an open one is closed first."""
        self.close_page()
        self.page = launch_ui(self.workspace, allow_web_ui, way)

    @carded
    def close_page(self) -> None:
        """Close the web page and the way to it."""
        if self.page:
            self.page.close()
            self.page = None
            say("The page is closed.")
