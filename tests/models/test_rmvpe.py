from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.models.rmvpe import E2E, E2EConfig, for_inference

GOLDEN = Path(__file__).parents[1] / "golden" / "inference"
HIDDEN_TOLERANCE = 1e-6
UNET_TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def weights():
    loaded = torch.load(GOLDEN / "rmvpe_tiny_e2e.pth", weights_only=True)
    return {name: value.float() for name, value in loaded.items()}


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "rmvpe_tiny_e2e_io.npz")


@pytest.fixture(scope="module")
def mel():
    mel = np.load(GOLDEN / "rmvpe_mel_decode.npz")["log_mel"][:, :, :90]
    return torch.nn.functional.pad(torch.from_numpy(mel), (0, 6))


def network(weights):
    model = E2E(E2EConfig.from_weights(weights))
    model.load_state_dict(weights)
    return model.eval()


def test_sizes_are_read_off_the_weights(weights):
    assert E2EConfig.from_weights(weights) == E2EConfig(2, 1, 3, 2, 4)


def test_published_sizes_are_the_default():
    with torch.device("meta"):
        keys = E2E().state_dict()
    assert E2EConfig.from_weights(keys) == E2EConfig(4, 1, 5, 4, 16)


@torch.inference_mode()
def test_the_network_matches_the_golden(weights, golden, mel):
    hidden = network(weights)(mel)[:, :90]
    np.testing.assert_allclose(hidden, golden["hidden"], atol=HIDDEN_TOLERANCE)


@torch.inference_mode()
def test_the_unet_matches_the_golden(weights, golden, mel):
    out = network(weights).unet(mel.transpose(1, 2).unsqueeze(1))[:, :, :8]
    np.testing.assert_allclose(out, golden["unet_out_frames0_8"], atol=UNET_TOLERANCE)


@torch.inference_mode()
def test_folding_changes_nothing_but_rounding(weights, golden, mel):
    hidden = for_inference(network(weights))(mel)[:, :90]
    np.testing.assert_allclose(hidden, golden["hidden"], atol=HIDDEN_TOLERANCE)


def test_folding_leaves_no_norm_but_the_first(weights):
    norms = [
        m for m in for_inference(network(weights)).modules() if isinstance(m, torch.nn.BatchNorm2d)
    ]
    assert len(norms) == 1
