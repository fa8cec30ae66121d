"""Train and use RVC voices. The public verbs, loaded when first used.

import rvc_colab as rvc
rvc.convert("in.wav", "out.wav", voice="demo", transpose=12)
rvc.train("my_voice", "recordings/")
rvc.voices()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvc_colab.api import convert, doctor, fetch, train, voices
    from rvc_colab.demo import demo
    from rvc_colab.errors import RVCError

__version__ = "0.1.0"
__all__ = ["RVCError", "convert", "demo", "doctor", "fetch", "train", "voices"]

_HOMES = {
    "convert": "rvc_colab.api",
    "demo": "rvc_colab.demo",
    "doctor": "rvc_colab.api",
    "fetch": "rvc_colab.api",
    "train": "rvc_colab.api",
    "voices": "rvc_colab.api",
    "RVCError": "rvc_colab.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rvc_colab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
