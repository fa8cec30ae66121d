"""Train the embedded content encoder: `python -m recipes.tiny_encoder FOLDER --minutes 22`.

FOLDER holds the corpora of `recipes.make_corpus`; checkpoints go there too, and a second call
goes on from the last one. `--export` writes the package data and its measured figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.augment import Augmenter
from recipes.phones import IGNORED, PHONE_ID, SILENCE
from recipes.speech_data import Corpus, read_corpus
from rvc_colab.models.tiny_encoder import PHONES, TinyEncoder

CROP_FRAMES = 100  # 2 s
CROP_SAMPLES = CROP_FRAMES * 320 + 80
BATCH = 24  # crops; each is seen in two disguises
NEIGHBOURS = (-4, 4)  # frames away whose phones the bottleneck must tell too
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.01
AVERAGE = 0.998  # the shipped weights are this running mean
SHARES = {"flite-slt": 0.21, "flite-rms": 0.22, "flite-kal16": 0.21, "espeak": 0.36}
ASSET = Path(__file__).parent.parent / "rvc_colab" / "assets" / "tiny_encoder.safetensors"


class Crops:
    """Draw labelled crops, the sources in fixed shares, whatever the amount of each."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus = corpus
        self.rng = np.random.default_rng(seed)
        self._members = {
            source: [i for i, voice in enumerate(corpus.voices) if voice.startswith(source)]
            for source in SHARES
        }

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return waves [BATCH, CROP_SAMPLES] and labels [BATCH, CROP_FRAMES]."""
        waves = np.zeros((BATCH, CROP_SAMPLES), np.float32)
        labels = np.full((BATCH, CROP_FRAMES), PHONE_ID[SILENCE], np.int64)
        sources = self.rng.choice(list(SHARES), BATCH, p=list(SHARES.values()))
        for row, source in enumerate(sources):
            number = self.rng.choice(self._members[source])
            wave, phones = self._corpus.waves[number], self._corpus.labels[number]
            first = int(self.rng.integers(-10, max(1, len(phones) - CROP_FRAMES + 10)))
            into, start = max(0, -first), max(0, first)
            count = min(CROP_FRAMES - into, len(phones) - start)
            labels[row, into : into + count] = phones[start : start + count]
            piece = wave[320 * start : 320 * (start + count) + 80]
            waves[row, 320 * into : 320 * into + len(piece)] = piece / 32768
        return torch.from_numpy(waves), torch.from_numpy(labels)


class Trainee(nn.Module):
    """The encoder with the heads that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TinyEncoder()
        width = self.encoder.config.bottleneck
        self.neighbours = nn.ModuleList(nn.Linear(width, PHONES) for _ in NEIGHBOURS)

    def losses(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return named loss terms; `features` holds the two disguises one after the other."""
        with torch.autocast("cpu", torch.bfloat16):
            narrow = self.encoder.bottleneck_of(features)
        narrow = narrow.float()
        both = torch.cat((labels, labels))
        terms = {"phone": _cross_entropy(self.encoder.phones(narrow), both)}
        for offset, head in zip(NEIGHBOURS, self.neighbours, strict=True):
            moved = both.roll(-offset, 1)
            inside = slice(0, -offset) if offset > 0 else slice(-offset, None)
            loss = _cross_entropy(head(narrow)[:, inside], moved[:, inside])
            terms["neighbours"] = terms.get("neighbours", 0) + 0.15 * loss
        first, second = narrow.chunk(2)
        terms["same"] = 1.0 * F.mse_loss(first, second)
        return terms


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    flat, smooth = logits.flatten(0, 1), 0.05
    return F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, label_smoothing=smooth)


@torch.inference_mode()
def frame_accuracy(encoder: TinyEncoder, corpus: Corpus) -> dict[str, float]:
    """Return the share of frames whose likeliest phone is the label, for each voice."""
    right: dict[str, list[float]] = {}
    for wave, labels, voice in zip(corpus.waves, corpus.labels, corpus.voices, strict=True):
        logits = encoder.phone_logits(torch.from_numpy(wave / np.float32(32768))[None])
        hits = logits[0].argmax(-1).numpy() == labels
        right.setdefault(voice, []).append(hits)
    return {voice: float(np.concatenate(hits).mean()) for voice, hits in right.items()}


class Run:
    """One training run: its state goes to disk and comes back."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.path = folder / "tiny_encoder.checkpoint"
        self.trainee = Trainee()
        self.mean = Trainee()
        self.optimizer = torch.optim.AdamW(
            self.trainee.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
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

    def advance(self, features: Tensor, labels: Tensor, share_done: float) -> dict[str, float]:
        """Take one optimisation step; the rate warms up, then falls along a cosine."""
        rate = LEARNING_RATE * min(1.0, (self.step + 1) / 100)
        rate *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share_done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.trainee.losses(features, labels)
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
    augmenter = Augmenter(run.trainee.encoder.front, crops.rng)
    while run.seconds < 60 * minutes:
        begun = time.monotonic()
        waves, labels = crops.draw()
        features = torch.cat((augmenter(waves), augmenter(waves)))
        terms = run.advance(features, labels, run.seconds / (60 * minutes))
        run.seconds += time.monotonic() - begun
        if run.step % 50 == 0:
            words = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(f"step {run.step} {run.seconds:.0f} s {words}", flush=True)
        if run.step % 300 == 0:
            run.save()
            print("held out", frame_accuracy(run.mean.encoder, held_out), flush=True)
    run.save()
    print("held out, at the end", frame_accuracy(run.mean.encoder, held_out), flush=True)


def export(folder: Path, target: Path = ASSET) -> dict[str, object]:
    """Write the mean weights as fp16 safetensors and measure what was written."""
    from safetensors.torch import load_file, save_file

    encoder = Run(folder, 1).mean.encoder
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    save_file({name: value.half() for name, value in encoder.state_dict().items()}, partial)
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
        "frame_phone_accuracy": {
            voice: round(share, 4)
            for voice, share in frame_accuracy(
                shipped, read_corpus(folder / "held_out.npz")
            ).items()
        },
    }
    target.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def main() -> None:
    """Train, or export what was trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=22)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", action="store_true")
    given = parser.parse_args()
    if given.export:
        print(json.dumps(export(given.folder), indent=2))
    else:
        train(given.folder, given.minutes, given.threads)


if __name__ == "__main__":
    main()
