"""Known weights: verified before use, offline in words, no half file in the cache."""

import dataclasses
import json

import pytest
import torch

from rvc_colab.errors import AssetError
from rvc_colab.store import assets
from rvc_colab.store.assets import (
    ASSETS,
    asset,
    bundled,
    fetch,
    inventory,
    is_present,
    place,
    pretrained_names,
)
from rvc_colab.store.downloads import Expected


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    """A hub whose files are in `files`; records what was asked for."""
    source = tmp_path_factory.mktemp("source")
    torch.save({"w": torch.zeros(100)}, source / "weights.pt")
    config = b'{"model_type": "hubert", "hidden_size": 768, "num_hidden_layers": 12}'
    weights = (source / "weights.pt").read_bytes()
    served = {
        "files": {".json": config, ".bin": weights, ".pt": weights, ".pth": weights},
        "asked": [],
    }

    def hub_file(repo, filename, folder):
        served["asked"].append(f"{repo}/{filename}")
        content = served["files"].get("." + filename.rsplit(".", 1)[1])
        if content is None:
            raise AssetError(f"There is no {filename}.") from FileNotFoundError(filename)
        path = folder / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    monkeypatch.setattr(assets, "hub_file", hub_file)
    small = {}
    for name, found in ASSETS.items():
        files = tuple(
            dataclasses.replace(file, expected=Expected(minimum_bytes=10)) for file in found.files
        )
        small[name] = dataclasses.replace(found, files=files)
    monkeypatch.setattr(assets, "ASSETS", small)
    return served


def test_single_file_is_fetched_once(hub, tmp_path):
    path = fetch("rmvpe", tmp_path, offline=False)
    assert path == tmp_path / "rmvpe.pt"
    assert fetch("rmvpe", tmp_path, offline=True) == path
    assert hub["asked"] == ["lj1995/VoiceConversionWebUI/rmvpe.pt"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rmvpe.pt", "rmvpe.pt.sha256.json"]


def test_encoder_is_a_folder_with_its_configuration(hub, tmp_path):
    folder = fetch("contentvec", tmp_path, offline=False)
    assert folder == tmp_path / "encoders" / "contentvec"
    assert (folder / "config.json").is_file()
    assert hub["asked"][0] == "IAHispano/Applio/Resources/embedders/contentvec/pytorch_model.bin"


def test_second_spelling_of_the_weights_is_tried(hub, tmp_path):
    folder = fetch("hubert_base", tmp_path, offline=False)
    assert (folder / "pytorch_model.bin").is_file()
    assert [name.rsplit("/")[-1] for name in hub["asked"]] == [
        "model.safetensors",
        "pytorch_model.bin",
        "config.json",
    ]


def test_offline_says_which_file_from_where_and_the_place(tmp_path):
    with pytest.raises(AssetError) as caught:
        fetch("rmvpe", tmp_path, offline=True)
    assert "rmvpe.pt of lj1995/VoiceConversionWebUI" in caught.value.message
    assert f"save it as {tmp_path / 'rmvpe.pt'}" in caught.value.hint


def test_offline_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="HF_HUB_OFFLINE"):
        fetch("contentvec", tmp_path)


def test_failed_fetch_names_the_place_too(hub, tmp_path):
    hub["files"].clear()
    with pytest.raises(AssetError) as caught:
        fetch("rmvpe", tmp_path, offline=False)
    assert str(tmp_path / "rmvpe.pt") in caught.value.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><p>not found</p>", "web page"),
        (b"short", "has 5 bytes"),
        (b"PK\x03\x04" + bytes(200), "no whole torch file"),
    ],
)
def test_bad_answer_leaves_nothing_under_the_name(hub, tmp_path, content, words):
    hub["files"][".pt"] = content
    with pytest.raises(AssetError, match=words):
        fetch("rmvpe", tmp_path, offline=False)
    assert not is_present("rmvpe", tmp_path)


def test_known_hash_is_demanded(tmp_path):
    (tmp_path / "rmvpe.pt").write_bytes(bytes(100_000_000))
    with pytest.raises(AssetError, match="not the known file"):
        fetch("rmvpe", tmp_path, offline=True)


def test_file_put_there_by_hand_is_checked_and_recorded(hub, tmp_path):
    (tmp_path / "fcpe.pt").write_bytes(hub["files"][".pt"])
    fetch("fcpe", tmp_path, offline=True)
    record = json.loads((tmp_path / "fcpe.pt.sha256.json").read_text())
    assert record["size"] == len(hub["files"][".pt"])


def test_change_after_the_first_use_is_told(hub, tmp_path):
    path = fetch("fcpe", tmp_path, offline=False)
    torch.save({"other": torch.ones(300)}, path)
    with pytest.raises(AssetError, match="changed since its first use"):
        fetch("fcpe", tmp_path, offline=True)


def test_damaged_configuration_is_refused(hub, tmp_path):
    hub["files"][".json"] = b"{ this is no json"
    with pytest.raises(AssetError, match="is damaged"):
        fetch("contentvec", tmp_path, offline=False)


@pytest.mark.parametrize(
    "spelled", ["pretrained_v2/f0G40k.pth", "Pretrained-V2/f0g40k", "rmvpe.pt"]
)
def test_spelling_does_not_matter(spelled):
    assert asset(spelled).repo == "lj1995/VoiceConversionWebUI"


def test_unknown_name_lists_the_known():
    with pytest.raises(AssetError) as caught:
        asset("whisper")
    assert "contentvec" in caught.value.hint


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("rate", [32000, 40000, 48000])
def test_pretrained_weights_of_every_kind_are_known(version, rate):
    for name in pretrained_names(version, rate):
        assert len(ASSETS[name].files[0].expected.sha256) == 64


def test_rate_without_pretrained_weights_is_told():
    with pytest.raises(AssetError, match="v1 at 16000 Hz"):
        pretrained_names("v1", 16000)


def test_pretrained_place(tmp_path):
    assert place("pretrained_v2/f0G40k", tmp_path) == tmp_path / "pretrained_v2" / "f0G40k.pth"


def test_missing_embedded_file_is_told():
    with pytest.raises(AssetError, match=r"embedded file nothing\.bin is missing"):
        bundled("nothing.bin")


def test_inventory_lists_encoders_and_what_is_there(hub, tmp_path):
    fetch("pretrained_v2/f0G40k", tmp_path, offline=False)
    found = {item.name: item.present for item in inventory(tmp_path)}
    assert found["pretrained_v2/f0G40k"] and not found["contentvec"]
    assert "pretrained/f0G40k" not in found
    assert "pretrained/f0G40k" in {item.name for item in inventory(tmp_path, pretrained=True)}
