from pathlib import Path

import numpy as np
import pytest

from rvc_colab.audio import filters
from rvc_colab.errors import AudioError

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
# The direct form amplifies rounding: builds of scipy with and without FMA differ by 3e-8 (-150 dB).
HIGHPASS_TOLERANCE = 1e-7
ENVELOPE_TOLERANCE = 1e-6
STREAM_TOLERANCE = 1e-6
MARGIN_TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def highpass():
    return np.load(GOLDEN / "highpass.npz")


@pytest.fixture(scope="module")
def levels():
    return np.load(GOLDEN / "rms_mix.npz")


def test_the_highpass_is_the_published_one(highpass):
    b, a = filters.highpass_coefficients(16000)
    np.testing.assert_allclose(b, highpass["b"], rtol=1e-12)
    np.testing.assert_allclose(a, highpass["a"], rtol=1e-12)


def test_zero_phase_matches_the_golden(highpass):
    y = filters.highpass_zero_phase(highpass["x"])
    np.testing.assert_allclose(y, highpass["y"], atol=HIGHPASS_TOLERANCE)


def test_zero_phase_of_31_samples_matches_the_golden(highpass):
    y = filters.highpass_zero_phase(highpass["x"][:31])
    np.testing.assert_allclose(y, highpass["y_short31"], atol=HIGHPASS_TOLERANCE)


@pytest.mark.parametrize("samples", [0, 1, 2, 18, 19, 31])
def test_zero_phase_takes_any_length(samples):
    y = filters.highpass_zero_phase(np.ones(samples, dtype=np.float32))
    assert len(y) == samples and np.isfinite(y).all()


def test_a_stretch_with_its_margin_filters_like_the_whole(highpass):
    x = np.tile(highpass["x"], 2)
    margin = int(filters.HIGHPASS_SETTLE_SECONDS * 16000)
    whole = filters.highpass_zero_phase(x)
    part = filters.highpass_zero_phase(x[8000 - margin : 14000 + margin])
    np.testing.assert_allclose(part[margin:-margin], whole[8000:14000], atol=MARGIN_TOLERANCE)


@pytest.mark.parametrize("samples", [1, 31, 799, 44100, 48001])
@pytest.mark.parametrize("rates", [(44100, 16000), (8000, 48000), (192000, 16000), (16000, 40000)])
def test_resampling_has_the_exact_length(samples, rates):
    x = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    y = filters.resample(x, *rates)
    assert len(y) == int(np.floor(samples * rates[1] / rates[0] + 0.5))
    assert y.dtype == np.float32 and np.isfinite(y).all()


def test_resampling_keeps_a_tone():
    t = np.arange(48000) / 48000
    y = filters.resample(np.sin(2 * np.pi * 440 * t), 48000, 16000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(y[500:-500], expected[500:-500], atol=1e-4)


@pytest.mark.parametrize("rates", [(44100, 16000), (16000, 40000), (48000, 48000)])
@pytest.mark.parametrize("total", [1, 50, 30011])
def test_the_stream_equals_the_single_pass(rates, total):
    x = np.random.default_rng(1).standard_normal(total).astype(np.float32) * 0.1
    stream = filters.StreamResampler(*rates)
    pieces = [stream.process(x[i : i + 4099]) for i in range(0, total, 4099)] + [stream.finish()]
    y = np.concatenate(pieces)
    np.testing.assert_allclose(y, filters.resample(x, *rates), atol=STREAM_TOLERANCE)


@pytest.mark.parametrize("mix", [0.0, 0.25])
def test_envelope_mix_matches_the_golden(levels, mix):
    y = filters.envelope_mix(levels["src16"], levels["tgt40"], 40000, mix)
    np.testing.assert_allclose(y, levels[f"mixed_rate_{mix}"], atol=ENVELOPE_TOLERANCE)


def test_levels_applied_in_pieces_equal_the_whole(levels):
    target = levels["tgt40"]
    known = filters.envelope(levels["src16"], 16000), filters.envelope(target, 40000)
    pieces = [
        filters.apply_envelopes(target[i : i + 7000], *known, 0.25, first=i, total=len(target))
        for i in range(0, len(target), 7000)
    ]
    whole = filters.envelope_mix(levels["src16"], target, 40000, 0.25)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("samples", [1, 50, 8000])
def test_envelope_mix_of_silence_is_silent(samples):
    silence = np.zeros(samples, dtype=np.float32)
    y = filters.envelope_mix(silence, silence, 16000, 0.0)
    assert len(y) == samples and not y.any()


def test_the_peak_guard_holds_the_ceiling():
    y = filters.peak_guard(np.array([0.5, -2.0], dtype=np.float32))
    np.testing.assert_allclose(y, [0.2475, -0.99], rtol=1e-6)


def test_the_peak_guard_leaves_quiet_sound_alone():
    x = np.array([0.5, -0.9], dtype=np.float32)
    assert filters.peak_guard(x) is x


def test_the_peak_guard_refuses_nan():
    with pytest.raises(AudioError, match="not numbers"):
        filters.peak_guard(np.array([0.1, np.nan], dtype=np.float32))


def test_int16_rounds_and_holds():
    x = np.array([0.6 / 32768, -0.6 / 32768, 1.0, -1.5])
    assert filters.to_int16(x).tolist() == [1, -1, 32767, -32768]


def test_envelope_mix_of_one_keeps_the_sound(levels):
    target = levels["tgt40"]
    np.testing.assert_array_equal(filters.envelope_mix(levels["src16"], target, 40000, 1.0), target)
