"""Content encoders: exact to transformers' own output, no layer too many, no padding."""

import pytest
import torch

from rvc_colab.errors import AssetError, EncoderError
from rvc_colab.features.content import (
    EncoderWeights,
    TinyContentEncoder,
    build_hubert,
    check_width,
    frame_count,
    load_content_encoder,
)

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
HALF = {torch.float16: 0.01, torch.bfloat16: 0.05}  # relative rms; speed.md measured 1.5 % for bf16
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 1,
    "intermediate_size": 96,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 24,
}
LARGE = {**SIZES, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def reference(sizes):
    """transformers' own network with every weight drawn, and a final projection beside it."""
    draw = torch.Generator().manual_seed(11)
    model = transformers.HubertModel(transformers.HubertConfig(**sizes)).eval()
    state = {
        name: 0.1 * torch.randn(tensor.shape, generator=draw) + name.endswith("norm.weight")
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    torch.manual_seed(12)
    projection = torch.nn.Linear(64, 24)
    return model, projection


@pytest.fixture(scope="module")
def known():
    return reference(SIZES)


@pytest.fixture(scope="module")
def wave():
    return 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(5))


def weights_of(model, projection=None, configuration=None):
    tensors = dict(model.state_dict())
    if projection is not None:
        tensors |= {
            f"final_proj.{name}": tensor for name, tensor in projection.state_dict().items()
        }
    return EncoderWeights("made", tensors, configuration)


def fairseq_names(model, projection):
    """The same weights under fairseq's names, as hubert_base.pt has them."""
    renames = (
        (".conv.weight", ".0.weight"),
        (".layer_norm.weight", ".2.weight"),
        (".layer_norm.bias", ".2.bias"),
    )
    tensors = {"label_embs_concat": torch.zeros(5, 3)}
    for name, tensor in model.state_dict().items():
        if name.startswith("feature_extractor"):
            for old, new in renames:
                name = name.replace(old, new)
        name = name.replace("feature_projection.projection", "post_extract_proj")
        name = name.replace("feature_projection.layer_norm", "layer_norm")
        name = name.replace("masked_spec_embed", "mask_emb")
        name = name.replace(
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "encoder.pos_conv.0.weight_g",
        )
        name = name.replace(
            "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
            "encoder.pos_conv.0.weight_v",
        )
        name = name.replace("encoder.pos_conv_embed.conv", "encoder.pos_conv.0")
        if name.startswith("encoder.layers"):
            name = name.replace(".layer_norm", ".self_attn_layer_norm").replace(
                ".attention.", ".self_attn."
            )
            name = name.replace("feed_forward.intermediate_dense", "fc1").replace(
                "feed_forward.output_dense", "fc2"
            )
        tensors[name] = tensor
    return tensors | {f"final_proj.{n}": t for n, t in projection.state_dict().items()}


@torch.no_grad()
def hidden_states(model, wave):
    return model(wave, output_hidden_states=True).hidden_states


def test_v2_is_layer_twelve(known, wave):
    encoder = build_hubert(weights_of(*known, SIZES))
    expected = hidden_states(known[0], wave)[12]
    torch.testing.assert_close(encoder.encode(wave, "v2"), expected, rtol=0, atol=TOLERANCE)


def test_v1_is_layer_nine_through_the_projection(known, wave):
    encoder = build_hubert(weights_of(*known, SIZES))
    with torch.no_grad():
        expected = known[1](hidden_states(known[0], wave)[9])
    torch.testing.assert_close(encoder.encode(wave, "v1"), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("version", "layers"), [("v1", 9), ("v2", 12)])
def test_no_layer_above_the_needed_one_is_computed(known, wave, version, layers):
    encoder, calls = build_hubert(weights_of(*known, SIZES)), []
    for layer in encoder.model.encoder.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    encoder.encode(wave, version)
    assert len(calls) == layers


def test_v1_after_v2_is_the_same_as_v1_alone(known, wave):
    encoder = build_hubert(weights_of(*known, SIZES))
    before = encoder.encode(wave, "v1")
    encoder.encode(wave, "v2")
    assert torch.equal(encoder.encode(wave, "v1"), before)


def test_large_recipe_gives_the_raw_layer_for_v1(wave):
    model, projection = reference(LARGE)
    encoder = build_hubert(weights_of(model, projection, LARGE))
    heard = []
    model.encoder.layers[8].register_forward_hook(lambda _, __, out: heard.append(out))
    with torch.no_grad():
        last = model(wave).last_hidden_state
    raw = heard[0] if torch.is_tensor(heard[0]) else heard[0][0]
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.encode(wave, "v1"), projection(raw), rtol=0, atol=TOLERANCE
        )
    torch.testing.assert_close(encoder.encode(wave, "v2"), last, rtol=0, atol=TOLERANCE)


def test_shapes_are_enough_without_a_configuration(known, wave):
    encoder = build_hubert(weights_of(*known))
    expected = hidden_states(known[0], wave)[12]
    torch.testing.assert_close(encoder.encode(wave, "v2"), expected, rtol=0, atol=TOLERANCE)


def test_fairseq_names_give_the_same_content(known, wave):
    encoder = build_hubert(EncoderWeights("hubert_base", fairseq_names(*known)))
    expected = hidden_states(known[0], wave)[12]
    torch.testing.assert_close(encoder.encode(wave, "v2"), expected, rtol=0, atol=TOLERANCE)
    assert encoder.width("v1") == 24


def test_half_precision_weights_are_read(known, wave):
    tensors = {name: tensor.half() for name, tensor in weights_of(*known).tensors.items()}
    content = build_hubert(EncoderWeights("half", tensors)).encode(wave, "v2")
    expected = hidden_states(known[0], wave)[12]
    assert (content - expected).norm() / expected.norm() < HALF[torch.float16]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_arithmetic_stays_near(known, wave, dtype):
    content = build_hubert(weights_of(*known), dtype=dtype).encode(wave, "v1")
    exact = build_hubert(weights_of(*known)).encode(wave, "v1")
    assert content.dtype == torch.float32
    assert (content - exact).norm() / exact.norm() < HALF[dtype]


@pytest.mark.parametrize("samples", [400, 719, 720, 4000, 8079])
def test_number_of_frames(known, samples):
    content = build_hubert(weights_of(*known)).encode(torch.randn(samples), "v1")
    assert content.shape == (frame_count(samples), 24)


def test_network_hears_exactly_the_given_samples(known, wave):
    encoder, heard = build_hubert(weights_of(*known)), []
    encoder.model.feature_extractor.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    encoder.encode(wave[0], "v2")
    assert torch.equal(heard[0], wave[:1])


def test_too_short_sound_is_refused(known):
    with pytest.raises(EncoderError, match="399 samples is too short"):
        build_hubert(weights_of(*known)).encode(torch.zeros(399), "v1")


def test_wrong_shape_of_sound_is_refused(known):
    with pytest.raises(EncoderError, match=r"\[N\] or \[B, N\]"):
        build_hubert(weights_of(*known)).encode(torch.zeros(1, 1, 800), "v1")


def test_v1_without_projection_is_refused(known):
    encoder = build_hubert(weights_of(known[0]))
    with pytest.raises(EncoderError, match="final projection"):
        encoder.width("v1")


def test_too_few_layers_are_refused():
    model, projection = reference({**SIZES, "num_hidden_layers": 3})
    with pytest.raises(EncoderError, match="hear layer 9, the encoder made has 3"):
        build_hubert(weights_of(model, projection)).encode(torch.zeros(800), "v1")


def test_unknown_version_is_refused(known):
    with pytest.raises(EncoderError, match="'v3' is unknown"):
        build_hubert(weights_of(*known)).width("v3")


def test_missing_tensor_is_named(known):
    tensors = dict(weights_of(*known).tensors)
    del tensors["encoder.layers.4.final_layer_norm.bias"]
    with pytest.raises(EncoderError, match="lack 1 of .*layers.4.final_layer_norm.bias"):
        build_hubert(EncoderWeights("cut", tensors))


def test_configuration_of_another_size_is_refused(known):
    with pytest.raises(EncoderError, match="do not fit their config.json"):
        build_hubert(weights_of(*known, {**SIZES, "intermediate_size": 32}))


def test_other_weights_are_refused():
    with pytest.raises(EncoderError, match="not a HuBERT"):
        build_hubert(EncoderWeights("voice", {"emb_g.weight": torch.zeros(3)}))


def test_width_of_voice_and_encoder_are_compared(known):
    encoder = build_hubert(weights_of(*known))
    check_width(encoder, "v1", 24)
    with pytest.raises(EncoderError, match="768 wide, the encoder made gives 64"):
        check_width(encoder, "v2", 768)


def test_named_encoder_needs_a_reader():
    with pytest.raises(EncoderError, match="must be read from disk"):
        load_content_encoder("contentvec")


def test_reader_gets_what_was_asked_for(known):
    asked = []
    encoder = load_content_encoder(
        "/some/folder", read=lambda name: asked.append(name) or weights_of(*known)
    )
    assert asked == ["/some/folder"]
    assert encoder.name == "made"


class Frames(torch.nn.Module):
    """Stands in for the tiny network: a frame of 256 for every hop."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, wave):
        return (self.gain * wave)[:, : frame_count(wave.shape[1]) * 256].reshape(len(wave), -1, 256)


def test_tiny_serves_v1_only():
    encoder = TinyContentEncoder(Frames())
    assert encoder.encode(torch.zeros(1600), "v1").shape == (4, 256)
    with pytest.raises(EncoderError, match="serves v1 voices"):
        encoder.encode(torch.zeros(1600), "v2")


def test_embedded_encoder_is_read_from_its_half_precision_file(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    from rvc_colab.features import content
    from rvc_colab.models.tiny_encoder import TinyEncoder

    torch.manual_seed(4)
    network = TinyEncoder().eval()
    half = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    (tmp_path / "assets").mkdir()
    save_file(half, tmp_path / "assets" / "tiny_encoder.safetensors")
    monkeypatch.setattr(content.resources, "files", lambda _: tmp_path)
    wave = 0.1 * torch.randn(4000)
    found = load_content_encoder("Tiny").encode(wave, "v1")
    network.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    with torch.no_grad():
        torch.testing.assert_close(found, network(wave[None])[0])
    assert found.shape == (frame_count(4000), 256)


def test_missing_embedded_encoder_is_told(tmp_path, monkeypatch):
    from rvc_colab.features import content

    monkeypatch.setattr(content.resources, "files", lambda _: tmp_path)
    with pytest.raises(AssetError, match="embedded encoder .* is missing"):
        load_content_encoder("tiny")
