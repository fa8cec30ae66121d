"""Convert a waveform, a file, a folder: each thin on the one before.

Files are read, converted and written in a stream; memory does not grow with their length. The peak
guard needs the peak of the whole, so a file's result waits as raw float32 in an unnamed temporary
file beside the target (4 bytes per sample), and is scaled and rounded in a second pass over it.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from rvc_colab.audio.files import RATE_MAX, RATE_MIN, AudioReader, AudioWriter, check_target
from rvc_colab.audio.filters import PEAK_CEILING, resampled_length
from rvc_colab.config import ConversionConfig
from rvc_colab.conversion.chunking import Timeline
from rvc_colab.conversion.converter import Converter
from rvc_colab.conversion.folder import NamedProgress, plan_folder
from rvc_colab.conversion.noise import Noise, NoiseTape
from rvc_colab.conversion.results import ConversionResult, FileFailure, FolderResult
from rvc_colab.conversion.stages import StageClock, settler
from rvc_colab.conversion.stream import Conversion
from rvc_colab.errors import AudioError, Cancelled, RVCError
from rvc_colab.features.pitch import read_f0_file
from rvc_colab.progress import Progress, SilentProgress

_log = logging.getLogger(__name__)

MIN_SECONDS = 0.01  # one frame
_BLOCK_SECONDS = 10.0
_SPOOL_SAMPLES = 1 << 20


def convert_waveform(
    wave: np.ndarray,
    rate: int,
    converter: Converter,
    config: ConversionConfig | None = None,
    progress: Progress | None = None,
    noise: Noise | None = None,
) -> ConversionResult:
    """Convert sound float [N] or [C, N] in -1..1 at `rate` Hz.

    The result has round(N · output rate / rate) samples. `noise` replaces the tape of random draws.
    Raises AudioError for what is no sound.
    """
    mono = _mono(np.asarray(wave), rate)
    config = config or ConversionConfig()
    conversion = _begin(converter, config, (len(mono), rate), progress, noise)
    size = max(1, round(_BLOCK_SECONDS * rate))
    source = (mono[i : i + size] for i in range(0, len(mono), size))
    pieces = list(conversion.blocks(source))
    sound = np.concatenate(pieces)
    peak = float(np.max(np.abs(sound), initial=0.0))
    gain = _peak_gain(peak)
    result = _result(conversion, converter, gain)
    return replace(result, wave=sound * np.float32(gain) if gain < 1 else sound)


def convert_file(
    source: str | Path,
    target: str | Path,
    converter: Converter,
    config: ConversionConfig | None = None,
    progress: Progress | None = None,
    noise: Noise | None = None,
) -> ConversionResult:
    """Convert a sound file into a wav, flac, mp3 or ogg file, in constant memory.

    The target appears under its name when it is whole, and not at all after an error or a stop.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    config = config or ConversionConfig()
    check_target(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise AudioError(f"{target} is the source itself.", "Write to another name.")
    with AudioReader(source) as reader:
        conversion = _begin(
            converter, config, (reader.samples, reader.sample_rate), progress, noise
        )
        rate = conversion.timeline.output_rate
        with AudioWriter(target, rate) as writer, _spool(target) as spool:
            peak = _fill(spool, conversion.blocks(reader.blocks(_BLOCK_SECONDS)), target)
            gain = _peak_gain(peak)
            with conversion.clock("writing"):
                for block in _drain(spool):
                    conversion.progress.check()
                    writer.write(block * np.float32(gain) if gain < 1 else block)
                writer.close()
    result = _result(conversion, converter, gain)
    if writer.written_rate != rate:
        note = f"{writer.format} cannot hold {rate} Hz; written at {writer.written_rate} Hz."
        samples = resampled_length(result.samples, rate, writer.written_rate)
        result = replace(
            result,
            sample_rate=writer.written_rate,
            samples=samples,
            warnings=[*result.warnings, note],
        )
    return replace(result, source=source, target=target)


def convert_folder(
    source: str | Path,
    target: str | Path,
    converter: Converter,
    config: ConversionConfig | None = None,
    progress: Progress | None = None,
    format: str = "wav",
) -> FolderResult:
    """Convert every sound file under a folder; see `convert_each`."""

    def convert(file: Path, to: Path, shown: Progress) -> ConversionResult:
        return convert_file(file, to, converter, config, shown)

    return convert_each(source, target, convert, progress, format)


def convert_each(
    source: str | Path,
    target: str | Path,
    convert: Callable[[Path, Path, Progress], ConversionResult],
    progress: Progress | None = None,
    format: str = "wav",
) -> FolderResult:
    """Run `convert(file, target, progress)` for the sound files under a folder.

    Names and sub-folders are kept. A file that fails is listed with its reason and the rest goes
    on; a stop raises Cancelled. Raises AudioError where nothing can be done at all.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    progress = progress or SilentProgress()
    plan, skipped = plan_folder(source, target, format)
    converted: list[ConversionResult] = []
    failures: list[FileFailure] = []
    for number, (file, to) in enumerate(plan, start=1):
        progress.check()
        name = str(file.relative_to(source))
        shown = NamedProgress(progress, f"{name} ({number} of {len(plan)})")
        try:
            converted.append(convert(file, to, shown))
        except Cancelled:
            raise
        except RVCError as error:
            _log.warning("%s: %s", name, error.message)
            failures.append(FileFailure(file, error.message, error.hint))
        except (OSError, RuntimeError, ValueError) as error:
            # One file of hundreds must not end the job; the traceback goes to the log.
            _log.exception("%s failed", name)
            failures.append(FileFailure(file, f"{type(error).__name__}: {error}", ""))
    return FolderResult(source, target, converted, failures, skipped)


def _begin(
    converter: Converter,
    config: ConversionConfig,
    length: tuple[int, int],
    progress: Progress | None,
    noise: Noise | None,
) -> Conversion:
    """Check a sound's `length` (samples, rate) and make ready to convert it."""
    samples, rate = length
    if samples < MIN_SECONDS * rate:
        raise AudioError(
            f"The sound is {1000 * samples / rate:.3g} ms long; at least "
            f"{1000 * MIN_SECONDS:g} ms are needed.",
            "Give a longer recording.",
        )
    networks = converter.networks
    voice_rate = networks.voice.config.sample_rate
    return Conversion(
        networks=networks,
        config=config,
        timeline=Timeline(samples, rate, voice_rate, config.output_rate or voice_rate),
        noise=noise or NoiseTape(config.seed),
        clock=StageClock(settler(networks.device)),
        progress=progress or SilentProgress(),
        f0_track=read_f0_file(config.f0_file) if config.f0_file else None,
    )


def _result(conversion: Conversion, converter: Converter, gain: float) -> ConversionResult:
    return ConversionResult(
        sample_rate=conversion.timeline.output_rate,
        samples=conversion.timeline.written,
        stages=dict(conversion.clock.seconds),
        warnings=list(converter.warnings),
        voice=dict(converter.card),
        chunks=conversion.chunks,
        seed=getattr(conversion.noise, "seed", None),
        peak_gain=gain,
    )


def _mono(wave: np.ndarray, rate: int) -> np.ndarray:
    """Check a waveform and return it as float32 [N], the mean of its channels."""
    if not RATE_MIN <= rate <= RATE_MAX:
        raise AudioError(f"A rate of {rate} Hz is outside {RATE_MIN} to {RATE_MAX} Hz.")
    if wave.ndim not in (1, 2) or wave.size == 0:
        raise AudioError(
            f"Sound must be [samples] or [channels, samples], got {list(wave.shape)}.",
            "Give a mono or multi-channel array.",
        )
    if not np.issubdtype(wave.dtype, np.floating):
        raise AudioError(
            f"Sound must be floating-point in -1..1, got {wave.dtype}.",
            "Divide 16-bit samples by 32768.",
        )
    if wave.ndim == 2 and wave.shape[0] > wave.shape[1]:
        raise AudioError(
            f"Sound of shape {list(wave.shape)} has more channels than samples.",
            "Give [channels, samples]: transpose it.",
        )
    mono = wave if wave.ndim == 1 else wave.mean(axis=0)
    mono = np.ascontiguousarray(mono, dtype=np.float32)
    if not np.isfinite(mono).all():
        first = int(np.argmin(np.isfinite(mono)))
        raise AudioError(
            f"The sound holds samples that are not numbers, the first at {first / rate:.3f} s.",
            "Clean it first.",
        )
    return mono


def _peak_gain(peak: float) -> float:
    return 1.0 if peak <= PEAK_CEILING else PEAK_CEILING / peak


def _spool(target: Path) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=target.parent, prefix=".rvc_colab_")
    except OSError as error:
        raise _no_room(target, error) from error


def _fill(spool: IO[bytes], blocks: Iterator[np.ndarray], target: Path) -> float:
    """Write blocks as raw float32; return their peak and stand at the start again."""
    peak = 0.0
    for block in blocks:
        peak = max(peak, float(np.max(np.abs(block), initial=0.0)))
        try:
            spool.write(np.ascontiguousarray(block, dtype=np.float32).tobytes())
        except OSError as error:
            raise _no_room(target, error) from error
    spool.seek(0)
    return peak


def _drain(spool: IO[bytes]) -> Iterator[np.ndarray]:
    while data := spool.read(4 * _SPOOL_SAMPLES):
        yield np.frombuffer(data, dtype=np.float32)


def _no_room(target: Path, error: OSError) -> AudioError:
    return AudioError(
        f"The converted sound cannot be kept beside {target}: {error.strerror or error}.",
        "Free some space (4 bytes per sample), or choose another folder.",
    )
