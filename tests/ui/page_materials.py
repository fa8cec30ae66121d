"""What the tests of the page are made with: a small voice, a tone, a free port."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np

from rvc_colab.store.checkpoint import read_voice, write_voice

GOLDEN = Path(__file__).parent.parent / "golden" / "inference"
PASSWORD = "correct-horse-9"
UPLOAD_MEGABYTES = 3


def write_small_voice(path: Path) -> None:
    """Write a small voice of the embedded encoder."""
    voice = read_voice(GOLDEN / "tiny_v1_f0_40k.pth")
    write_voice(path, voice.weights, voice.config, replace(voice.metadata, encoder="tiny"))


def write_tone(path: Path, seconds: float = 1.0, hertz: float = 220.0) -> Path:
    """Write a tone with overtones and a swell, which passes for a voice."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16000 * seconds)) / 16000
    wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 6))
    soundfile.write(path, 0.2 * wave * (1.2 + np.sin(2 * np.pi * 3 * time)) / 2, 16000)
    return path


def free_port() -> int:
    """Find a port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
