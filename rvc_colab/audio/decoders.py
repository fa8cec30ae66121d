"""Know a file by its first bytes, and decode what libsndfile cannot (m4a, webm, mp4, aac…).

PyAV and the ffmpeg program are used where present. Both stream into a temporary file (W64 or RF64:
wav without its 4 GB limit), so that memory stays constant and the rest reads one kind of file.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from rvc_colab.errors import AudioError

# What people hand in by accident, by first bytes: the classic one is an error page saved as sound.
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (voices and .pth files look like this)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"IwFl", "a faiss index"),
    (b"IxF2", "a faiss index"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
)
_FFMPEG_CHECK_SECONDS = 0.5


def describe_impostor(path: Path) -> str:
    """Say what a file that cannot be sound looks like; empty when its first bytes allow sound."""
    with path.open("rb") as handle:
        head = handle.read(1024)
    for signature, words in _SIGNATURES:
        if head.startswith(signature):
            return words
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page (a download that ended on an error page?)"
    if head and not head.strip(b"\0"):
        return "nothing but zero bytes (a download that never finished?)"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in head)
    if head and printable == len(head) and not head.startswith((b"RIFF", b"OggS", b"fLaC", b"ID3")):
        return "a text file"
    return ""


def decode_to(path: Path, target: Path, check: Callable[[], None] = lambda: None) -> str:
    """Decode the first sound track of `path` into the large wav `target`; returns who did it.

    Raises AudioError when no further decoder is installed or when the file cannot be decoded.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        pass
    else:
        _decode_with_av(path, target, check)
        return "PyAV"
    if program := shutil.which("ffmpeg"):
        _decode_with_ffmpeg(program, path, target, check)
        return "ffmpeg"
    raise AudioError(
        f"{path.name} is not wav, flac, mp3 or ogg, and no further decoder is installed.",
        "Install ffmpeg, or run: pip install av. Or save the sound as wav.",
    )


def _decode_with_av(path: Path, target: Path, check: Callable[[], None]) -> None:
    import av
    import soundfile

    try:
        with av.open(str(path)) as container, ExitStack() as stack:
            if not container.streams.audio:
                raise _undecodable(path, "it holds no sound track")
            writer = None
            for samples, rate in _av_blocks(container):
                check()
                if writer is None:
                    channels = samples.shape[1]
                    opened = soundfile.SoundFile(
                        str(target), "w", rate, channels, subtype="FLOAT", format="W64"
                    )
                    writer = stack.enter_context(opened)
                writer.write(samples)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _undecodable(path, str(error)) from error
    if not target.exists():
        raise _undecodable(path, "its sound track holds no samples")


def _av_blocks(container: Any) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (float32 `[n, channels]`, rate) of the first sound track.

    The frames are asked for rate and layout: the header is wrong about both for some AAC files.
    """
    import av

    resampler = None
    for frame in container.decode(container.streams.audio[0]):
        if resampler is None:
            channels, rate = len(frame.layout.channels), frame.sample_rate
            resampler = av.AudioResampler("flt", frame.layout, rate)
        for ready in resampler.resample(frame):
            yield ready.to_ndarray().reshape(-1, channels), rate
    if resampler is not None:
        for ready in resampler.resample(None):
            yield ready.to_ndarray().reshape(-1, channels), rate


def _decode_with_ffmpeg(program: str, path: Path, target: Path, check: Callable[[], None]) -> None:
    command = [program, "-nostdin", "-v", "error", "-y"]
    # Playlists could otherwise make it fetch from the network.
    command += ["-protocol_whitelist", "file", "-i", f"file:{path.absolute()}"]
    command += [
        "-map",
        "0:a:0",
        "-vn",
        "-c:a",
        "pcm_f32le",
        "-rf64",
        "auto",
        "-f",
        "wav",
        f"file:{target}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            while True:
                check()
                try:
                    _, words = process.communicate(timeout=_FFMPEG_CHECK_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        lines = words.decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"ffmpeg ended with code {process.returncode}"
        if any("matches no streams" in line for line in lines):
            said = "it holds no sound track"
        raise _undecodable(path, said.removeprefix(f"file:{path.absolute()}: "))


def _undecodable(path: Path, why: str) -> AudioError:
    return AudioError(
        f"{path.name} cannot be decoded as sound: {why}.",
        "Check that it plays in a sound player, or save it again as wav.",
    )
