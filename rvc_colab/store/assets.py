"""The weights of the world by name: where they come from, and whether a file is the one meant.

`fetch` takes a file from the cache, or from the Hugging Face hub into it, and hands it out only
when size, hash and content were checked. Hashes that are published are in the table; of the
others the hash is recorded when the file is first used, so that a later change shows.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rvc_colab.errors import AssetError, RVCError
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.store.downloads import Expected, check_file, hub_file, is_offline, sha256_of
from rvc_colab.store.published_hashes import PRETRAINED, RMVPE
from rvc_colab.workspace import Workspace, write_atomically

_log = logging.getLogger(__name__)

TINY_ENCODER, DEMO_VOICE, DEMO_INDEX, DEMO_CLIP = (
    "tiny_encoder.safetensors",
    "demo.pth",
    "demo.index",
    "clip.wav",
)
_LJ1995, _APPLIO = "lj1995/VoiceConversionWebUI", "IAHispano/Applio"
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class AssetFile:
    """One file of an asset: its path in the repository, or several of which one exists."""

    paths: tuple[str, ...]
    expected: Expected


@dataclass(frozen=True)
class Asset:
    """Known weights: what they are, the repository, the folder in the cache, the files."""

    name: str
    what: str
    repo: str
    folder: str
    files: tuple[AssetFile, ...]

    @property
    def is_folder(self) -> bool:
        """Tell whether `fetch` returns the folder (several files) or the one file."""
        return len(self.files) > 1

    @property
    def sources(self) -> str:
        """Name the files with their repository, for a person."""
        return ", ".join(f"{self.repo}/{file.paths[0]}" for file in self.files)


def _encoder(name: str, repo: str, folder: str, *weights: str) -> Asset:
    # 95 M parameters: 378 MB in float32, 189 MB in float16.
    files = (
        AssetFile(
            tuple(f"{folder}/{file}" for file in weights), Expected(minimum_bytes=150 * _MEGABYTE)
        ),
        AssetFile((f"{folder}/config.json",), Expected(minimum_bytes=50)),
    )
    return Asset(name, "content encoder", repo, f"encoders/{name}", files)


def _single(name: str, what: str, repo: str, path: str, expected: Expected) -> Asset:
    return Asset(name, what, repo, str(Path(name).parent / ""), (AssetFile((path,), expected),))


def _table() -> dict[str, Asset]:
    embedders = {
        "contentvec": "contentvec",
        "spin": "spin",
        "spin-v2": "spin-v2",
        "chinese-hubert-base": "chinese_hubert_base",
        "japanese-hubert-base": "japanese_hubert_base",
        "korean-hubert-base": "korean_hubert_base",
    }
    found = [
        _encoder(name, _APPLIO, f"Resources/embedders/{folder}", "pytorch_model.bin")
        for name, folder in embedders.items()
    ]
    found.append(
        _encoder("hubert_base", _LJ1995, "hubert_base", "model.safetensors", "pytorch_model.bin")
    )
    found.append(
        _single("rmvpe", "pitch estimator", _LJ1995, "rmvpe.pt", Expected(RMVPE, 100 * _MEGABYTE))
    )
    fcpe = Expected(minimum_bytes=5 * _MEGABYTE)
    found.append(_single("fcpe", "pitch estimator", _APPLIO, "Resources/predictors/fcpe.pt", fcpe))
    for version, folder in (("v1", "pretrained"), ("v2", "pretrained_v2")):
        for kind, sha256 in PRETRAINED[version].items():
            expected = Expected(sha256, 10 * _MEGABYTE)
            name = f"{folder}/{kind}"
            found.append(_single(name, f"pretrained {version}", _LJ1995, f"{name}.pth", expected))
    return {asset.name: asset for asset in found}


ASSETS: dict[str, Asset] = _table()


def asset(name: str) -> Asset:
    """Look up known weights; the file extension and `_`/`-` do not matter. Raises AssetError."""
    plain = re.sub(r"\.(pth?|safetensors|bin)$", "", name.strip())
    for known, found in ASSETS.items():
        if known.lower().replace("_", "-") == plain.lower().replace("_", "-"):
            return found
    raise AssetError(
        f"{name!r} is not among the known weights.",
        f"Known are {', '.join(n for n in ASSETS if '/' not in n)}, pretrained_v2/f0G40k….",
    )


def pretrained_names(version: str, sample_rate: int, has_f0: bool = True) -> tuple[str, str]:
    """Name the published pretrained generator and discriminator for a kind of voice.

    Raises AssetError where none was published (16 kHz, other rates).
    """
    folder, rate = (
        {"v1": "pretrained", "v2": "pretrained_v2"}.get(version, version),
        sample_rate // 1000,
    )
    names = tuple(f"{folder}/{'f0' if has_f0 else ''}{part}{rate}k" for part in "GD")
    if any(name not in ASSETS for name in names):
        raise AssetError(
            f"There are no published pretrained weights for {version} at {sample_rate} Hz.",
            "Train from scratch, or choose 32000, 40000 or 48000 Hz.",
        )
    return names[0], names[1]


def place(name: str, cache: Path | None = None) -> Path:
    """Return where `fetch` keeps known weights: a file, or a folder where there are several."""
    found = asset(name)
    folder = (cache or Workspace.locate().cache) / found.folder
    return folder if found.is_folder else folder / Path(found.files[0].paths[0]).name


def is_present(name: str, cache: Path | None = None) -> bool:
    """Tell whether known weights are in the cache, without checking their content."""
    folder = place(name, cache)
    folder = folder if asset(name).is_folder else folder.parent
    return all(_existing(file, folder) for file in asset(name).files)


@dataclass(frozen=True)
class AssetStatus:
    """Known weights on this machine: where they are, or would be, and where they come from."""

    name: str
    what: str
    present: bool
    path: Path
    sources: str


def inventory(cache: Path | None = None, *, pretrained: bool = False) -> list[AssetStatus]:
    """List the known weights; of the 24 pretrained ones only those present, unless asked for."""
    return [
        AssetStatus(name, found.what, present, place(name, cache), found.sources)
        for name, found in ASSETS.items()
        if (present := is_present(name, cache)) or pretrained or "/" not in name
    ]


def fetch(
    name: str,
    cache: Path | None = None,
    *,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return known weights from the cache, fetched into it when needed; verified either way.

    `offline` None follows HF_HUB_OFFLINE. Raises AssetError, saying which file is missing, where
    it comes from and where to put it.
    """
    wanted, where = asset(name), place(name, cache)
    folder = where if wanted.is_folder else where.parent
    for file in wanted.files:
        path = _existing(file, folder)
        if path is None:
            (progress or SilentProgress()).stage(f"Fetching {wanted.name}")
            _refuse_offline(wanted, file, folder, is_offline() if offline is None else offline)
            _bring(wanted, file, folder)
        else:
            _verify(path, file.expected)
    return where


def bundled(filename: str) -> Path:
    """Return the path of a file shipped inside the package; AssetError when it is missing."""
    path = Path(str(resources.files("rvc_colab") / "assets" / filename))
    if not path.is_file():
        raise AssetError(f"The embedded file {filename} is missing.", "Install rvc_colab again.")
    return path


def _existing(file: AssetFile, folder: Path) -> Path | None:
    return next((path for p in file.paths if (path := folder / Path(p).name).is_file()), None)


def _refuse_offline(wanted: Asset, file: AssetFile, folder: Path, offline: bool) -> None:
    if offline:
        local = folder / Path(file.paths[0]).name
        raise AssetError(
            f"{wanted.name} ({wanted.what}) is not here and downloads are off (HF_HUB_OFFLINE): "
            f"{local.name} of {wanted.repo} is missing.",
            f"Fetch https://huggingface.co/{wanted.repo}/resolve/main/{file.paths[0]} elsewhere "
            f"and save it as {local}.",
        )


def _bring(wanted: Asset, file: AssetFile, folder: Path) -> Path:
    """Fetch one file beside its place, check it, and only then move it there."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / ".fetching"
    last: AssetError | None = None
    for path in file.paths:
        target = folder / Path(path).name
        try:
            arrived = hub_file(wanted.repo, path, staging)
        except AssetError as error:
            last = AssetError(
                error.message,
                f"{error.hint} Or save https://huggingface.co/{wanted.repo}/resolve/main/{path} "
                f"as {target}.",
            )
            if isinstance(error.__cause__, FileNotFoundError):
                continue
            raise last from error
        try:
            _verify(arrived, file.expected)
        except AssetError:
            arrived.unlink(missing_ok=True)
            raise
        os.replace(arrived, target)
        os.replace(_record(arrived), _record(target))
        shutil.rmtree(staging, ignore_errors=True)
        _log.info("fetched %s/%s to %s", wanted.repo, path, target)
        return target
    assert last is not None
    raise last


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256.json")


def _verify(path: Path, expected: Expected) -> None:
    """Check a file once and record it; later only its size and time are compared."""
    status = path.stat()
    try:
        known = json.loads(_record(path).read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("size") == status.st_size and known.get("modified") == status.st_mtime_ns:
        return
    if known.get("sha256") and not expected.sha256 and sha256_of(path) != known["sha256"]:
        raise AssetError(
            f"{path} has changed since its first use (its SHA-256 was {known['sha256'][:12]}…).",
            f"If you replaced it yourself, delete {_record(path).name} beside it; else delete it.",
        )
    found = check_file(path, expected)
    _check_content(path)
    note = {"sha256": found, "size": status.st_size, "modified": status.st_mtime_ns}
    with write_atomically(_record(path)) as temporary:
        temporary.write_text(json.dumps(note))


def _check_content(path: Path) -> None:
    """Check that weights hold tensors and that a configuration is JSON. Raises AssetError."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as tensors:
                tensors.keys()
        else:
            from rvc_colab.store.foreign_pickle import read_foreign_tensors

            read_foreign_tensors(path)
    except RVCError:
        raise
    except Exception as error:  # safetensors raises its own, json ValueError
        raise AssetError(
            f"{path.name} is damaged: {error}.", "Delete it and fetch it again."
        ) from error
