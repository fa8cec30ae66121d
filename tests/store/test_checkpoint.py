"""Voices and training checkpoints on disk: written, read from others, refused in words."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rvc_colab.errors import AssetError, VoiceError
from rvc_colab.models.architecture import SynthesizerConfig
from rvc_colab.models.synthesizer import Synthesizer
from rvc_colab.store.checkpoint import (
    TrainingCheckpoint,
    VoiceMetadata,
    build_synthesizer,
    describe_voice,
    load_tensors,
    read_training_checkpoint,
    read_voice,
    voice_of_checkpoint,
    write_training_checkpoint,
    write_voice,
)

CLASSIC_KEYS = ["weight", "config", "info", "sr", "f0", "version"]
FUZZ_ROUNDS = 60


@pytest.fixture
def voice_file(golden: Path, tmp_path: Path) -> Path:
    """A voice as RVC-WebUI exports it."""
    return Path(shutil.copy(golden / "inference" / "tiny_v2_f0_40k.pth", tmp_path / "voice.pth"))


@pytest.fixture
def generator_state(golden: Path) -> dict[str, torch.Tensor]:
    """The state of a generator in training, with its posterior encoder."""
    return torch.load(golden / "training" / "c_v2_f0_48k_state.pth", weights_only=True)["G"]


@pytest.fixture
def generator_config(golden: Path) -> SynthesizerConfig:
    exported = torch.load(golden / "training" / "e_export_tiny_v2_48k.pth", weights_only=True)
    return SynthesizerConfig.from_list(exported["config"], "v2", True)


def changed(path: Path, **keys: object) -> Path:
    """Write the voice again with other keys; None removes one."""
    content = torch.load(path, weights_only=True)
    content.update(keys)
    torch.save({k: v for k, v in content.items() if v is not None}, path)
    return path


def with_weights(path: Path, change) -> Path:
    content = torch.load(path, weights_only=True)
    return changed(path, weight=change(dict(content["weight"])))


# Writing


def test_an_export_is_the_reference_s(golden, tmp_path, generator_state, generator_config):
    reference = torch.load(golden / "training" / "e_export_tiny_v2_48k.pth", weights_only=True)
    path = write_voice(
        tmp_path / "v.pth", generator_state, generator_config, VoiceMetadata(epoch=7)
    )
    ours = torch.load(path, weights_only=True)
    assert list(ours)[:6] == CLASSIC_KEYS
    assert {k: ours[k] for k in CLASSIC_KEYS[1:]} == {k: reference[k] for k in CLASSIC_KEYS[1:]}
    assert [type(ours[k]) for k in CLASSIC_KEYS[2:]] == [str, str, int, str]
    assert ours["weight"].keys() == reference["weight"].keys()
    assert all(torch.equal(ours["weight"][k], reference["weight"][k]) for k in ours["weight"])
    assert {tensor.dtype for tensor in ours["weight"].values()} == {torch.float16}


def test_what_is_written_is_read_again(tmp_path, generator_state, generator_config):
    metadata = VoiceMetadata(
        model_name="Nára", epoch=12, step=345, encoder="contentvec", f0_method="rmvpe", seed=7,
        dataset_fingerprint="ab12", author="someone", dataset_length="0:12:34",
    )  # fmt: skip
    path = write_voice(tmp_path / "v.pth", generator_state, generator_config, metadata)
    voice = read_voice(path)
    assert voice.config.to_list() == generator_config.to_list()
    assert voice.encoder == "contentvec"
    assert voice.warnings == ()
    assert voice.dialect == "rvc_colab"
    for name in ("model_name", "epoch", "step", "f0_method", "seed", "author", "dataset_length"):
        assert getattr(voice.metadata, name) == getattr(metadata, name)


def test_metadata_stand_as_scalars_under_the_keys_of_applio(
    tmp_path, generator_state, generator_config
):
    metadata = VoiceMetadata(epoch=3, step=9, encoder="spin", author="a")
    path = write_voice(tmp_path / "v.pth", generator_state, generator_config, metadata)
    content = torch.load(path, weights_only=True)
    assert (content["embedder_model"], content["vocoder"], content["step"]) == (
        "spin",
        "HiFi-GAN",
        9,
    )
    assert content["speakers_id"] == 3
    scalars = [v for k, v in content.items() if k not in ("weight", "config")]
    assert all(isinstance(value, str | int | float) for value in scalars)


def test_the_sidecar_says_what_the_voice_says(tmp_path, generator_state, generator_config):
    path = write_voice(tmp_path / "v.pth", generator_state, generator_config, VoiceMetadata(seed=5))
    content = torch.load(path, weights_only=True)
    del content["weight"]
    assert json.loads((tmp_path / "v.json").read_text("utf-8")) == content


def test_equal_voices_are_equal_bytes_under_any_name(tmp_path, generator_state, generator_config):
    paths = [
        write_voice(tmp_path / name, generator_state, generator_config)
        for name in ("a.pth", "b.pth")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_network_can_be_written_itself(tmp_path, generator_config):
    model = Synthesizer(generator_config)
    voice = read_voice(write_voice(tmp_path / "v.pth", model, generator_config))
    assert "enc_q.pre.weight" not in voice.weights
    assert torch.equal(voice.weights["emb_g.weight"], model.emb_g.weight.half())


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_beyond_16_bit_are_not_written(tmp_path, generator_state, generator_config, value):
    generator_state["emb_g.weight"][0, 0] = value
    with pytest.raises(VoiceError, match=r"emb_g\.weight"):
        write_voice(tmp_path / "v.pth", generator_state, generator_config)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_voice(voice_file, monkeypatch, generator_config):
    before = voice_file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError):
        write_voice(voice_file, Synthesizer(generator_config), generator_config)
    assert voice_file.read_bytes() == before
    assert [path.name for path in voice_file.parent.iterdir()] == ["voice.pth"]


# Reading dialects


@pytest.mark.parametrize(
    "stem, version, has_f0, rate",
    [
        ("tiny_v1_f0_40k", "v1", True, 40000),
        ("tiny_v1_nof0_40k", "v1", False, 40000),
        ("tiny_v2_f0_32k", "v2", True, 32000),
    ],
)
def test_classic_voices_are_read(golden, stem, version, has_f0, rate):
    voice = read_voice(golden / "inference" / f"{stem}.pth")
    config = voice.config
    assert (config.version, config.has_f0, config.sample_rate) == (version, has_f0, rate)
    assert config.speakers == 3  # config[-3] of one file is 109: the table counts
    assert voice.dialect == "RVC-WebUI"
    assert voice.encoder is None


def test_a_read_voice_sounds_like_the_reference(golden):
    io = np.load(golden / "inference" / "tiny_v2_f0_40k_io.npz")
    model = build_synthesizer(read_voice(golden / "inference" / "tiny_v2_f0_40k.pth"))
    m_p, _, _ = model.enc_p(
        torch.from_numpy(io["phone"]).float(), torch.from_numpy(io["pitch"]), torch.tensor([40])
    )
    assert (m_p - torch.from_numpy(io["m_p"])).abs().max() <= 1e-5


def test_an_old_export_without_version_and_f0_is_v1_with_f0(golden, tmp_path):
    path = Path(shutil.copy(golden / "inference" / "tiny_v1_f0_40k.pth", tmp_path / "old.pth"))
    voice = read_voice(changed(path, version=None, f0=None))
    assert (voice.config.version, voice.config.has_f0) == ("v1", True)
    assert voice.dialect == "RVC-WebUI, old export"
    assert voice.warnings == ()


@pytest.mark.parametrize("sr", ["40k", "40000", 40000, "40K", 40000.0])
def test_every_spelling_of_the_rate_is_understood(voice_file, sr):
    voice = read_voice(changed(voice_file, sr=sr))
    assert voice.config.sample_rate == 40000
    assert voice.warnings == ()


def test_a_contradicting_rate_is_warned_about_and_the_config_counts(voice_file):
    voice = read_voice(changed(voice_file, sr="48k"))
    assert voice.config.sample_rate == 40000
    assert "48k" in voice.warnings[0]


@pytest.mark.parametrize("f0", [True, 1, "1"])
def test_f0_as_number_bool_or_text(voice_file, f0):
    voice = read_voice(changed(voice_file, f0=f0))
    assert voice.config.has_f0
    assert voice.warnings == ()


def test_the_tensors_count_where_the_file_contradicts_itself(voice_file):
    voice = read_voice(changed(voice_file, f0=0, version="v1"))
    assert (voice.config.has_f0, voice.config.version) == (True, "v2")
    assert len(voice.warnings) == 2


def test_applio_s_keys_are_read(voice_file):
    voice = read_voice(
        changed(
            voice_file, epoch=200, step=4000, model_name="m", author="me", vocoder="HiFi-GAN",
            embedder_model="spin-v2", speakers_id=1, creation_date="2025-01-02T03:04:05",
            model_hash="0f", dataset_length="0:10:00", overtrain_info="", learning=[1],
        )
    )  # fmt: skip
    assert voice.dialect == "Applio"
    assert (voice.metadata.epoch, voice.metadata.step, voice.encoder) == (200, 4000, "spin-v2")
    assert voice.metadata.overtrain_info is None


def test_numbers_written_as_text_are_numbers(voice_file):
    metadata = read_voice(changed(voice_file, epoch="200", step="many")).metadata
    assert (metadata.epoch, metadata.step) == (200, None)


def test_newer_names_of_the_weight_norm_are_read(voice_file):
    plain = read_voice(voice_file)

    def rename(weights):
        new = {}
        for key, tensor in weights.items():
            key = key.replace(".weight_g", ".parametrizations.weight.original0")
            new[key.replace(".weight_v", ".parametrizations.weight.original1")] = tensor
        return new

    voice = read_voice(with_weights(voice_file, rename))
    assert all(torch.equal(voice.weights[key], plain.weights[key]) for key in plain.weights)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_a_training_wrapper_s_prefix_is_taken_off(voice_file, prefix):
    path = with_weights(voice_file, lambda weights: {prefix + k: v for k, v in weights.items()})
    assert "enc_p.emb_phone.weight" in read_voice(path).weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_other_precisions_are_read_and_built_in_float32(voice_file, dtype):
    path = with_weights(voice_file, lambda weights: {k: v.to(dtype) for k, v in weights.items()})
    model = build_synthesizer(read_voice(path))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_unknown_tensors_are_left_out_with_a_warning(voice_file):
    path = with_weights(voice_file, lambda weights: {**weights, "extra.thing": torch.zeros(2)})
    voice = read_voice(path)
    assert "extra.thing" in voice.warnings[0]
    assert "extra.thing" not in voice.weights


def test_a_description_carries_no_tensors(voice_file):
    voice = describe_voice(changed(voice_file, epoch=5))
    assert (voice.weights, voice.metadata.epoch, voice.config.sample_rate) == ({}, 5, 40000)


def test_a_voice_does_not_depend_on_its_file_any_more(voice_file):
    voice = read_voice(voice_file)
    before = voice.weights["emb_g.weight"].clone()
    voice_file.write_bytes(b"\0" * voice_file.stat().st_size)
    assert torch.equal(voice.weights["emb_g.weight"], before)


# Refusing


@pytest.mark.parametrize(
    "keys, words",
    [
        ({"vocoder": "MRF HiFi-GAN"}, "vocoder MRF HiFi-GAN"),
        ({"vocoder": "RefineGAN"}, "vocoder RefineGAN"),
        ({"energy": True}, "energy"),
        ({"architecture": "SVC"}, "SVC architecture"),
        ({"weight": None}, "no key 'weight'"),
        ({"weight": {}}, "not a dict of tensors"),
        ({"weight": {"a": 1}}, "a int, not a tensor, under 'a'"),
        ({"weight": [1]}, "a list as its weight"),
        ({"config": None}, "list of 18"),
        ({"config": [1, 2]}, "found 2 entries"),
    ],
)
def test_other_voices_are_refused_by_their_own_words(voice_file, keys, words):
    with pytest.raises(VoiceError, match=words) as caught:
        read_voice(changed(voice_file, **keys))
    assert caught.value.hint


@pytest.mark.parametrize(
    "name, words",
    [
        ("dec.mrfs.0.0.convs1.0.bias", "MRF HiFi-GAN"),
        ("dec.upsample_conv_blocks.0.weight", "RefineGAN"),
        ("enc_p.emb_energy.weight", "energy"),
    ],
)
def test_other_voices_are_known_by_their_tensors(voice_file, name, words):
    path = with_weights(voice_file, lambda weights: {**weights, name: torch.zeros(1)})
    with pytest.raises(VoiceError, match=words):
        read_voice(path)


def test_a_missing_tensor_is_named(voice_file):
    def drop(weights):
        del weights["dec.conv_post.weight"]
        return weights

    with pytest.raises(
        VoiceError, match=r"lacks 1 of \d+ tensors, for example dec\.conv_post\.weight"
    ):
        read_voice(with_weights(voice_file, drop))


def test_a_misshapen_tensor_is_named_with_both_shapes(voice_file):
    def widen(weights):
        return {**weights, "dec.conv_post.weight": torch.zeros(1, 5, 7)}

    with pytest.raises(VoiceError, match=r"conv_post\.weight is \[1, 5, 7\].*\[1, 4, 7\]"):
        read_voice(with_weights(voice_file, widen))


def test_weights_that_are_not_numbers_are_refused(voice_file):
    def spoil(weights):
        return {**weights, "enc_p.proj.bias": weights["enc_p.proj.bias"] * float("nan")}

    with pytest.raises(VoiceError, match=r"enc_p\.proj\.bias.*NaN"):
        read_voice(with_weights(voice_file, spoil))


class Malicious:
    """Writes a file when unpickled by a trusting reader."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["torch", "old_torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_executed(tmp_path, kind):
    mark, path = tmp_path / "executed", tmp_path / "v.pth"
    content = {"weight": Malicious(mark), "config": []}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(VoiceError) as caught:
        read_voice(path)
    assert "v.pth" in caught.value.message
    assert not mark.exists()


def test_code_is_named_and_said_not_to_have_run(tmp_path):
    torch.save({"weight": Malicious(tmp_path / "mark")}, tmp_path / "v.pth")
    with pytest.raises(VoiceError, match=r"contains code .*system.*Nothing of it was executed"):
        read_voice(tmp_path / "v.pth")


@pytest.mark.filterwarnings("error")
def test_a_plain_pickle_is_called_one_without_noise(tmp_path):
    (tmp_path / "v.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "mark"), protocol=4))
    with pytest.raises(VoiceError, match=r"Python pickle of another kind.*Nothing of it was"):
        read_voice(tmp_path / "v.pth")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>", "web page"),
        (b"\n <html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "LFS"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a WAV sound"),
        (b"IwFl" + b"\0" * 60, "a retrieval index"),
        (b"\x10\0\0\0\0\0\0\0" + b'{"a":{"dtype":1}}', "a safetensors file"),
        (b"hello, this is no voice", "not a whole torch file"),
        (b"PK\x03\x04" + b"\0" * 100, "cut off or damaged"),
        (b"\x80\x02" + b"\0" * 100, "not a whole torch file"),
    ],
)
def test_each_accident_is_named(tmp_path, content, words):
    path = tmp_path / "v.pth"
    path.write_bytes(content)
    with pytest.raises(VoiceError, match=words) as caught:
        read_voice(path)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(VoiceError, match="There is no file"):
        read_voice(tmp_path / "none.pth")
    with pytest.raises(VoiceError, match="is a folder"):
        read_voice(tmp_path)


def test_the_error_is_of_the_asked_family(tmp_path):
    (tmp_path / "rmvpe.pt").write_bytes(b"<html>")
    with pytest.raises(AssetError, match="web page"):
        load_tensors(tmp_path / "rmvpe.pt", AssetError)


def test_a_truncated_file_is_refused_wherever_it_ends(voice_file):
    content = voice_file.read_bytes()
    places = random.Random(1)
    for _ in range(FUZZ_ROUNDS):
        voice_file.write_bytes(content[: places.randrange(len(content))])
        with pytest.raises(VoiceError):
            read_voice(voice_file)


def test_wrong_types_inside_always_give_a_voice_error_or_a_voice(voice_file):
    whole = torch.load(voice_file, weights_only=True)
    draws = random.Random(2)
    wrong = [None, -1, 0, 2**70, "x", "", [], {}, [[]], 1.5, float("nan"), True, torch.zeros(0),
             torch.zeros(3), {"a": torch.zeros(2)}, ["40k"],
             torch.tensor(3)]  # fmt: skip
    refused = 0
    for _ in range(FUZZ_ROUNDS):
        content = {**whole, "weight": dict(whole["weight"]), "config": list(whole["config"])}
        place = draws.choice(["top", "config", "weight"])
        if place == "top":
            content[draws.choice(CLASSIC_KEYS)] = draws.choice(wrong)
        elif place == "config":
            content["config"][draws.randrange(18)] = draws.choice(wrong)
        else:
            content["weight"][draws.choice(list(content["weight"]))] = draws.choice(wrong)
        torch.save(content, voice_file)
        try:
            build_synthesizer(read_voice(voice_file))
        except VoiceError:
            refused += 1
    assert refused > FUZZ_ROUNDS // 2


# Training checkpoints


def write_checkpoint(path: Path, state: dict[str, torch.Tensor], kind: str = "generator") -> Path:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4}]}
    return write_training_checkpoint(path, TrainingCheckpoint(state, kind, 7, 1e-4, optimizer))


def test_a_training_checkpoint_has_the_classic_layout(tmp_path, generator_state):
    path = write_checkpoint(tmp_path / "G_120.pth", generator_state)
    content = torch.load(path, weights_only=True)
    assert list(content) == ["model", "iteration", "optimizer", "learning_rate"]
    assert (content["iteration"], content["learning_rate"]) == (7, 1e-4)
    assert {tensor.dtype for tensor in content["model"].values()} == {torch.float32}


def test_a_training_checkpoint_is_read_again(tmp_path, generator_state):
    checkpoint = read_training_checkpoint(write_checkpoint(tmp_path / "G.pth", generator_state))
    assert (checkpoint.kind, checkpoint.epoch, checkpoint.learning_rate) == ("generator", 7, 1e-4)
    assert checkpoint.optimizer["param_groups"] == [{"lr": 1e-4}]
    assert all(torch.equal(checkpoint.weights[k], generator_state[k]) for k in generator_state)


def test_a_pretrained_file_with_nothing_but_the_model_is_read(golden, tmp_path):
    state = torch.load(golden / "training" / "c_v2_f0_48k_state.pth", weights_only=True)["D"]
    torch.save({"model": state}, tmp_path / "f0D48k.pth")
    checkpoint = read_training_checkpoint(tmp_path / "f0D48k.pth")
    assert (checkpoint.kind, checkpoint.epoch, checkpoint.optimizer) == ("discriminator", 0, None)


def test_a_generator_checkpoint_is_no_voice_but_can_become_one(tmp_path, generator_state):
    path = write_checkpoint(tmp_path / "G_120.pth", generator_state)
    with pytest.raises(VoiceError, match="generator checkpoint") as caught:
        read_voice(path)
    assert f"rvc-colab voices import {path} --name" in caught.value.hint


def test_a_discriminator_checkpoint_is_named(golden, tmp_path):
    state = torch.load(golden / "training" / "c_v2_f0_48k_state.pth", weights_only=True)["D"]
    path = write_checkpoint(tmp_path / "D_120.pth", state, "discriminator")
    for read in (read_voice, voice_of_checkpoint):
        with pytest.raises(VoiceError, match=r"discriminator checkpoint"):
            read(path)


def test_an_exported_voice_is_no_training_checkpoint(voice_file):
    with pytest.raises(VoiceError, match="exported voice"):
        read_training_checkpoint(voice_file)


def test_a_voice_of_a_checkpoint_is_the_reference_s_export(golden, tmp_path, generator_state):
    reference = torch.load(golden / "training" / "e_export_tiny_v2_48k.pth", weights_only=True)
    voice = voice_of_checkpoint(write_checkpoint(tmp_path / "G.pth", generator_state))
    assert voice.config.to_list() == reference["config"]
    assert voice.config.version == reference["version"]
    path = write_voice(tmp_path / "v.pth", voice.weights, voice.config, voice.metadata)
    assert torch.load(path, weights_only=True)["info"] == "7epoch"


@pytest.mark.parametrize(
    "rate, version, has_f0",
    [(16000, "v1", True), (32000, "v1", False), (48000, "v1", True), (40000, "v2", False)],
)
def test_the_description_is_worked_out_from_shapes(tmp_path, rate, version, has_f0):
    config = SynthesizerConfig.standard(rate, version, has_f0, speakers=2)
    values = config.to_list()
    values[2:5], values[6], values[13], values[16] = [8, 8, 16], 1, 32, 4
    config = SynthesizerConfig.from_list(values, version, has_f0)
    path = write_checkpoint(tmp_path / "G.pth", Synthesizer(config).state_dict())
    assert voice_of_checkpoint(path).config == config


def test_an_unpublished_model_needs_its_rate(tmp_path):
    values = SynthesizerConfig.standard(16000, "v1", speakers=2).to_list()
    values[2:5], values[6], values[13], values[16] = [8, 8, 16], 1, 32, 4
    values[12], values[14] = [8, 5, 4], [16, 11, 8]
    config = SynthesizerConfig.from_list(values, "v1")
    path = write_checkpoint(tmp_path / "G.pth", Synthesizer(config).state_dict())
    with pytest.raises(VoiceError, match="no published model"):
        voice_of_checkpoint(path)
    assert voice_of_checkpoint(path, 16000).config.upsample_rates == (8, 5, 4)


def test_reading_a_voice_does_not_load_the_compiler(golden: Path) -> None:
    """It would cost every cold conversion a second: a layout on `meta` must not draw numbers."""
    code = (
        "import sys; from rvc_colab.store.checkpoint import build_synthesizer, read_voice\n"
        f"build_synthesizer(read_voice({str(golden / 'inference/tiny_v1_f0_40k.pth')!r}))\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_named(voice_file):
    odd = voice_file.with_name(os.fsdecode(b"odd\xff.pth"))
    voice_file.rename(odd)
    with pytest.raises(VoiceError, match=r"odd\\udcff.pth.* is no text"):
        read_voice(odd)
