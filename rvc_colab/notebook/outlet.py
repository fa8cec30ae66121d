"""What goes in and out of the workspace for the cells: voices by source, zips, hub, browser."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rvc_colab.errors import NotebookError
from rvc_colab.notebook import drive
from rvc_colab.notebook.command import say
from rvc_colab.notebook.drive import FOLDER, Places, Storage
from rvc_colab.notebook.environment import COLAB, KAGGLE, platform_name
from rvc_colab.notebook.jobs import read_json, write_json
from rvc_colab.notebook.links import LINKED
from rvc_colab.notebook.publishing import copy_verified, publish
from rvc_colab.notebook.secret_store import secret
from rvc_colab.notebook.widgets import play
from rvc_colab.workspace import Workspace

DEMO = "demo"
SOURCES = "sources.json"  # which voice came from where, beside the voices


def earlier_work(workspace: Workspace) -> list[str]:
    """Name the voices and the unfinished trainings that the workspace holds."""
    lines = []
    if voices := sorted(path.stem for path in workspace.weights.glob("*.pth")):
        lines.append(f"Voices there: {', '.join(voices)}")
    runs = [run for run in sorted(workspace.logs.iterdir()) if (run / "snapshots").is_dir()]
    ended = {run.name: read_json(run / "report.json").get("ended") for run in runs}
    cut_off = [name for name, how in ended.items() if how != "finished"]
    if cut_off:
        lines.append(
            f"Trainings to go on with: {', '.join(cut_off)} (the training cell, with that name)"
        )
    return lines


def bring_back(storage: Storage, places: Places) -> str:
    """Copy what an earlier Kaggle session saved and is attached as an input, if not there yet."""
    brought = 0
    found = places.kaggle_input.rglob(FOLDER) if places.kaggle_input.is_dir() else iter(())
    for earlier in sorted(path for path in found if path.is_dir()):
        for name in LINKED:
            for file in sorted(p for p in (earlier / name).rglob("*") if p.is_file()):
                target = storage.root / file.relative_to(earlier)
                if not target.exists():
                    copy_verified(file, target)
                    brought += 1
    return f"{brought} files of an earlier session were brought in." if brought else ""


def voice_from(source: str, name: str, workspace: Workspace, places: Places) -> str:
    """Return the name of the voice that `source` means, importing it when it is not there yet."""
    from rvc_colab.store.voice_import import import_voice

    if not source:
        source = name or DEMO
    own = {path.stem for path in workspace.weights.glob("*.pth")}
    if source in own or source.lower() == DEMO:
        return DEMO if source.lower() == DEMO else source
    known = read_json(workspace.weights / SOURCES)
    if known.get(source) in own and name in ("", known[source]):
        return str(known[source])
    if name and name in own:
        raise NotebookError(
            f"There is a voice {name} already, from another source.", "Choose another name."
        )
    _lend_hub_token(source)
    imported = import_voice(_among_inputs(source, places), workspace, name or None)
    for warning in imported.warnings:
        say(f"Note: {warning}")
    write_json(workspace.weights / SOURCES, {**known, source: imported.card.name})
    return imported.card.name


def _among_inputs(source: str, places: Places) -> str:
    """Find a plain file name among Kaggle's attached datasets."""
    if "/" in source or Path(source).exists():
        return source
    found = sorted(places.kaggle_input.rglob(source)) if places.kaggle_input.is_dir() else []
    return str(found[0]) if found else source


def _lend_hub_token(source: str) -> None:
    """Let the hub's client see the token of the secrets, for voices that are not public."""
    is_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(/.*)?", source) or "huggingface.co" in source
    hosted = platform_name(os.environ) in (COLAB, KAGGLE)
    if is_hub and hosted and not Path(source).exists() and (token := secret("HF_TOKEN")):
        os.environ["HF_TOKEN"] = token.value


def fit_clip(
    voice: str, settings: Mapping[str, Any], show: Callable[[str], None]
) -> dict[str, Any]:
    """Shift the shipped clip to the demo voice's pitch when no shift was chosen, and say so."""
    if voice != DEMO or settings.get("transpose"):
        return dict(settings)
    from rvc_colab.demo import demo_transpose

    shift = demo_transpose()
    if shift:
        show(f"The shipped clip is shifted by {shift:+g} semitones to the demo voice's pitch.")
    return {**settings, "transpose": shift}


def processes(settings: Mapping[str, Any], gpus: int | None) -> tuple[int, str]:
    """Return on how many GPUs to train (at most `gpus`), and the plan in words."""
    from rvc_colab.hardware import facts, plan_training

    plan = plan_training(
        facts(ask_torch=False), settings.get("sample_rate") or 40000, settings.get("batch_size")
    )
    if settings.get("device", "auto") not in ("auto", "cuda"):
        return 1, f"Training on {settings['device']}."
    return min(gpus or plan.processes, plan.processes), plan.in_words()


def play_last(converted: Path | None, workspace: Workspace) -> None:
    """Play the newest converted sound, if there is one."""
    folder = workspace.root / "converted"
    found = sorted(folder.rglob("*.*"), key=lambda p: p.stat().st_mtime) if folder.is_dir() else []
    last = converted or next((path for path in reversed(found) if path.is_file()), None)
    if last is None:
        say("Nothing has been converted yet.")
    elif last.is_file():
        play(last)
    else:
        say(f"The converted files are in {last}.")


def pack(voice: str, workspace: Workspace, storage: Storage) -> Path:
    """Write the voice, its index and card as one zip, and publish it where results are kept."""
    from rvc_colab.store.voice_export import export_voice
    from rvc_colab.store.voices import show_voice

    name = show_voice(voice, workspace).name
    path = workspace.root / "exports" / f"{name}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    export_voice(voice, path, workspace, replace=True)
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, the voice with its index and card.")
    if storage.lasting:
        label = "demo-voice" if name == DEMO else name
        made, refusal = drive.attempt(lambda: publish(path, storage.folder("exports"), label))
        if made:
            say(f"Kept as {made.path}.")
        elif refusal:
            say(refusal.in_words())
    return path


def everything(workspace: Workspace, storage: Storage) -> Path:
    """Pack voices, indexes and conversions into one zip in the output folder."""
    folders = [workspace.weights, workspace.indexes, workspace.root / "converted"]
    present = [folder for folder in folders if folder.is_dir()]
    path = drive.export_zip(present, storage.root.parent / "RVC_Colab.zip")
    say(f"{path}: everything made here as one zip ({path.stat().st_size / 1e6:.1f} MB).")
    return path


def send_to_browser(path: Path) -> None:
    """Offer a file as a download; where the platform has no way, say where it lies."""
    if platform_name(os.environ) != COLAB:
        say(f"Download it from the file browser: {path}")
        return
    try:
        importlib.import_module("google.colab.files").download(str(path))
    except Exception as error:  # the frontend's refusals have classes of their own
        raise NotebookError(
            f"The browser did not take {path.name} ({error}).",
            f"Download {path} from the Files panel on the left.",
        ) from error


def send_to_hub(path: Path, repo: str) -> str:
    """Upload a zip to a repository of the Hugging Face hub, made private when new."""
    token = secret("HF_TOKEN").required()
    hub = importlib.import_module("huggingface_hub")
    try:
        client = hub.HfApi(token=token)
        client.create_repo(repo, private=True, exist_ok=True)
        client.upload_file(path_or_fileobj=str(path), path_in_repo=path.name, repo_id=repo)
    except Exception as error:  # network, rights and names, each with a class of its own
        words = secret("HF_TOKEN").scrub(str(error).strip().splitlines()[0] if str(error) else "")
        raise NotebookError(
            f"The hub did not take {path.name}: {words or type(error).__name__}",
            "Check that HF_TOKEN may write, and that the name is owner/repo. The zip is kept here.",
        ) from error
    return f"{path.name} is in https://huggingface.co/{repo} (a new repository is private)."
