"""Real wheels, tiny, written in a moment."""

from __future__ import annotations

import hashlib
import os
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, requires: tuple[str, ...] = (), megabytes: int = 0
) -> Path:
    """Write a real wheel of one module (and, if asked, a large file in many parts)."""
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    files = {
        f"{name}/__init__.py": f"version = {version!r}\n".encode(),
        f"{info}/METADATA": "\n".join(
            [*lines, *(f"Requires-Dist: {r}" for r in requires), ""]
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    for part in range(megabytes):
        files[f"{name}/part_{part:03}.bin"] = os.urandom(1 << 20)
    record = []
    for path, data in files.items():
        digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(data)}")
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return path
