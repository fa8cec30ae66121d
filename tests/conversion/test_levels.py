from __future__ import annotations

import numpy as np
import pytest
from stand_ins import speech_like

from rvc_colab.audio.filters import envelope, envelope_mix
from rvc_colab.conversion.levels import EnvelopeStream, LevelMeter


@pytest.mark.parametrize("samples", [1, 7999, 8000, 8001, 100003])
@pytest.mark.parametrize("piece", [777, 8000, 50000])
def test_levels_of_pieces_are_the_levels_of_the_whole(samples: int, piece: int) -> None:
    wave = speech_like(7)[:samples]
    meter = LevelMeter(16000, len(wave))
    for i in range(0, len(wave), piece):
        meter.push(wave[i : i + piece])
    np.testing.assert_allclose(meter.levels, envelope(wave, 16000), rtol=1e-12)


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("seconds", [0.05, 0.5, 7.3])
def test_the_mix_in_pieces_is_the_mix_of_the_whole(mix: float, seconds: float) -> None:
    source = speech_like(seconds)
    target = 0.3 * np.random.default_rng(1).standard_normal(int(seconds * 40000))
    target = target.astype(np.float32)
    stream = EnvelopeStream(len(source), len(target), 40000, mix)
    pieces = []
    for second in np.arange(0, seconds, 0.7):
        stream.hear(source[round(second * 16000) : round((second + 0.7) * 16000)])
        stretch = slice(round(second * 40000), round((second + 0.7) * 40000))
        pieces.append(stream.process(target[stretch]))
    joined = np.concatenate(pieces)
    assert len(joined) == len(target)
    np.testing.assert_allclose(joined, envelope_mix(source, target, 40000, mix), atol=1e-6)


def test_only_a_few_seconds_wait_for_their_level() -> None:
    stream = EnvelopeStream(16000 * 3600, 40000 * 3600, 40000, 0.25)
    second, voiced, given = np.ones(16000, np.float32), np.ones(40000, np.float32), 0
    for number in range(60):
        stream.hear(second)
        given += len(stream.process(voiced))
        assert (number + 1) * 40000 - given <= 2.5 * 40000


def test_silence_stays_silent() -> None:
    stream = EnvelopeStream(16000, 40000, 40000, 0.25)
    stream.hear(np.zeros(16000, np.float32))
    assert not stream.process(np.full(40000, 0.1, np.float32)).any()
