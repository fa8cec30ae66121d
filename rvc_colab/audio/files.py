"""Read and write sound files in a stream: memory does not grow with their length.

Read: wav, flac, mp3, ogg, opus, aiff (libsndfile), and what PyAV or ffmpeg decode where present.
Write: wav, flac, mp3, ogg, under a temporary name until the file is whole.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rvc_colab.audio.decoders import decode_to, describe_impostor
from rvc_colab.audio.filters import StreamResampler, resample, to_int16
from rvc_colab.errors import AudioError
from rvc_colab.workspace import write_atomically

# Sample rates outside are a damaged header rather than a recording.
RATE_MIN, RATE_MAX = 1000, 768000
CHANNELS_MAX = 64
# libsndfile's vorbis encoder overflows its stack on very large writes.
_WRITE_FRAMES = 65536
_READ_FRAMES = 1 << 18
# Streamed wavs carry this or more as "length unknown"; it is no promise that can be broken.
_UNKNOWN_LENGTH = 0x7FFFF000
# mp3 headers may promise a little more than decodes (encoder delay): filled up with silence.
_FORGIVEN_SECONDS = 0.2
_SUBTYPES = {
    "wav": {"pcm16": "PCM_16", "pcm24": "PCM_24", "float": "FLOAT"},
    "flac": {"pcm16": "PCM_16", "pcm24": "PCM_24"},
    "mp3": {"lossy": "MPEG_LAYER_III"},
    "ogg": {"lossy": "VORBIS"},
}
WRITABLE_FORMATS = tuple(_SUBTYPES)
# MPEG 1, 2 and 2.5 know these rates only; a 40 kHz voice is written at the next higher one.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file holds: rate in Hz, samples per channel, seconds, and its format."""

    sample_rate: int
    channels: int
    samples: int
    seconds: float
    format: str


def probe(path: str | Path) -> AudioInfo:
    """Tell what a sound file holds without keeping its samples. Raises AudioError."""
    with AudioReader(path) as reader:
        seconds = reader.samples / reader.sample_rate
        return AudioInfo(
            reader.sample_rate, reader.channels, reader.samples, seconds, reader.format
        )


def read(
    path: str | Path, sample_rate: int | None = None, mono: bool = True
) -> tuple[np.ndarray, int]:
    """Read a whole file: (float32 samples, rate in Hz).

    `[N]` as the mean of the channels, or `[N, channels]` with mono=False; at `sample_rate` where
    one is given. Raises AudioError.
    """
    with AudioReader(path, mono=mono) as reader:
        pieces = list(reader.blocks(_READ_FRAMES / reader.sample_rate))
        rate = sample_rate or reader.sample_rate
        return resample(np.concatenate(pieces), reader.sample_rate, rate), rate


class AudioReader:
    """Stream the samples of a sound file: float32, mono unless told otherwise.

    Attributes: `sample_rate` Hz, `channels` in the file, `samples` per channel (exactly as many
    are handed out), `format`, `decoder`. Raises AudioError for what is no readable sound, also
    while reading, when a sample is not a number or the file ends too early.
    """

    def __init__(self, path: str | Path, mono: bool = True) -> None:
        self.path, self.mono = Path(path), mono
        check_source(self.path)
        self._stack = ExitStack()
        try:
            self._file = self._stack.enter_context(self._open())
            self._check_header()
        except BaseException:
            self._stack.close()
            raise
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.samples: int = self._file.frames
        self._position = 0

    def _open(self) -> Any:
        import soundfile

        self.decoder = "libsndfile"
        try:
            opened = soundfile.SoundFile(_native(self.path))
            self.format = str(opened.format).lower()
            return opened
        except (soundfile.SoundFileError, TypeError) as error:
            if impostor := describe_impostor(self.path):
                raise AudioError(
                    f"{self.path.name} is not sound: it looks like {impostor}.",
                    "Give a sound file: wav, flac, mp3 or ogg.",
                ) from error
            if damage := _wav_damage(self.path):
                raise _truncated(self.path, damage) from error
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rvc_colab_"))
        decoded = Path(folder) / "decoded.wav"
        self.decoder = decode_to(self.path, decoded)
        self.format = self.path.suffix.lower().removeprefix(".") or "unknown"
        return soundfile.SoundFile(str(decoded))

    def _check_header(self) -> None:
        name, file = self.path.name, self._file
        if not RATE_MIN <= file.samplerate <= RATE_MAX:
            raise AudioError(
                f"{name} claims {file.samplerate} samples a second; {RATE_MIN} to {RATE_MAX} is "
                "possible.",
                "Its header is damaged: save it again from a sound editor.",
            )
        if not 1 <= file.channels <= CHANNELS_MAX:
            raise AudioError(
                f"{name} claims {file.channels} channels; at most {CHANNELS_MAX} are read.",
                "Save it again as mono or stereo.",
            )
        promised = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if promised and int(promised[2]) < int(promised[1]) < _UNKNOWN_LENGTH:
            raise _truncated(
                self.path, f"{promised[2]} of {promised[1]} bytes of its sound are there"
            )
        if file.frames <= 0:
            raise AudioError(f"{name} holds no samples.", "Record or export it again.")

    def read(self, n: int) -> np.ndarray:
        """Return the next `n` samples, fewer at the end, then none. `[n]` or `[n, channels]`."""
        import soundfile

        n = min(n, self.samples - self._position)
        if n <= 0:
            return np.zeros(0 if self.mono else (0, self.channels), dtype=np.float32)
        try:
            block = self._file.read(n, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise _truncated(self.path, f"it breaks off near {self._clock()}") from error
        if len(block) < n:
            missing = self.samples - self._position - len(block)
            if missing > _FORGIVEN_SECONDS * self.sample_rate or self._position + len(block) == 0:
                total = self.samples / self.sample_rate
                self._position += len(block)
                raise _truncated(self.path, f"it ends at {self._clock()} of {total:.2f} s")
            block = np.pad(block, [(0, n - len(block)), (0, 0)])
        self._check_numbers(block)
        self._position += n
        if not self.mono:
            return block
        return block[:, 0] if self.channels == 1 else block.mean(axis=1, dtype=np.float32)

    def _check_numbers(self, block: np.ndarray) -> None:
        fine = np.isfinite(block).all(axis=1)
        if fine.all():
            return
        at = (self._position + int(np.argmin(fine))) / self.sample_rate
        raise AudioError(
            f"{self.path.name} holds samples that are not numbers (NaN or infinite), the first "
            f"at {at:.3f} s.",
            "Export it again from a sound editor as 16-bit wav.",
        )

    def _clock(self) -> str:
        return f"{self._position / self.sample_rate:.2f} s"

    def blocks(self, seconds: float = 10.0) -> Iterator[np.ndarray]:
        """Yield the rest of the file in blocks of `seconds` (the last one is shorter)."""
        size = max(1, round(seconds * self.sample_rate))
        while len(block := self.read(size)):
            yield block

    def close(self) -> None:
        """Close the file and remove what was decoded on the side."""
        self._stack.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _native(path: Path) -> str | bytes:
    """Name a file so that libsndfile takes any name the system has, also one that is no text."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def check_source(path: Path) -> None:
    """Refuse what cannot be a sound file before anything is decoded. Raises AudioError."""
    try:
        if path.is_dir():
            raise AudioError(f"{path} is a folder, not a sound file.", "Name a file inside it.")
        if not path.exists():
            raise AudioError(f"{path} does not exist.", "Check the name and the folder.")
        if not path.is_file():
            raise AudioError(f"{path} is not a regular file.", "Save the sound to a file first.")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise AudioError(
            f"{path} cannot be read: {error}.", "Check the name and the rights."
        ) from error
    if size == 0:
        raise AudioError(f"{path.name} is empty (0 bytes).", "Record, export or fetch it again.")


def _wav_damage(path: Path) -> str:
    """Say what a wav that libsndfile refuses lacks; empty when it is no broken wav."""
    with path.open("rb") as handle:
        head = handle.read(4096)
    if head[:4] in (b"RIFF", b"RF64", b"fLaC", b"OggS") and len(head) < 128:
        return f"its header breaks off after {len(head)} bytes"
    if head[:4] == b"RIFF" and b"data" not in head and len(head) < 4096:
        return "its header has no sound after it"
    return ""


def _truncated(path: Path, why: str) -> AudioError:
    return AudioError(
        f"{path.name} is cut off or damaged: {why}.",
        "Fetch or export it again; a sound editor can often save what is left.",
    )


def check_target(path: str | Path, subtype: str = "") -> tuple[str, str]:
    """Return (format, subtype) for a file to write, from its suffix. Raises AudioError."""
    path = Path(path)
    format_ = path.suffix.lower().removeprefix(".")
    if format_ not in _SUBTYPES:
        found = f"the format {path.suffix!r}" if path.suffix else "no format"
        raise AudioError(
            f"{path.name or path} names {found}, which cannot be written.",
            f"Name a file that ends in {', '.join('.' + known for known in _SUBTYPES)}.",
        )
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            raise AudioError(f"{path} is a folder.", "Name a file inside it.")
    except FileNotFoundError:
        pass  # the usual case: it is made
    except (OSError, ValueError) as error:  # a name too long, a null character, no right to look
        raise _unwritable(path, error) from error
    known = _SUBTYPES[format_]
    chosen = subtype or next(iter(known))
    if chosen not in known:
        raise AudioError(
            f"{format_} cannot hold {subtype!r} samples.", f"Choose one of {', '.join(known)}."
        )
    return format_, chosen


class AudioWriter:
    """Stream mono (or `channels`) samples into wav, flac, mp3 or ogg.

    `subtype`: pcm16 (default), pcm24, float (wav); pcm16, pcm24 (flac); lossy (mp3, ogg). The
    file appears under its name when `close` has synced it; after an error or `discard` nothing is
    left. mp3 knows few rates: `written_rate` is the one in the file.
    """

    def __init__(
        self, path: str | Path, sample_rate: int, *, subtype: str = "", channels: int = 1
    ) -> None:
        import soundfile

        self.path, self.sample_rate, self.channels = Path(path), int(sample_rate), channels
        self.samples = 0
        self.format, self.subtype = check_target(self.path, subtype)
        self.written_rate = _nearest_mp3_rate(sample_rate) if self.format == "mp3" else sample_rate
        self._resamplers = [
            StreamResampler(self.sample_rate, self.written_rate)
            for _ in range(channels if self.written_rate != sample_rate else 0)
        ]
        self._stack = ExitStack()
        try:
            temporary = self._stack.enter_context(write_atomically(self.path))
            temporary.touch()  # the system names its reason, libsndfile would not
            self._file = soundfile.SoundFile(
                _native(temporary),
                "w",
                self.written_rate,
                channels,
                subtype=_SUBTYPES[self.format][self.subtype],
                format=self.format.upper(),
            )
        except (OSError, soundfile.SoundFileError) as error:
            self._unwind(error)
            raise _unwritable(self.path, error) from error
        self._open = True

    def write(self, block: np.ndarray) -> None:
        """Append float samples in -1..1: `[n]` or `[n, channels]`. Integers formats round."""
        import soundfile

        block = np.asarray(block, dtype=np.float32).reshape(-1, self.channels)
        if not np.isfinite(block).all():
            raise AudioError(
                f"The sound for {self.path.name} holds samples that are not numbers.",
                "Use 32-bit precision (--precision fp32) or check the input.",
            )
        self.samples += len(block)
        if self._resamplers:
            columns = [r.process(block[:, i]) for i, r in enumerate(self._resamplers)]
            block = np.stack(columns, axis=1)
        try:
            self._put(block)
        except (OSError, soundfile.SoundFileError) as error:
            raise _unwritable(self.path, error) from error

    def _put(self, block: np.ndarray) -> None:
        for first in range(0, len(block), _WRITE_FRAMES):
            part = block[first : first + _WRITE_FRAMES]
            if self.subtype == "pcm16":
                self._file.write(to_int16(part))
            elif self.subtype == "pcm24":
                wide = np.clip(np.rint(part.astype(np.float64) * 2**23), -(2**23), 2**23 - 1)
                self._file.write(wide.astype(np.int32) << 8)
            else:
                self._file.write(part if self.subtype == "float" else np.clip(part, -1, 1))

    def close(self) -> None:
        """Finish the file, sync it to the disk and give it its name."""
        import soundfile

        if not self._open:
            return
        self._open = False
        try:
            if self._resamplers:
                self._put(np.stack([r.finish() for r in self._resamplers], axis=1))
            self._file.close()
            self._stack.close()
        except (OSError, soundfile.SoundFileError) as error:
            self._unwind(error)
            raise _unwritable(self.path, error) from error

    def discard(self) -> None:
        """Drop what was written; no file appears."""
        if self._open:
            self._open = False
            self._file.close()
            self._unwind(AudioError("discarded"))

    def _unwind(self, error: BaseException) -> None:
        """Leave `write_atomically` by its error path, so that it removes the temporary file."""
        try:
            self._stack.__exit__(type(error), error, error.__traceback__)
        except type(error):
            pass

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _nearest_mp3_rate(rate: int) -> int:
    """Return the lowest mp3 rate that holds all of the sound."""
    return next((known for known in _MP3_RATES if known >= rate), _MP3_RATES[-1])


def _unwritable(path: Path, error: Exception) -> AudioError:
    why = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    if str(why).startswith("System error"):  # libsndfile's word when the disk takes no more
        why = "the disk refused it"
    return AudioError(
        f"{path} cannot be written: {str(why).rstrip('.')}.",
        "Check the folder, its rights and the free space, or choose wav.",
    )
