"""The content encoders by name, and whether one of them fits a voice.

A voice understands only the encoder it was trained with: another one gives sound of the right
melody without words. Files of RVC-WebUI do not say which it was; there it is ContentVec.
"""

from __future__ import annotations

from pathlib import Path

from rvc_colab.errors import EncoderError

TINY = "tiny"
DEFAULT = "contentvec"
ENCODER_NAMES = (
    DEFAULT,
    "spin",
    "spin-v2",
    "chinese-hubert-base",
    "japanese-hubert-base",
    "korean-hubert-base",
    "hubert_base",
    TINY,
)
# RVC's hubert_base.pt is the 500-class ContentVec checkpoint: the same network under two names.
_SAME_NETWORK = {"hubert_base": DEFAULT, "contentvec_base": DEFAULT, "hubert": DEFAULT}
_UNSAID = {"", "custom", "none", "unknown", "auto"}


def canonical_encoder(name: str) -> str:
    """Return the spelling of a known name (`Chinese_HuBERT_base` → `chinese-hubert-base`).

    What is no known name (a path, for one) is returned as it is.
    """
    plain = name.strip().lower().removesuffix(".pt").removesuffix("/")
    for known in (*ENCODER_NAMES, *_SAME_NETWORK):
        if plain.replace("_", "-") == known.replace("_", "-"):
            return known
    return name.strip()


def default_encoder(voice_encoder: str | None) -> str:
    """Choose the encoder for a voice: the one it names, else ContentVec."""
    named = canonical_encoder(voice_encoder or "")
    return DEFAULT if named.lower() in _UNSAID else named


def check_encoder(voice_encoder: str | None, asked_encoder: str) -> list[str]:
    """Compare the encoder that a voice was made with to the one asked for; return warnings.

    Raises EncoderError when both are known and differ. Warns when the voice does not say and
    another than ContentVec is asked for, and when a path is given, which cannot be compared.
    """
    asked = canonical_encoder(asked_encoder)
    voice = canonical_encoder(voice_encoder or "")
    if voice.lower() in _UNSAID:
        if _network(asked) == DEFAULT:
            return []
        return [
            f"The voice does not say which content encoder it was made with; {asked} is used "
            f"as asked. If the words come out wrong, use {DEFAULT}."
        ]
    if _network(voice) == _network(asked):
        return []
    if asked not in ENCODER_NAMES and asked not in _SAME_NETWORK:
        return [
            f"The voice was made with the encoder {voice}; whether {asked} is the same is unknown."
        ]
    raise EncoderError(
        f"The voice was made with the content encoder {voice}, but {asked} was asked for: "
        "it would not understand a word.",
        f"Use --encoder {voice}, or leave the encoder out.",
    )


def is_known_encoder(name: str) -> bool:
    """Tell whether `name` is a name of ours rather than a path."""
    return canonical_encoder(name) in (*ENCODER_NAMES, *_SAME_NETWORK) and not Path(name).exists()


def _network(name: str) -> str:
    return _SAME_NETWORK.get(name, name)
