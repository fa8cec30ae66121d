from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.errors import AssetError
from rvc_colab.features import f0_rmvpe as rmvpe

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
MEL_TOLERANCE = 1e-3
DECODE_TOLERANCE_HZ = 1e-3
HIDDEN_TOLERANCE = 1e-6
STRETCH_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "rmvpe_mel_decode.npz"))


@pytest.fixture(scope="module")
def weights():
    return torch.load(GOLDEN / "rmvpe_tiny_e2e.pth", weights_only=True)


@pytest.fixture(scope="module")
def estimator(weights):
    return rmvpe.RmvpeEstimator(weights)


@pytest.fixture(scope="module")
def clip():
    return np.load(GOLDEN / "clip_6s_16k.npz")["audio_int16"].astype(np.float32) / 32768


def test_the_log_mel_matches_the_golden(estimator, clip, golden):
    mel = estimator.log_mel(clip[:48000], 0, 301)
    np.testing.assert_allclose(mel, golden["log_mel"][0], atol=MEL_TOLERANCE)


def test_the_filterbank_matches_the_golden(golden):
    bank = rmvpe.mel_filterbank(rmvpe.SPECTRUM, htk=True)
    np.testing.assert_allclose(bank, golden["mel_basis"], atol=1e-7)


@pytest.mark.parametrize(("threshold", "key"), [(0.03, "f0_thred0p03"), (0.05, "f0_thred0p05")])
def test_decoding_matches_the_golden(golden, threshold, key):
    f0 = rmvpe.decode(golden["salience"], threshold)
    np.testing.assert_allclose(f0, golden[key], atol=DECODE_TOLERANCE_HZ)


def test_saliences_and_pitch_match_the_golden(estimator, golden):
    expected = np.load(GOLDEN / "rmvpe_tiny_e2e_io.npz")
    with torch.inference_mode():
        salience = estimator.salience(torch.from_numpy(golden["log_mel"][0, :, :90]))
    np.testing.assert_allclose(salience, expected["hidden"][0], atol=HIDDEN_TOLERANCE)
    np.testing.assert_allclose(rmvpe.decode(salience), expected["f0"], atol=DECODE_TOLERANCE_HZ)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 799, 800, 1023, 5001])
def test_every_length_gives_a_frame_per_10_ms(estimator, samples):
    f0 = estimator(np.zeros(samples, dtype=np.float32))
    assert f0.shape == (samples // 160,) and np.isfinite(f0).all()


def test_stretches_give_what_the_whole_gives(weights, clip, monkeypatch):
    """The GRU is made forgetful (update gate shut): random ones remember longer than trained."""
    forgetful = dict(weights)
    for side in ("", "_reverse"):
        bias = weights[f"fc.0.gru.bias_ih_l0{side}"].clone()
        bias[256:512] = -30
        forgetful[f"fc.0.gru.bias_ih_l0{side}"] = bias
    estimator = rmvpe.RmvpeEstimator(forgetful)
    whole = list(estimator.saliences(clip))
    monkeypatch.setattr(rmvpe, "CHUNK_FRAMES", 192)
    monkeypatch.setattr(rmvpe, "CONTEXT_FRAMES", 96)
    parts = list(estimator.saliences(clip))
    assert (len(whole), len(parts)) == (1, 4)
    np.testing.assert_allclose(np.concatenate(parts), whole[0], atol=STRETCH_TOLERANCE)


def test_pitch_outside_the_range_counts_as_unvoiced(weights, clip):
    f0 = rmvpe.RmvpeEstimator(weights, f0_range=(50, 200))(clip)
    assert f0.max() <= 200


@pytest.mark.parametrize("wrong", [{}, {"weight": torch.zeros(1)}, {"model": 3}])
def test_other_weights_are_refused(wrong):
    with pytest.raises(AssetError, match="not RMVPE's"):
        rmvpe.load_network(wrong)


def test_damaged_weights_are_refused(weights):
    damaged = {name: value for name, value in weights.items() if name != "cnn.bias"}
    with pytest.raises(AssetError, match="do not fit"):
        rmvpe.load_network(damaged)
