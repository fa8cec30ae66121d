"""Labelled speech of Debian's festival: the diphone voice ked, a fourth recorded speaker.

`apt-get install festival festvox-kdlpc16k festlex-cmu festlex-poslex`.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from pathlib import Path

import soundfile

from recipes.phones import FLITE_FOLDING, PHONE_ID
from recipes.speech_data import RATE, Utterance

OWN_PITCH_HZ = 105.0
_SAY = """
(voice_ked_diphone)
(define (say text wave segments stretch pitch)
  (Parameter.set 'Duration_Stretch stretch)
  (set! int_lr_params (list (list 'target_f0_mean pitch) (list 'target_f0_std 14)
                            (list 'model_f0_mean 170) (list 'model_f0_std 34)))
  (set! spoken (utt.synth (eval (list 'Utterance 'Text text))))
  (utt.save.wave spoken wave 'riff)
  (utt.save.segs spoken segments))
"""


def speak_ked(sentences: list[str], rng: random.Random) -> list[Utterance]:
    """Speak sentences with random tempo and pitch, in one festival process."""
    with tempfile.TemporaryDirectory() as place:
        folder, script = Path(place), [_SAY]
        for number, text in enumerate(sentences):
            stretch = round(rng.uniform(0.8, 1.25), 3)
            pitch = round(OWN_PITCH_HZ * 2 ** rng.uniform(-0.4, 0.5), 1)
            wave, segments = folder / f"{number}.wav", folder / f"{number}.segs"
            script.append(f'(say "{text}" "{wave}" "{segments}" {stretch} {pitch})')
        (folder / "say.scm").write_text("\n".join(script), encoding="utf-8")
        subprocess.run(["festival", "-b", str(folder / "say.scm")], check=True)
        return [_read(folder / f"{number}.wav") for number in range(len(sentences))]


def _read(path: Path) -> Utterance:
    wave, rate = soundfile.read(path, dtype="int16")
    if rate != RATE:
        raise ValueError(f"ked speaks at {rate} Hz; {RATE} Hz is needed")
    # Lines of "end 100 phone" behind the header's "#".
    lines = path.with_suffix(".segs").read_text(encoding="utf-8").split("#\n", 1)[1].splitlines()
    fields = [line.split() for line in lines]
    spans = [(float(end), PHONE_ID[FLITE_FOLDING.get(name, name)]) for end, _, name in fields]
    return Utterance(wave, spans, "festival-ked")
