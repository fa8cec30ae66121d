"""Teach the demo voice to speak before it can listen: `python -m recipes.base_voice WORK`.

The networks of `recipes.demo_voice` are trained on slt's sentences with the content that the
encoder aims at: her own picture and the phones that flite says. No encoder is needed, so this runs
beside the encoder's training. It leaves a G and a D file that the voice's training starts from.
A second call goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

from recipes.demo_voice import SETTINGS
from recipes.reference import phone_codes, picture
from recipes.slt_speech import recordings
from recipes.speech_data import Utterance
from rvc_colab.audio.spectral import mel_scales
from rvc_colab.config import Latent, TrainingConfig
from rvc_colab.features.f0 import load_f0_estimator
from rvc_colab.models.tiny_encoder import content_frames
from rvc_colab.store.checkpoint import TrainingCheckpoint, write_training_checkpoint
from rvc_colab.training.batches import Clip, ClipStore, Draw
from rvc_colab.training.fit import BETAS, EPSILON
from rvc_colab.training.networks import build_networks
from rvc_colab.training.step import GanStep, Machinery, Player, StepSettings

RECORDED_MINUTES = 14
CLIP_FRAMES = 128
LEARNING_RATE = 6e-4
WARM_UP_STEPS = 50
CHECKPOINT_STEPS = 250


def aimed_content(spoken: Utterance) -> np.ndarray:
    """Return the content [T, 256] float16 that the encoder aims at for the reference herself."""
    frames = content_frames(len(spoken.wave))
    drawn = picture(spoken.wave)[: 2 * frames]
    drawn = np.pad(drawn, ((0, 2 * frames - len(drawn)), (0, 0)), mode="edge")
    spelled = phone_codes()[spoken.labels()[:frames]]
    return np.concatenate((drawn.reshape(frames, -1), spelled), 1).astype(np.float16)


def clips_of(utterances: list[Utterance]) -> list[Clip]:
    """Cut sentences into clips of CLIP_FRAMES; what is left at an end is not used."""
    f0_of, clips = load_f0_estimator("swift"), []
    for spoken in utterances:
        wave = spoken.wave.astype(np.float32) / 32768
        content, f0_hz = aimed_content(spoken), f0_of(wave).astype(np.float32)
        frames = min(2 * len(content), len(wave) // 160, len(f0_hz))
        for first in range(0, frames - CLIP_FRAMES + 1, CLIP_FRAMES):
            last = first + CLIP_FRAMES
            sound = wave[first * 160 : last * 160]
            clips.append(Clip(sound, content[first // 2 : last // 2], f0_hz[first:last]))
    return clips


class BaseRun:
    """The run: its state goes to disk and comes back."""

    def __init__(self, folder: Path) -> None:
        config = TrainingConfig(**SETTINGS)  # type: ignore[arg-type]
        self.folder, self.batch_size = folder, config.batch_size or 8
        self.networks = networks = build_networks(config)
        networks.generator.dec.channels_last = True
        self.frames = networks.generator.config.segment_frames
        scales = mel_scales(networks.spectrogram, config.mel_scales)
        self.players = [
            Player(
                network,
                torch.optim.AdamW(network.parameters(), LEARNING_RATE, BETAS, EPSILON, fused=True),
            )
            for network in (networks.generator, networks.discriminator)
        ]
        self.game = GanStep(
            *self.players,
            StepSettings(
                scales[0],
                from_prior=config.decode_from is Latent.PRIOR,
                further_scales=scales[1:],
            ),
            Machinery(lambda: torch.autocast("cpu", torch.bfloat16)),
        )
        self.step, self.seconds = 0, 0.0
        self.path = folder / "base.checkpoint"
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            for player, (network, optimizer) in zip(self.players, state["players"], strict=True):
                player.network.load_state_dict(network)
                player.optimizer.load_state_dict(optimizer)
            self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the state whole, and the pair of files that training starts from."""
        players = [(p.network.state_dict(), p.optimizer.state_dict()) for p in self.players]
        partial = self.path.with_suffix(".partial")
        torch.save({"players": players, "step": self.step, "seconds": self.seconds}, partial)
        os.replace(partial, self.path)
        for name, player in zip("GD", self.players, strict=True):
            kind = "generator" if name == "G" else "discriminator"
            checkpoint = TrainingCheckpoint(
                player.network.state_dict(), kind, learning_rate=LEARNING_RATE
            )
            write_training_checkpoint(self.folder / f"base_{name}.pth", checkpoint)

    def advance(self, store: ClipStore, share_done: float, adversarial: bool) -> dict[str, float]:
        """Take one step on random clips; the rate warms up, then falls along a cosine to half."""
        rate = LEARNING_RATE * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        rate *= 0.5 + 0.25 * (1 + math.cos(math.pi * min(1.0, share_done)))
        for player in self.players:
            for group in player.optimizer.param_groups:
                group["lr"] = rate
        rng = np.random.default_rng((1, self.step))
        torch.manual_seed(self.step)
        chosen = rng.integers(0, len(store), self.batch_size).tolist()
        starts = rng.integers(0, CLIP_FRAMES - self.frames + 1, self.batch_size)
        batch = store.gather(chosen, CLIP_FRAMES, float(CLIP_FRAMES * self.batch_size))
        losses = self.game.step([(batch, Draw(torch.from_numpy(starts)))], adversarial)
        self.step += 1
        return {name: float(value) for name, value in losses.items()}


def train(folder: Path, minutes: float, adversarial_from: float) -> None:
    """Train for so many minutes of CPU time in all, the last part with the adversary."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    run = BaseRun(folder)
    store = ClipStore(clips_of(recordings(RECORDED_MINUTES)), run.networks.spectrogram)
    print(f"{len(store)} clips, from step {run.step}", flush=True)
    sums: dict[str, list[float]] = {}
    while run.seconds < 60 * minutes:
        begun, done = time.process_time(), run.seconds / (60 * minutes)
        losses = run.advance(store, done, done >= adversarial_from)
        run.seconds += time.process_time() - begun
        for name, value in losses.items():
            sums.setdefault(name, []).append(value)
        if run.step % 50 == 0:
            means = " ".join(f"{name} {np.mean(values):.3f}" for name, values in sums.items())
            print(f"step {run.step} {run.seconds:.0f} s {means}", flush=True)
            sums = {}
        if run.step % CHECKPOINT_STEPS == 0:
            run.save()
    run.save()


def main() -> None:
    """Train the base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--adversarial-from", type=float, default=1.0, metavar="SHARE")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        train(given.work, given.minutes, given.adversarial_from)


if __name__ == "__main__":
    main()
