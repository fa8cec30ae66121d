"""Make a new voice of the workspace out of two others, by weight."""

from __future__ import annotations

from rvc_colab.errors import VoiceError
from rvc_colab.store.checkpoint import read_voice, write_voice
from rvc_colab.store.voice import merge_voices
from rvc_colab.store.voice_import import ImportedVoice
from rvc_colab.store.voices import card_of, find_voice, voice_name
from rvc_colab.workspace import Workspace


def blend_voices(
    first: str, second: str, new_name: str, share: float, workspace: Workspace
) -> ImportedVoice:
    """Blend two voices (names or paths) into `new_name`: `share` (0..1) of the first.

    Raises VoiceError when they do not fit each other, or when there is a voice of that name.
    """
    target = workspace.weights / f"{voice_name(new_name)}.pth"
    if target.exists():
        raise VoiceError(f"There is a voice {new_name} already.", "Give another name.")
    ours, theirs = (read_voice(find_voice(name, workspace)) for name in (first, second))
    made = merge_voices(ours, theirs, share, new_name)
    write_voice(target, made.weights, made.config, made.metadata)
    return ImportedVoice(card_of(target, workspace), made.warnings)
