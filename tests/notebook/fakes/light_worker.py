"""The real worker with light verbs: what a job does is told by its settings, and takes no torch."""

import os
import sys
import time
import wave
from pathlib import Path

from rvc_colab.errors import DatasetError
from rvc_colab.notebook import worker


def train(request, progress):
    settings, name = request["settings"], request["arguments"]["name"]
    progress.write(history=settings.get("history", ""))
    progress.stage("Preparing recordings", 1)
    progress.advance(1)
    if settings.get("fails") == "dataset":
        raise DatasetError("The recordings are silent.", "Record them again.")
    if settings.get("fails") == "bug":
        raise KeyError("nobody thought of this")
    if settings.get("fails") == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    if settings.get("fails") == "killed":
        os.kill(os.getpid(), 9)
    progress.stage("Training", settings["epochs"])
    ended = "finished"
    for _ in range(settings["epochs"]):
        if progress.cancelled:
            ended = "stopped on request"
            break
        time.sleep(0.01)
        progress.advance(1, "mel 20")
    voice = Path(request["workspace"]) / "weights" / f"{name}.pth"
    voice.parent.mkdir(parents=True, exist_ok=True)
    voice.write_text("saved")
    return {"voice": str(voice), "index": None, "ended": ended, "warnings": ["<a warning>"]}


def convert(request, progress):
    if request["settings"].get("seed") == 13:
        raise worker.RVCError("The voice is damaged.", "Get it again.")
    progress.stage("Converting", 1)
    while request["settings"].get("seed") == 14:
        progress.check()
        time.sleep(0.01)
    target = request["arguments"]["target"]
    with wave.open(target, "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 1600)
    progress.advance(1)
    return {"target": target, "words": f"{target}: 0.10 s", "settings": request["settings"]}


worker.VERBS.update(train=train, convert=convert)
sys.exit(worker.main(sys.argv[1:]))
