import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_voice import (
    cents_off,
    choir,
    gross_error_rate,
    sing,
    vibrato,
)

from rvc_colab.errors import AssetError, ConfigError, MissingExtraError
from rvc_colab.features import f0

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
TONE_TOLERANCE_CENTS = 5
GROSS_ERROR_LIMIT = 0.03
LENGTHS = [0, 1, 159, 160, 799, 800, 801, 1119, 1120, 16000]


@pytest.fixture(scope="module")
def swift():
    return f0.load_f0_estimator("swift")


@pytest.fixture(scope="module")
def pyin():
    return f0.load_f0_estimator("pyin")


@pytest.fixture(scope="module")
def voices():
    return choir()


def harmonics(f0_hz, level=0.3):
    phase = 2 * np.pi * np.cumsum(f0_hz) / 16000
    wave = sum(np.sin(k * phase) / k for k in range(1, 8))
    return (level / 2 * wave).astype(np.float32)


def tone(hz, seconds=1.0, level=0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16000)) / 16000)).astype(
        np.float32
    )


@pytest.mark.parametrize("level", [0.9, 0.3, 0.02])
def test_a_220_hz_tone_is_found_within_5_cents(swift, level):
    found = swift(tone(220, level=level))[10:-10]
    assert np.all(found > 0)
    assert np.abs(1200 * np.log2(found / 220)).max() < TONE_TOLERANCE_CENTS


@pytest.mark.parametrize("hz", [70, 110, 220, 440, 600])
def test_harmonic_tones_are_found_within_10_cents(swift, hz):
    found = swift(harmonics(np.full(16000, float(hz))))[10:-10]
    assert np.all(found > 0) and abs(1200 * np.log2(np.median(found) / hz)) < 10


@pytest.mark.parametrize("level", [0.0, 1e-5, 0.003, 0.3])
def test_silence_and_noise_are_unvoiced(swift, level):
    noise = level * np.random.default_rng(0).standard_normal(32000)
    assert np.mean(swift(noise.astype(np.float32)) > 0) < 0.01


def test_gross_errors_on_known_voices_stay_below_3_percent(swift, voices):
    for voice in voices:
        found = swift(voice.wave)
        assert gross_error_rate(found, voice.f0_hz) <= GROSS_ERROR_LIMIT, voice.name


def test_no_octave_errors_on_known_voices(swift, voices):
    for voice in voices:
        assert np.mean(np.abs(cents_off(swift(voice.wave), voice.f0_hz)) > 600) < 0.005, voice.name


def test_voiced_frames_are_heard_and_pauses_are_not(swift, voices):
    for voice in voices:
        found, voiced = swift(voice.wave) > 0, voice.f0_hz > 0
        assert found[voiced].mean() > 0.95 and found[~voiced].mean() < 0.15, voice.name


def test_a_very_quiet_voice_is_still_heard(swift, voices):
    voice = voices[3]
    found = swift(voice.wave * 0.003)
    assert (found[voice.f0_hz > 0] > 0).mean() > 0.9
    assert gross_error_rate(found, voice.f0_hz) <= GROSS_ERROR_LIMIT


def test_a_step_is_seen_at_its_time(swift):
    step = np.where(np.arange(32000) < 16000, 200.0, 260.0)
    found = swift(harmonics(step))
    assert np.flatnonzero(found > 228)[0] == pytest.approx(100, abs=2)


def test_a_voice_that_begins_and_ends_is_seen_at_its_times(swift):
    x = harmonics(np.full(48000, 200.0))
    x[:16000] = x[32000:] = 0
    voiced = np.flatnonzero(swift(x) > 0)
    assert voiced[0] == pytest.approx(100, abs=3) and voiced[-1] == pytest.approx(200, abs=3)


@pytest.mark.parametrize("samples", LENGTHS)
def test_swift_gives_a_frame_per_10_ms(swift, samples):
    found = swift(tone(220)[:samples])
    assert found.shape == (samples // 160,) and found.dtype == np.float32


@pytest.mark.parametrize("samples", [0, 159, 800, 801, 1120])
def test_pyin_gives_a_frame_per_10_ms(pyin, samples):
    found = pyin(tone(220)[:samples])
    assert found.shape == (samples // 160,) and np.isfinite(found).all()


def test_pyin_stays_below_3_percent_gross_errors(pyin):
    voice = sing("woman", vibrato(220), seconds=2.0)
    assert gross_error_rate(pyin(voice.wave), voice.f0_hz) <= GROSS_ERROR_LIMIT


def test_pyin_in_stretches_gives_what_the_whole_gives(pyin, monkeypatch):
    voice = sing("woman", vibrato(220), seconds=2.0)
    whole = pyin(voice.wave)
    monkeypatch.setattr(f0.PyinEstimator, "CHUNK_FRAMES", 90)
    parts = pyin(voice.wave)
    assert parts.shape == whole.shape
    assert np.mean(np.abs(parts - whole) > 2) < 0.02


def test_auto_takes_rmvpe_when_its_weights_are_handed_in():
    weights = torch.load(GOLDEN / "rmvpe_tiny_e2e.pth", weights_only=True)
    assert f0.load_f0_estimator("auto", rmvpe_weights=weights).name == "rmvpe"


def test_auto_takes_swift_without_weights():
    assert f0.load_f0_estimator("auto").name == "swift"


def test_auto_falls_back_to_pyin_aloud(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "swift_f0", None)
    with caplog.at_level(logging.WARNING):
        estimator = f0.load_f0_estimator("auto")
    assert estimator.name == "pyin"
    assert "pyin instead" in estimator.notes[0] and "pyin instead" in caplog.text


def test_swift_missing_comes_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "swift_f0", None)
    with pytest.raises(MissingExtraError, match="swift_f0") as refused:
        f0.load_f0_estimator("swift")
    assert refused.value.hint == "Run: pip install swift-f0"


def test_rmvpe_without_weights_says_what_to_do():
    with pytest.raises(AssetError, match="needs its weights") as refused:
        f0.load_f0_estimator("rmvpe")
    assert "fetch rmvpe" in refused.value.hint


@pytest.mark.parametrize(("method", "module"), [("crepe", "torchcrepe"), ("fcpe", "torchfcpe")])
def test_a_missing_package_comes_with_its_command(monkeypatch, method, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=module) as refused:
        f0.load_f0_estimator(method)
    assert f'pip install "rvc_colab[{method}]"' in refused.value.hint


def test_a_package_that_does_not_load_is_named(monkeypatch, tmp_path):
    (tmp_path / "torchfcpe.py").write_text("raise OSError('built for another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchfcpe", raising=False)
    with pytest.raises(ConfigError, match="torchfcpe is installed but does not load"):
        f0.load_f0_estimator("fcpe")


@pytest.mark.parametrize("method", ["crepe", "fcpe"])
def test_optional_estimators_find_a_tone_where_installed(method):
    pytest.importorskip(f"torch{method}")
    found = f0.estimate_f0(harmonics(np.full(8000, 220.0)), method)
    assert len(found) == 50
    assert abs(1200 * np.log2(np.median(found[found > 0]) / 220)) < 20


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(ConfigError, match="'dio'") as refused:
        f0.load_f0_estimator("dio")
    assert "swift" in refused.value.hint


def test_an_upside_down_range_is_refused():
    with pytest.raises(ConfigError, match="500 to 100 Hz"):
        f0.load_f0_estimator("swift", f0_range=(500, 100))


def test_the_range_is_kept():
    found = f0.estimate_f0(harmonics(np.full(16000, 300.0)), "swift", f0_min=50, f0_max=200)
    assert found.max() <= 200
