"""Measure that converting a file takes no more memory when the file is longer.

    python benchmarks/convert_memory.py [MINUTES ...]

Converts files of 1 and 60 minutes (or as given) with a voice, encoder and pitch estimator that
cost next to nothing, each in a process of its own, and prints the peak resident memory. The
networks are left out because their memory depends on the chunk only; everything else, reading,
filtering, planning, joining, levels and writing, is the real thing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RATE = 44100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", nargs="*", type=float, default=[1, 60])
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return convert(arguments.child, arguments.folder)
    with tempfile.TemporaryDirectory() as folder:
        for minutes in arguments.minutes:
            command = [sys.executable, __file__, "--child", str(minutes), "--folder", folder]
            subprocess.run(command, check=True)
    return 0


def convert(minutes: float, folder: Path) -> int:
    """Make a file, convert it, and print the peak memory before and after."""
    from rvc_colab.config import ConversionConfig
    from rvc_colab.conversion.converter import Converter
    from rvc_colab.conversion.run import convert_file

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "conversion"))
    from stand_ins import identity_converter, speech_like

    source, target = folder / "in.wav", folder / "out.wav"
    _write(source, minutes, speech_like(30, RATE))
    converter: Converter = identity_converter(40000)
    convert_file(_write(folder / "warm.wav", 0.5, speech_like(30, RATE)), target, converter)
    before, begun = _peak_mb(), time.perf_counter()
    result = convert_file(source, target, converter, ConversionConfig(chunk_seconds=18))
    print(
        f"{minutes:6.1f} min: {_peak_mb():7.1f} MB at most ({_peak_mb() - before:+.1f} over a "
        f"half-minute file), {result.chunks} chunks, {time.perf_counter() - begun:.1f} s"
    )
    return 0


def _write(path: Path, minutes: float, block: np.ndarray) -> Path:
    import soundfile

    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(round(minutes * 60 / 30)):
            file.write(block)
    return path


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
