"""Train the embedded content encoder: `python -m recipes.tiny_encoder FOLDER --minutes 45`.

FOLDER holds the corpora of `recipes.make_corpus`; checkpoints go there too, and a second call
goes on from the last one. `--export` writes the package data and its measured figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.augment import Augmenter
from recipes.corpus import Corpus, read_corpus
from recipes.phones import IGNORED
from recipes.reference import Targets
from rvc_colab.models.tiny_encoder import PICTURE, TinyEncoder

CROP_FRAMES = 100  # 2 s
CROP_SAMPLES = CROP_FRAMES * 320 + 80
BATCH = 48  # crops
PICTURE_WEIGHT = 2.0
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.01
AVERAGE = 0.998  # the shipped weights are this running mean
SHARES = {
    "flite-slt": 0.16,
    "flite-rms": 0.19,
    "flite-kal16": 0.17,
    "festival-ked": 0.16,
    "espeak": 0.32,
}
ASSET = Path(__file__).parent.parent / "rvc_colab" / "assets" / "tiny_encoder.safetensors"


@dataclass(frozen=True)
class Aims:
    """Targets of a batch of crops."""

    labels: Tensor  # int64 [B, T]
    pictures: Tensor  # float32 [B, T, PICTURE]
    known: Tensor  # bool [B, T]

    @classmethod
    def of(cls, targets: list[Targets]) -> Aims:
        """Stack targets of one length."""
        return cls(
            torch.from_numpy(np.stack([aim.labels for aim in targets]).astype(np.int64)),
            torch.from_numpy(np.stack([aim.pictures for aim in targets]).astype(np.float32)),
            torch.from_numpy(np.stack([aim.known for aim in targets])),
        )


class Crops:
    """Draw crops with their targets, the sources in fixed shares, whatever the amount of each."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus = corpus
        self.rng = np.random.default_rng(seed)
        self._members = {
            source: [i for i, voice in enumerate(corpus.voices) if voice.startswith(source)]
            for source in SHARES
        }

    def draw(self) -> tuple[Tensor, Aims]:
        """Return waves [BATCH, CROP_SAMPLES] and what to say of them."""
        waves, aims = np.zeros((BATCH, CROP_SAMPLES), np.float32), []
        sources = self.rng.choice(list(SHARES), BATCH, p=list(SHARES.values()))
        for row, source in enumerate(sources):
            number = self.rng.choice(self._members[source])
            wave, aim = self._corpus.waves[number], self._corpus.targets[number]
            last = len(aim.labels) - CROP_FRAMES
            start = int(self.rng.integers(0, last + 1)) if last > 0 else 0
            piece = wave[320 * start : 320 * start + CROP_SAMPLES]
            waves[row, : len(piece)] = piece / 32768
            aims.append(_cropped(aim, start))
        return torch.from_numpy(waves), Aims.of(aims)


def _cropped(aim: Targets, start: int) -> Targets:
    """Return CROP_FRAMES frames from `start` on; nothing is asked of those behind the end."""
    labels = np.full(CROP_FRAMES, IGNORED, np.uint8)
    pictures = np.zeros((CROP_FRAMES, PICTURE), np.float16)
    known = np.zeros(CROP_FRAMES, bool)
    piece = slice(start, start + CROP_FRAMES)
    count = len(aim.labels[piece])
    labels[:count], known[:count] = aim.labels[piece], aim.known[piece]
    pictures[:count] = aim.pictures[piece]
    return Targets(labels, pictures, known)


def losses(encoder: TinyEncoder, features: Tensor, aims: Aims) -> dict[str, Tensor]:
    """Return the named terms: phones told, and the reference's picture drawn."""
    with torch.autocast("cpu", torch.bfloat16):
        picture, phones = encoder.heard(features)
    told = F.cross_entropy(
        phones.float().flatten(0, 1),
        aims.labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=0.05,
    )
    drawn = (picture.float() - aims.pictures).abs().mean(-1)
    return {"phone": told, "picture": PICTURE_WEIGHT * drawn[aims.known].mean()}


@torch.inference_mode()
def held_out_figures(encoder: TinyEncoder, corpus: Corpus) -> dict[str, tuple[float, float]]:
    """Return, for each voice, how well it is heard.

    The share of frames whose likeliest phone is the reference's, and the mean distance of the
    drawn picture to the reference's (unit deviation is about 1.2).
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for wave, aim, voice in zip(corpus.waves, corpus.targets, corpus.voices, strict=True):
        sound = torch.from_numpy(wave / np.float32(32768))[None]
        picture, phones = encoder.heard(encoder.front(sound))
        hits = phones[0].argmax(-1).numpy() == aim.labels
        off = np.abs(picture[0].numpy() - aim.pictures.astype(np.float32)).mean(-1)
        found.setdefault(voice, []).append((hits[aim.labels != IGNORED], off[aim.known]))
    return {
        voice: tuple(round(float(np.concatenate(part).mean()), 4) for part in zip(*parts))
        for voice, parts in found.items()
    }


class Run:
    """One training run: its state goes to disk and comes back."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.path = folder / "tiny_encoder.checkpoint"
        self.trainee, self.mean = TinyEncoder(), TinyEncoder()
        self.optimizer = torch.optim.AdamW(
            self.trainee.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.step, self.seconds = 0, 0.0
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            for name in ("trainee", "mean", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
            self.step, self.seconds = state["step"], state["seconds"]
        else:
            self.mean.load_state_dict(self.trainee.state_dict())

    def save(self) -> None:
        """Write the whole state under a temporary name, then rename."""
        state = {
            name: getattr(self, name).state_dict() for name in ("trainee", "mean", "optimizer")
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state | {"step": self.step, "seconds": self.seconds}, partial)
        os.replace(partial, self.path)

    def advance(self, features: Tensor, aims: Aims, share_done: float) -> dict[str, float]:
        """Take one optimisation step; the rate warms up, then falls along a cosine."""
        rate = LEARNING_RATE * min(1.0, (self.step + 1) / 100)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share_done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = losses(self.trainee, features, aims)
        self.optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(AVERAGE, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, new in zip(self.mean.parameters(), self.trainee.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)
        return {name: float(term.detach()) for name, term in terms.items()}


def train(folder: Path, minutes: float, threads: int) -> None:
    """Train for so many minutes of step time in all; print a line every 50 steps."""
    run = Run(folder, threads)
    held_out = read_corpus(folder / "held_out.npz")
    crops = Crops(read_corpus(folder / "training.npz"), seed=run.step + 1)
    augmenter = Augmenter(run.trainee.front, crops.rng)
    while run.seconds < 60 * minutes:
        begun = time.monotonic()
        waves, aims = crops.draw()
        terms = run.advance(augmenter(waves), aims, run.seconds / (60 * minutes))
        run.seconds += time.monotonic() - begun
        if run.step % 50 == 0:
            words = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(f"step {run.step} {run.seconds:.0f} s {words}", flush=True)
        if run.step % 300 == 0:
            run.save()
            print("held out", held_out_figures(run.mean, held_out), flush=True)
    run.save()
    print("held out, at the end", held_out_figures(run.mean, held_out), flush=True)


def export(folder: Path, target: Path = ASSET) -> dict[str, object]:
    """Write the mean weights as fp16 safetensors and measure what was written."""
    from safetensors.torch import load_file, save_file

    run = Run(folder, 1)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    save_file({name: value.half() for name, value in run.mean.state_dict().items()}, partial)
    os.replace(partial, target)
    shipped = TinyEncoder()
    shipped.load_state_dict(load_file(target))
    shipped.eval()
    wave = torch.randn(1, 160000) * 0.05
    with torch.inference_mode():
        shipped(wave)
        begun = time.process_time()
        shipped(wave)
    figures = {
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "bytes": target.stat().st_size,
        "cpu_seconds_for_10_s": round(time.process_time() - begun, 3),
        "steps": run.step,
        "phone_accuracy_and_picture_distance": held_out_figures(
            shipped, read_corpus(folder / "held_out.npz")
        ),
    }
    target.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def main() -> None:
    """Train, or export what was trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", action="store_true")
    given = parser.parse_args()
    if given.export:
        print(json.dumps(export(given.folder), indent=2))
    else:
        train(given.folder, given.minutes, given.threads)


if __name__ == "__main__":
    main()
