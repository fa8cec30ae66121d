from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from stand_ins import speech_like

from rvc_colab.conversion.chunking import (
    FADE_FRAMES,
    GRID_FRAMES,
    Chunk,
    Stitcher,
    Timeline,
    plan_chunks,
)

SECONDS = 31.237


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return speech_like(SECONDS)


def _blocks(wave: np.ndarray, size: int = 7001) -> Iterator[np.ndarray]:
    return (wave[i : i + size] for i in range(0, len(wave), size))


def _plan(wave: np.ndarray, chunk: float = 5.0, context: float = 1.0) -> list[Chunk]:
    return list(
        plan_chunks(_blocks(wave), Timeline(len(wave), 16000, 40000, 40000), chunk, context)
    )


def test_chunks_cover_every_frame_once(wave: np.ndarray) -> None:
    chunks = _plan(wave)
    assert [c.first for c in chunks] == [0, *[c.last for c in chunks[:-1]]]
    assert chunks[-1].last == -(-len(wave) // 160)
    assert [c.is_last for c in chunks] == [False] * (len(chunks) - 1) + [True]


def test_no_chunk_is_longer_than_asked_nor_a_scrap(wave: np.ndarray) -> None:
    lengths = [c.last - c.first for c in _plan(wave)]
    assert max(lengths) <= 500
    assert min(lengths) >= 125


@pytest.mark.parametrize("chunk", [2.0, 3.3, 18.0])
def test_cuts_lie_on_the_grid_of_the_content(wave: np.ndarray, chunk: float) -> None:
    assert all(
        c.first % GRID_FRAMES == 0 and c.begin % GRID_FRAMES == 0 for c in _plan(wave, chunk)
    )


def test_cuts_are_quiet(wave: np.ndarray) -> None:
    def level(frame: int) -> float:
        return float(np.abs(wave[frame * 160 - 160 : frame * 160 + 160]).mean())

    cuts = [level(c.first) for c in _plan(wave)[1:]]
    assert max(cuts) < 0.2 * np.mean([level(f) for f in range(10, 3000, 10)])


def test_the_context_is_the_real_sound(wave: np.ndarray) -> None:
    for chunk in _plan(wave)[1:-1]:
        start = chunk.begin * 160
        np.testing.assert_array_equal(chunk.stretch, wave[start : start + len(chunk.stretch)])


def test_the_networks_meet_few_different_lengths() -> None:
    chunks = _plan(speech_like(300))
    assert len({c.last - c.first for c in chunks}) > 5
    inner = [c for c in chunks if not c.is_last]
    assert len({len(c.stretch) for c in inner}) <= 4
    assert len({c.decoded(10**6)[1] - c.decoded(10**6)[0] for c in inner}) <= 4
    assert all(c.decoded(10**6)[1] >= c.keep[1] for c in chunks)


def test_both_ends_of_the_file_are_mirrored(wave: np.ndarray) -> None:
    chunks = _plan(wave)
    np.testing.assert_array_equal(chunks[0].stretch[:16000], wave[16000:0:-1])
    last = chunks[-1]
    inside = len(wave) - last.begin * 160
    np.testing.assert_array_equal(last.stretch[inside : inside + 8000], wave[-2:-8002:-1])


@pytest.mark.parametrize("samples", [1, 2, 160, 800, 16001])
def test_sound_shorter_than_its_context_is_mirrored_again_and_again(samples: int) -> None:
    wave = np.linspace(-1, 1, samples, dtype=np.float32)
    (chunk,) = _plan(wave)
    assert len(chunk.stretch) >= 32000 + samples
    assert set(chunk.stretch.tolist()) <= set(wave.tolist())


def test_the_plan_reads_no_more_than_a_chunk_ahead(wave: np.ndarray) -> None:
    read = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal read
        for block in _blocks(wave, 1600):
            read += len(block)
            yield block

    chunks = plan_chunks(counted(), Timeline(len(wave), 16000, 40000, 40000), 5.0, 1.0)
    for chunk in chunks:
        assert read <= chunk.first * 160 + 6 * 16000 + 1600


@pytest.mark.parametrize("hop", [160, 320, 400, 480])
def test_chunk_and_stitch_of_the_identity_is_the_identity(wave: np.ndarray, hop: int) -> None:
    sound = np.repeat(wave.reshape(-1), hop // 80)[::2]  # any sound at the voice's rate
    stitcher, pieces = Stitcher(hop), []
    padded = np.pad(sound, (0, hop))
    for chunk in _plan(wave):
        first, last = chunk.keep
        low = (chunk.begin + first) * hop
        pieces.append(stitcher.push(chunk, padded[low : (chunk.begin + last) * hop]))
    joined = np.concatenate(pieces)
    np.testing.assert_array_equal(joined[: len(sound)], sound[: len(joined)])
    assert len(joined) >= len(sound) - hop


def test_chunks_that_disagree_fade_within_the_overlap() -> None:
    hop, edge = 160, FADE_FRAMES * 160
    stretch = np.zeros(0, dtype=np.float32)
    one = Chunk(0, 0, 100, -10, stretch, False)
    two = Chunk(1, 100, 200, 90, stretch, True)
    stitcher = Stitcher(hop)
    size = [c.keep[1] - c.keep[0] for c in (one, two)]
    joined = np.concatenate(
        [
            stitcher.push(one, np.zeros(size[0] * hop, dtype=np.float32)),
            stitcher.push(two, np.ones(size[1] * hop, dtype=np.float32)),
        ]
    )
    assert len(joined) == 200 * hop
    assert not joined[: 100 * hop - edge].any() and (joined[100 * hop + edge :] == 1).all()
    assert np.abs(np.diff(joined)).max() <= 1.01 / (2 * edge)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 192000])
@pytest.mark.parametrize("samples", [600, 12345, 10**8 + 7])
def test_one_timeline_serves_every_rate(rate: int, samples: int) -> None:
    line = Timeline(samples, rate, 40000, 48000)
    seconds = samples / rate
    for count, at in ((line.heard, 16000), (line.voiced, 40000), (line.written, 48000)):
        assert abs(count - seconds * at) <= 0.5 + 1e-6
    assert line.frames * 160 >= line.heard and line.frames * line.hop >= line.voiced
    assert (line.frames - 1) * 160 < line.heard or (line.frames - 1) * line.hop < line.voiced
