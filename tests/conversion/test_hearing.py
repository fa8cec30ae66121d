from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from stand_ins import speech_like

from rvc_colab.audio.filters import highpass_zero_phase, resample
from rvc_colab.conversion.hearing import device_highpass, filter_stream, hear

# Rounding of float32 sound is 6e-8; the filter's memory of what lies outside is below that.
STREAM_TOLERANCE = 1e-6
DEVICE_TOLERANCE = 1e-5
SECONDS = 33.333


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return speech_like(SECONDS) + np.float32(0.1)


def _blocks(wave: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (wave[i : i + size] for i in range(0, len(wave), size))


@pytest.mark.parametrize("size", [999, 160000])
def test_filtering_in_blocks_is_filtering_the_whole(wave: np.ndarray, size: int) -> None:
    streamed = np.concatenate(list(filter_stream(_blocks(wave, size), len(wave))))
    assert np.abs(streamed - highpass_zero_phase(wave)).max() <= STREAM_TOLERANCE


@pytest.mark.parametrize("samples", [1, 2, 18, 19, 800, 16000, 533328])
def test_the_filter_on_a_device_is_the_filter_on_the_cpu(wave: np.ndarray, samples: int) -> None:
    x = wave[:samples]
    assert np.abs(device_highpass("cpu")(x) - highpass_zero_phase(x)).max() <= DEVICE_TOLERANCE


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
def test_any_rate_is_heard_at_16_khz_in_its_whole_length(rate: int) -> None:
    wave = speech_like(12.3456, rate)
    total = (2 * len(wave) * 16000 + rate) // (2 * rate)
    heard = np.concatenate(list(hear(_blocks(wave, 40000), rate, total)))
    assert len(heard) == total
    whole = highpass_zero_phase(resample(wave, rate, 16000))
    assert np.abs(heard - whole).max() <= 1e-4  # soxr: a stream differs from the whole by 1e-5
