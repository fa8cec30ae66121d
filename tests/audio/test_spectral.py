from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.audio import spectral
from rvc_colab.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "training" / "a_mel.npz"
SPEC_TOLERANCE = 2e-5
MEL_TOLERANCE = 3e-4  # in the quietest bands, where fp32 FFTs differ
MEL_TOLERANCE_TYPICAL = 1e-5
FILTER_TOLERANCE = 1e-6
RATES = [32000, 40000, 48000]


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN)


def sound(golden, rate):
    return torch.from_numpy(golden[f"{rate // 1000}k_wave_i16"].astype(np.float32) / 32768)[None]


@pytest.mark.parametrize("rate", RATES)
def test_the_spectrogram_matches_the_golden(golden, rate):
    spec = spectral.linear_spectrogram(sound(golden, rate), spectral.spectrogram_config(rate))
    key = f"{rate // 1000}k"
    assert spec.shape == (1, spectral.spectrogram_config(rate).bins, 200)
    at = spec[0][:, golden[f"{key}_spec_frames"]]
    np.testing.assert_allclose(at, golden[f"{key}_spec_classic_at"], atol=SPEC_TOLERANCE)


@pytest.mark.parametrize("rate", RATES)
def test_the_log_mel_matches_the_golden(golden, rate):
    mel = spectral.log_mel_from_wave(sound(golden, rate), spectral.spectrogram_config(rate))
    expected = golden[f"{rate // 1000}k_mel_classic"]
    np.testing.assert_allclose(mel[0], expected, atol=MEL_TOLERANCE)
    assert np.median(np.abs(mel[0] - expected)) < MEL_TOLERANCE_TYPICAL


@pytest.mark.parametrize("rate", RATES)
def test_the_filterbank_matches_the_golden(golden, rate):
    bank = spectral.mel_filterbank(spectral.spectrogram_config(rate))
    rows = [0, 1, len(bank) // 2, len(bank) - 1]
    np.testing.assert_allclose(
        bank[rows], golden[f"{rate // 1000}k_fb_sample_rows"], atol=FILTER_TOLERANCE
    )


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 431, 432, 433, 1600])
def test_frames_are_samples_over_hop_for_any_length(samples):
    config = spectral.spectrogram_config(16000)
    spec = spectral.linear_spectrogram(torch.zeros(2, samples), config)
    assert spec.shape == (2, 513, samples // 160) and bool(torch.isfinite(spec).all())


def test_every_band_of_every_rate_hears_something():
    for rate in (16000, *RATES):
        assert spectral.mel_filterbank(spectral.spectrogram_config(rate)).sum(axis=1).min() > 0


def test_silence_lies_at_the_classic_floor():
    config = spectral.spectrogram_config(32000)
    spec = spectral.linear_spectrogram(torch.zeros(1, 3200), config)
    assert spec.max().item() == pytest.approx(1e-3, rel=1e-5)


def test_an_unknown_rate_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="44100") as refused:
        spectral.spectrogram_config(44100)
    assert "16000, 32000, 40000, 48000" in refused.value.hint


def test_bins_agree_with_the_voices_own_configuration():
    from rvc_colab.models.architecture import SynthesizerConfig

    for rate in (16000, *RATES):
        for version in ("v1", "v2"):
            bins = SynthesizerConfig.standard(rate, version).spec_channels
            assert spectral.spectrogram_config(rate, version).bins == bins


def test_one_mel_scale_is_the_published_one_and_more_are_added_to_it():
    config = spectral.spectrogram_config(40000)
    assert spectral.mel_scales(config, 1) == (config,)
    assert [scale.n_fft for scale in spectral.mel_scales(config, 4)] == [2048, 1024, 4096, 512]


@pytest.mark.parametrize("rate", [16000, *RATES])
def test_every_band_of_every_scale_hears_something(rate):
    for scale in spectral.mel_scales(spectral.spectrogram_config(rate), 4):
        assert spectral.mel_filterbank(scale).sum(axis=1).min() > 0


def test_a_short_window_tells_when_a_click_came():
    own, half, _, quarter = spectral.mel_scales(spectral.spectrogram_config(16000), 4)
    click = torch.zeros(1, 8000)
    click[0, 4000] = 0.5
    heard = [
        int((spectral.log_mel_from_wave(click, scale) > -9).any(1).sum()) * scale.hop
        for scale in (own, half, quarter)
    ]
    assert heard[0] > heard[1] > heard[2]
