"""Speak a text with a speech engine of the system: the source of a conversion from text.

espeak-ng speaks about a hundred languages; flite speaks English, with more natural voices. Both are
programs of their own, called with lists of arguments; the text goes through a file or a pipe.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rvc_colab.config import SpeechConfig, SpeechEngine
from rvc_colab.errors import AudioError
from rvc_colab.workspace import write_atomically

MOST_CHARACTERS = 5000  # about six minutes
ENGLISH = "en"
_PROGRAMS = {SpeechEngine.ESPEAK: ("espeak-ng", "espeak"), SpeechEngine.FLITE: ("flite",)}
_FLITE_VOICE, _FLITE_WORDS_PER_MINUTE = "slt", 175
_PATIENCE_SECONDS = 120.0
_HINT = "Install one, for example: apt-get install espeak-ng"
# What people and browsers call languages that espeak-ng names otherwise.
_NAMES = {"zh": "cmn", "no": "nb", "en": "en-us"}


@dataclass(frozen=True)
class Speaker:
    """A speech engine that is installed: its kind and its program."""

    engine: SpeechEngine
    program: str

    @property
    def languages(self) -> tuple[str, ...]:
        """List the languages it speaks."""
        return (ENGLISH,) if self.engine is SpeechEngine.FLITE else _espeak_languages(self.program)


def speakers() -> list[Speaker]:
    """List the installed speech engines."""
    found = []
    for engine, names in _PROGRAMS.items():
        paths = [path for name in names if (path := shutil.which(name))]
        found += [Speaker(engine, path) for path in paths[:1]]
    return found


@functools.lru_cache(maxsize=4)
def _espeak_languages(program: str) -> tuple[str, ...]:
    """Read the second column of `espeak-ng --voices`."""
    lines = _run([program, "--voices"]).decode("utf-8", "replace").splitlines()[1:]
    codes = [words[1] for line in lines if len(words := line.split()) > 3]
    return tuple(sorted(dict.fromkeys(codes)))


def choose_speaker(config: SpeechConfig) -> Speaker:
    """Choose an engine that speaks the language. Raises AudioError when there is none."""
    installed = speakers()
    if not installed:
        raise AudioError("No speech engine is installed to speak a text.", _HINT)
    wanted = [s for s in installed if config.speech_engine in (SpeechEngine.AUTO, s.engine)]
    if not wanted:
        there = ", ".join(speaker.engine for speaker in installed)
        raise AudioError(
            f"The speech engine {config.speech_engine} is not installed.", f"There is {there}."
        )
    language = config.speech_language
    fitting = [s for s in wanted if _name_in(s, language)]
    if not fitting:
        names = ", ".join(dict.fromkeys(name for s in wanted for name in s.languages))
        raise AudioError(
            f"No installed speech engine speaks {language!r}.",
            f"{', '.join(s.engine for s in wanted)} speaks {names[:300]}.",
        )
    # flite sounds more like a person than espeak-ng does.
    return max(fitting, key=lambda speaker: speaker.engine is SpeechEngine.FLITE)


def _name_in(speaker: Speaker, language: str) -> str:
    """Return what an engine calls a language; empty when it does not speak it."""
    base = language.split("-")[0]
    names = (language, _NAMES.get(language, ""), _NAMES.get(base, ""), base)
    return next((name for name in names if name and name in speaker.languages), "")


def check_text(text: str) -> str:
    """Return a text without its margins. Raises AudioError when it is empty or too long."""
    text = text.strip()
    if not any(character.isalnum() for character in text):
        raise AudioError("There is no text to speak.", "Write what is to be said.")
    if len(text) > MOST_CHARACTERS:
        raise AudioError(
            f"The text has {len(text)} characters; at most {MOST_CHARACTERS} are spoken at once.",
            "Speak it in parts.",
        )
    return text


def speak(text: str, target: str | Path, config: SpeechConfig | None = None) -> Speaker:
    """Write a text as speech into the wav file `target`; return who spoke.

    Raises AudioError when no engine speaks the language, or when it fails.
    """
    config, text, target = config or SpeechConfig(), check_text(text), Path(target)
    if target.suffix.lower() != ".wav":
        raise AudioError(f"{target.name} is no wav file.", "Speech is written as wav.")
    speaker = choose_speaker(config)
    with write_atomically(target) as temporary:
        if speaker.engine is SpeechEngine.FLITE:
            _speak_with_flite(speaker.program, text, temporary, config)
        else:
            name = _name_in(speaker, config.speech_language)
            speed = ["-s", str(config.speech_speed), "-b", "1"]
            order = [speaker.program, "--stdin", "-v", name, *speed, "-w", str(temporary)]
            _run(order, text.encode("utf-8", "replace"))
        if not temporary.is_file() or temporary.stat().st_size < 100:
            raise AudioError(f"{speaker.engine} said nothing of {text[:40]!r}.", "Change the text.")
    return speaker


def _speak_with_flite(program: str, text: str, target: Path, config: SpeechConfig) -> None:
    stretch = _FLITE_WORDS_PER_MINUTE / config.speech_speed
    with tempfile.TemporaryDirectory(prefix="rvc_speech_") as folder:
        written = Path(folder) / "text.txt"
        written.write_text(text, encoding="utf-8")
        order = [program, "-voice", _FLITE_VOICE, "--setf", f"duration_stretch={stretch:.3f}"]
        _run([*order, "-f", str(written), "-o", str(target)])


def _run(order: list[str], given: bytes = b"") -> bytes:
    """Run a speech program and return what it prints. Raises AudioError with its last words."""
    name = Path(order[0]).name
    try:
        done = subprocess.run(order, input=given, capture_output=True, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise AudioError(
            f"{name} did not finish within {_PATIENCE_SECONDS:g} s.", "Give a shorter text."
        ) from error
    except OSError as error:
        raise AudioError(f"{name} cannot be run: {error.strerror or error}.", _HINT) from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise AudioError(f"{name} failed: {''.join(words) or done.returncode}.", "Try another one.")
    return done.stdout
