"""Convert many times in one process and hold memory to what it was after the twentieth.

    python benchmarks/soak_conversions.py                  # 200 conversions with the demo voice
    python benchmarks/soak_conversions.py --voice anna --source song.wav --count 50

Exit code 0 when the process, after the last conversion, is at most 5 % larger than after the
twentieth; 1 when it grew more. The lines say where it stood on the way.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path

import rvc_colab
from rvc_colab.audio.files import AudioWriter, read
from rvc_colab.memory import default_manager
from rvc_colab.profiling import process_bytes
from rvc_colab.store.assets import bundled

MIB = 1024**2
WARM_UP = 20  # conversions until caches, pools and lazy imports have settled
ALLOWED_GROWTH = 0.05
SHOW_EVERY = 10
CUTS = 7  # lengths of the source; the warm-up has met each


def main() -> int:
    """Run the soak and return the exit code."""
    options = _options()
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        sources = cuts(Path(options.source), Path(folder))
        for number in range(1, options.count + 1):
            target = Path(folder) / f"{number % 4}.wav"
            rvc_colab.convert(
                sources[number % len(sources)],
                target,
                voice=options.voice,
                transpose=number % 13 - 6,
                **dict(pair.split("=", 1) for pair in options.setting),
            )
            gc.collect()
            sizes.append(process_bytes())
            if number % SHOW_EVERY == 0 or number == options.count:
                print(f"{number:4d}  {sizes[-1] / MIB:8.1f} MB", flush=True)
    counts = default_manager().statistics
    print(f"{counts.loads} loads, {counts.hits} hits, {counts.seconds_saved:.1f} s saved")
    return verdict(sizes)


def cuts(source: Path, folder: Path) -> list[Path]:
    """Write the source in several lengths: every new length makes networks prepare anew."""
    wave, rate = read(source)
    paths = [folder / f"source{number}.wav" for number in range(CUTS)]
    for number, path in enumerate(paths):
        with AudioWriter(path, rate) as writer:
            writer.write(wave[: len(wave) * (CUTS - number) // CUTS])
    return paths


def verdict(sizes: list[int]) -> int:
    """Compare the last size with that after the warm-up, say it, and return the exit code."""
    if len(sizes) <= WARM_UP:
        print(f"{len(sizes)} conversions are too few: the {WARM_UP}th is the measure.")
        return 2
    first, last = sizes[WARM_UP - 1], sizes[-1]
    growth = last / first - 1
    fine = growth <= ALLOWED_GROWTH
    print(
        f"After {WARM_UP}: {first / MIB:.1f} MB, after {len(sizes)}: {last / MIB:.1f} MB, "
        f"{growth:+.1%} ({'within' if fine else 'MORE THAN'} {ALLOWED_GROWTH:.0%})."
    )
    return 0 if fine else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voice", default="demo", help="a voice by name or path")
    parser.add_argument("--source", default=str(bundled("clip.wav")), help="the sound to convert")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--setting", action="append", default=[], help="NAME=VALUE, repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
