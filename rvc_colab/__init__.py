"""Train and use RVC voices. The public verbs, loaded when first used.

import rvc_colab as rvc
rvc.convert("in.wav", "out.wav", voice="demo", transpose=12)
rvc.train("my_voice", "recordings/")
rvc.voices()
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvc_colab.api import convert, doctor, fetch, train, voices
    from rvc_colab.demo import demo
    from rvc_colab.errors import RVCError

__version__ = "0.1.0"
__all__ = ["RVCError", "convert", "demo", "doctor", "fetch", "speak", "train", "voices"]

_HOMES = {
    "convert": "rvc_colab.api",
    "demo": "rvc_colab.demo",
    "doctor": "rvc_colab.api",
    "fetch": "rvc_colab.api",
    "speak": "rvc_colab.api",
    "train": "rvc_colab.api",
    "voices": "rvc_colab.api",
    "RVCError": "rvc_colab.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rvc_colab' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


class _Package(ModuleType):
    """Keep the verbs: loading the module `demo` must not put it in the place of the verb `demo`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
