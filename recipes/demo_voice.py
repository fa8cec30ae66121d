"""Make the demo voice as anyone would: `python -m recipes.demo_voice WORK` (hours on one core).

Three steps, each may be repeated alone: `recordings` (flite's slt), `train` (`rvc-colab train`,
from what `recipes.base_voice` left in WORK/base; called again it goes on), `ship` (voice, index and
card into the package).
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from recipes.slt_speech import CLIP, write_recordings

ASSETS = Path(__file__).parent.parent / "rvc_colab" / "assets"
LOGS = Path(__file__).parent / "logs"
NAME = "slt"
MINUTES = 20  # of recordings
LARGEST_VOICE = 8_000_000  # bytes
LARGEST_INDEX = 4_000_000
INDEX_ROWS = 3_600  # k-means centres: 1 KB each
STEPS = ("recordings", "train", "ship")

# A voice of 2.9 M parameters in the file. Against the published sizes: half the width in encoder
# and flow, a quarter in the generator.
SETTINGS: dict[str, object] = {
    "sample_rate": 16000,  # flite's: no empty band, half the samples of 32k
    "version": "v1",  # 256 wide, as the embedded encoder
    "encoder": "tiny",
    "f0_method": "swift",
    "speakers": 1,
    "decode_from": "prior",  # conversion itself is trained; the recording is not encoded
    "mel_scales": 3,  # a window of 64 ms alone hardly hears a plosive
    "slice_seconds": 1.3,  # encoder, posterior and flow run over whole slices
    "hidden_channels": 96,
    "filter_channels": 192,
    "encoder_layers": 3,
    "upsample_initial_channels": 128,
    "gin_channels": 16,
    "discriminator_scale": 0.25,
    "segment_frames": 32,
    "batch_size": 8,
    "learning_rate": 4e-4,  # small networks take more than the published 1e-4
    "lr_decay": 0.975,  # an epoch has 115 steps
    "mixed_precision": "bf16",
    "epochs": 100_000,  # the steps end the run
    "max_steps": 9_000,
    "reconstruction_steps": 2_000,  # no adversarial loss at first: steps are twice as fast
    "save_minutes": 5,
}


def train_command(folder: Path, workspace: Path, changes: dict[str, str]) -> list[str]:
    """Return the command line that a person would type."""
    command = [sys.executable, "-m", "rvc_colab", "train", NAME, str(folder)]
    command += ["--workspace", str(workspace)]
    command += ["--pretrained", str(workspace / "base" / "base_G.pth")]
    for name, value in (SETTINGS | changes).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return command


def train(folder: Path, workspace: Path, changes: dict[str, str]) -> None:
    """Run the trainer; its words go to the log beside the recipes."""
    LOGS.mkdir(exist_ok=True)
    command = train_command(folder, workspace, changes)
    with (LOGS / "demo_voice.log").open("a", encoding="utf-8") as log:
        log.write("rvc-colab " + " ".join(command[3:]) + "\n")
        log.flush()
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)


def ship(workspace: Path) -> dict[str, object]:
    """Copy the voice, write its index in clustered form, and the card that the demo reads."""
    from rvc_colab.features.retrieval import build_index, read_index, write_index
    from rvc_colab.workspace import write_atomically

    whole = read_index(next(iter(sorted(workspace.glob(f"indexes/*_{NAME}_v1.index")))))
    small = build_index(whole.vectors.numpy(), max_rows=INDEX_ROWS, centres=INDEX_ROWS)
    index = write_index(ASSETS / "demo.index", small)
    with write_atomically(ASSETS / "demo.pth") as partial:
        shutil.copyfile(workspace / "weights" / f"{NAME}.pth", partial)
    for path, largest in ((ASSETS / "demo.pth", LARGEST_VOICE), (index, LARGEST_INDEX)):
        if (size := path.stat().st_size) > largest:
            raise SystemExit(f"{path} has {size} bytes; at most {largest} are shipped.")
    card: dict[str, object] = {
        "settings": SETTINGS,
        "demo_transpose": transpose_for_clip(),
        "index_rows": len(small.vectors),
        "index_rows_before_clustering": len(whole.vectors),
        "pth_bytes": (ASSETS / "demo.pth").stat().st_size,
        "index_bytes": index.stat().st_size,
    }
    (ASSETS / "demo.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def transpose_for_clip() -> float:
    """Return the semitones from the shipped clip's median pitch to slt's."""
    import soundfile

    from recipes.speech_data import speak_flite
    from rvc_colab.features.f0 import load_f0_estimator

    estimate = load_f0_estimator("auto")
    clip, _ = soundfile.read(CLIP, dtype="float32")
    text = "Every voice is a little different, and that is a pleasure to hear."
    real = speak_flite(text, "slt").wave / np.float32(32768)
    clip_hz, real_hz = (float(np.median(f0[f0 > 0])) for f0 in map(estimate, (clip, real)))
    return float(round(12 * math.log2(real_hz / clip_hz)))


def main() -> None:
    """Run the steps that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for recordings and the trainer's workspace")
    parser.add_argument("--step", action="append", choices=STEPS)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a training setting other than the recipe's",
    )
    given = parser.parse_args()
    changes = dict(item.split("=", 1) for item in given.set)
    steps, folder = given.step or STEPS, given.work / "recordings"
    if "recordings" in steps:
        print(f"{write_recordings(folder, MINUTES)} recordings")
    if "train" in steps:
        train(folder, given.work, changes)
    if "ship" in steps:
        print(json.dumps(ship(given.work), indent=2))


if __name__ == "__main__":
    main()
