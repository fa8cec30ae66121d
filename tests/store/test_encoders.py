"""Encoders from disk: folders and single files give the same network."""

import json

import pytest
import torch

from rvc_colab.errors import EncoderError
from rvc_colab.store.encoders import open_content_encoder, read_encoder

transformers = pytest.importorskip("transformers")
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 1,
    "intermediate_size": 32,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as transformers itself writes it."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("encoder")
    transformers.HubertModel(transformers.HubertConfig(**SIZES)).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def expected(folder):
    model = transformers.HubertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 3000)[None]).last_hidden_state[0]


def encoded(path):
    return open_content_encoder(str(path)).encode(torch.linspace(-1, 1, 3000), "v2")


def test_folder_with_safetensors(folder, expected):
    torch.testing.assert_close(encoded(folder), expected, rtol=0, atol=1e-5)


def test_folder_with_pytorch_model(folder, expected, tmp_path):
    tensors = read_encoder(str(folder)).tensors
    torch.save(dict(tensors), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.testing.assert_close(encoded(tmp_path), expected, rtol=0, atol=1e-5)


def test_single_file_without_configuration(folder, expected, tmp_path):
    torch.save({"model": dict(read_encoder(str(folder)).tensors)}, tmp_path / "mine.pt")
    torch.testing.assert_close(encoded(tmp_path / "mine.pt"), expected, rtol=0, atol=1e-5)


def test_missing_path_is_refused():
    with pytest.raises(EncoderError, match="no content encoder /no/such"):
        read_encoder("/no/such")


def test_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(EncoderError, match="neither model.safetensors nor pytorch_model.bin"):
        read_encoder(str(tmp_path))


def test_other_network_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(EncoderError, match="an empty file|describes wavlm"):
        read_encoder(str(tmp_path))


def test_web_page_as_weights_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"<!doctype html>" + b" " * 50)
    with pytest.raises(EncoderError, match="a web page"):
        read_encoder(str(tmp_path))


def test_damaged_configuration_is_refused(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EncoderError, match=r"config\.json cannot be read"):
        read_encoder(str(tmp_path))
