"""Text becomes sound: with real engines where they are installed, with stand-ins elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rvc_colab.audio import speech
from rvc_colab.audio.files import probe
from rvc_colab.config import SpeechConfig, SpeechEngine
from rvc_colab.errors import AudioError, ConfigError
from rvc_colab.settings import load

REAL = [e for e, names in speech._PROGRAMS.items() if any(map(shutil.which, names))]
SAYS_HOW = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done > "{folder}/arguments"
cat > "{folder}/heard"
while [ $# -gt 1 ]; do shift; done
head -c 200 /dev/zero > "$1"
"""
KNOWS = """#!/bin/sh
if [ "$1" = --voices ]; then
  printf 'Pty Language Age/Gender VoiceName File\\n'
  printf ' 5 en-us --/M English en\\n 5 es --/M Spanish es\\n 5 cmn --/M Chinese zh\\n'
  exit 0
fi
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an espeak-ng in the path that notes down how it was called; return its folder."""
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(KNOWS + SAYS_HOW.format(folder=tmp_path).removeprefix("#!/bin/sh\n"))
    program.chmod(0o755)
    monkeypatch.setattr(speech.shutil, "which", lambda name: _only(program, name))
    speech._espeak_languages.cache_clear()
    return tmp_path


def _only(program: Path, name: str) -> str | None:
    return str(program) if name == program.name else None


@pytest.mark.parametrize("engine", REAL)
def test_a_text_becomes_sound_and_slower_speech_takes_longer(
    engine: SpeechEngine, tmp_path: Path
) -> None:
    lengths = []
    for speed in (120, 240):
        config = SpeechConfig(speech_engine=engine, speech_speed=speed)
        speech.speak("Good morning, this is a test.", tmp_path / "said.wav", config)
        lengths.append(probe(tmp_path / "said.wav").seconds)
    assert lengths[0] > 1.4 * lengths[1] > 0.7


def test_a_text_is_never_an_argument(stand_in: Path) -> None:
    text = '-w /tmp/x "$(touch pwned)" ; rm -rf .'
    speech.speak(text, stand_in / "said.wav")
    assert (stand_in / "heard").read_text() == text
    assert text not in (stand_in / "arguments").read_text()
    assert (stand_in / "said.wav").stat().st_size == 200


@pytest.mark.parametrize(("asked", "called"), [("en", "en-us"), ("zh", "cmn"), ("es-mx", "es")])
def test_languages_go_by_the_names_people_know(stand_in: Path, asked: str, called: str) -> None:
    speech.speak("hello", stand_in / "said.wav", SpeechConfig(speech_language=asked))
    assert called in (stand_in / "arguments").read_text().splitlines()


def test_a_language_nobody_speaks_is_refused_by_name(stand_in: Path) -> None:
    with pytest.raises(AudioError, match="speaks 'xx'") as refused:
        speech.speak("hello", stand_in / "said.wav", SpeechConfig(speech_language="xx"))
    assert "es" in refused.value.hint


def test_a_failing_engine_leaves_no_file_and_its_last_words(stand_in: Path) -> None:
    (stand_in / "bin" / "espeak-ng").write_text(KNOWS + "echo no voice data >&2; exit 3\n")
    with pytest.raises(AudioError, match="no voice data"):
        speech.speak("hello", stand_in / "said.wav")
    assert not list(stand_in.glob("*.wav"))


def test_without_an_engine_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(AudioError, match="No speech engine") as refused:
        speech.speak("hello", tmp_path / "said.wav")
    assert "espeak-ng" in refused.value.hint


@pytest.mark.parametrize("text", ["", "  ", "... !", "a" * (speech.MOST_CHARACTERS + 1)])
def test_nothing_and_too_much_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        speech.speak(text, tmp_path / "said.wav")


@pytest.mark.parametrize("language", ["../x", "en;ls", "-w", "EN", ""])
def test_what_is_no_language_is_refused(language: str) -> None:
    with pytest.raises(ConfigError):
        load(SpeechConfig, {"speech_language": language})
