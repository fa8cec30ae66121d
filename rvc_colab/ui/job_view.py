"""How a job looks on the page: its place in line, its stage, the time left."""

from __future__ import annotations

import html

from rvc_colab.memory.turns import Standing
from rvc_colab.ui.jobs import Job
from rvc_colab.ui.pictures import bar
from rvc_colab.ui.texts import say

# What the journeys call their stages: key of the catalogue → the name they report.
STAGES = {
    "converting": "Converting",
    "speaking": "Speaking",
    "loading": "Loading the voice",
}
TRAINING_STAGES = {
    "inspecting": "Looking at the recordings",
    "preparing": "Preparing recordings",
    "listening": "Listening to content and pitch",
    "training": "Training",
    "writing": "Writing the voice",
    "index": "Building the index",
}


def card(inner: str, problem: bool = False) -> str:
    """Frame what a screen reader should say when it changes."""
    kind = " rvc-problem" if problem else ""
    return f'<div class="rvc-card{kind}" role="status" aria-live="polite">{inner}</div>'


def line(text: str) -> str:
    """Lay a text out as a line."""
    return f"<p>{html.escape(text)}</p>"


def standing_in_words(standing: Standing, language: str) -> str:
    """Say what a job waits for."""
    if standing.behind_training and standing.ahead == 1:
        return say("queue.training", language)
    if standing.ahead == 0:
        return say("queue.next", language)
    return say("queue.position", language, number=standing.ahead)


def stage_bar(job: Job, language: str) -> str:
    """Draw how far the stage of a running job is, and the time that it will take yet."""
    count = f"{min(job.done, job.total)} / {job.total}" if job.total else ""
    if count and job.stage_name.startswith(STAGES["converting"]):
        count += " s"
    words = f"{_stage_name(job.stage_name, language)} {count} {job.note}"
    if (left := job.seconds_left) is not None and left >= 1:
        minutes, seconds = divmod(int(left), 60)
        words += " · " + say("train.left", language, time=f"{minutes}:{seconds:02d}")
    return bar(job.done / job.total if job.total else 0.0, " ".join(words.split()))


def _stage_name(name: str, language: str) -> str:
    """Return a stage's name in a language; the name of a file may follow it."""
    for key, english in (STAGES | TRAINING_STAGES).items():
        if name.startswith(english):
            return say(f"stage.{key}", language) + name.removeprefix(english)
    return name
