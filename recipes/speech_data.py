"""Labelled speech from two speech synthesisers: flite (recorded voices) and espeak-ng (formants).

Both are ordinary packages (`apt-get install flite espeak-ng`); nothing is downloaded.
"""

from __future__ import annotations

import ctypes
import random
import re
import subprocess
import tempfile
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from recipes.phones import (
    ESPEAK,
    ESPEAK_WITH_R,
    ESPEAK_WITHOUT_R,
    FIRST_SHARE,
    FLITE_FOLDING,
    PHONE_ID,
    PHONES,
    SCOTTISH,
    SILENCE,
)

RATE = 16000  # Hz
FRAME_HOP, FRAME_CENTRE = 320, 200  # samples: frame i covers 320 i … 320 i + 400, as HuBERT's

# Accents with their weight, and whether they speak an r after vowels.
ESPEAK_ACCENTS = {
    "en-us": (4, True),
    "en-us-nyc": (2, True),
    "en-gb-scotland": (8, True),
    "en-gb-x-rp": (2, False),
    "en-gb-x-gbclan": (1, False),
    "en-gb-x-gbcwmd": (1, False),
    "en-029": (1, False),
}
SCOTTISH_SHARE = 0.8  # of the Scottish sentences: with the sounds of `SCOTTISH`
_VARIANTS = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario "
    "Michael Mike Nguyen RicishayMax Storm Tweaky adam anika announcer antonio aunty belinda "
    "benjamin boris caleb david ed edward f1 f2 f3 f4 f5 grandma grandpa gustave iven john "
    "kaukovalta klatt klatt2 klatt3 klatt4 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel "
    "miguel norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 steph3 travis "
    "victor zac"
)
ESPEAK_VARIANTS = _VARIANTS.split()


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: int16 wave at 16 kHz, phone spans, and who said it."""

    wave: np.ndarray
    spans: list[tuple[float, int]]  # (end in seconds, phone id), in order
    voice: str

    def labels(self) -> np.ndarray:
        """Return the phone at the centre of every 20 ms frame, uint8 [T]."""
        frames = max(1, (len(self.wave) - 80) // FRAME_HOP)
        centres = (np.arange(frames) * FRAME_HOP + FRAME_CENTRE) / RATE
        ends = np.array([end for end, _ in self.spans])
        phones = np.array([phone for _, phone in self.spans] + [PHONE_ID[SILENCE]], np.uint8)
        return phones[np.searchsorted(ends, centres, side="right")]


def speak_flite(text: str, voice: str, stretch: float = 1.0, pitch_hz: float = 0.0) -> Utterance:
    """Speak with a flite voice; `-psdur` prints each phone with its end.

    `stretch` multiplies durations; `pitch_hz` is the target mean, 0 for the voice's own.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as target:
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", target.name]
        command += ["--setf", f"duration_stretch={stretch}"]
        if pitch_hz:
            command += ["--setf", f"int_f0_target_mean={pitch_hz}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wave, rate = soundfile.read(target.name, dtype="int16")
    if rate != RATE:
        raise ValueError(f"flite voice {voice} speaks at {rate} Hz; {RATE} Hz is needed")
    spans = []
    for item in said.split():
        phone, end = item.split(":")
        spans.append((float(end), PHONE_ID[FLITE_FOLDING.get(phone, phone)]))
    return Utterance(wave, spans, f"flite-{voice}")


# One sound (the longest name that fits), or a mark, in espeak-ng's spelling.
_TOKEN = "|".join(map(re.escape, sorted(ESPEAK, key=len, reverse=True))) + "|."


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


class Espeak:
    """espeak-ng through its C interface (speak_lib.h), which tells when each phoneme starts."""

    SYNCHRONOUS, PHONEME_EVENTS, UTF8, PHONEMES = 2, 1, 1, 0x100
    PHONEME = 7  # espeak_EVENT_TYPE
    RATE_PARAMETER, PITCH_PARAMETER, RANGE_PARAMETER = 1, 3, 4

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self._library.espeak_Initialize(self.SYNCHRONOUS, 0, None, self.PHONEME_EVENTS)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        if self.rate <= 0:
            raise RuntimeError("espeak-ng did not start; is its data installed?")
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
        )
        self._callback = kind(self._receive)  # kept: C holds only the address
        self._library.espeak_SetSynthCallback(self._callback)
        self._blocks: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []

    def _receive(self, wave: object, count: int, events: object) -> int:
        position = 0
        while events[position].type:
            event = events[position]
            if event.type == self.PHONEME:
                self._events.append((event.sample, event.id.string.decode("utf-8", "replace")))
            position += 1
        if wave and count:
            self._blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    def speak(self, text: str, accent: str, variant: str, rng: random.Random) -> Utterance:
        """Speak with an accent and a voice variant; `rng` draws rate, pitch and liveliness."""
        self._choose(accent, variant, rng)
        self._say(text, self.UTF8)
        return self._utterance(accent, variant)

    def speak_scottish(self, text: str, variant: str, rng: random.Random) -> Utterance | None:
        """Speak with the sounds of `SCOTTISH` drawn anew; None where espeak-ng changed others."""
        accent = "en-gb-scotland"
        self._choose(accent, variant, rng)
        ways = {name: rng.choice(choices) for name, (choices, _) in SCOTTISH.items()}
        spoken, expected = [], []
        for token in re.findall(_TOKEN, self._phonemes(text)):
            said = ways.get(token, token)
            spoken.append(said.replace(" ", ""))
            if token in ESPEAK:
                label = f"={SCOTTISH[token][1]}" if token in SCOTTISH else token
                expected += [label] * len(said.split())
        self._say(f"[[{''.join(spoken)}]]", self.UTF8 | self.PHONEMES)
        heard = [event for event in self._events if not event[1].startswith("_")]
        if len(heard) != len(expected):
            return None
        names = iter(expected)
        self._events = [
            (start, name if name.startswith("_") else next(names)) for start, name in self._events
        ]
        return self._utterance(accent, variant)

    def _choose(self, accent: str, variant: str, rng: random.Random) -> None:
        voice = f"{accent}+{variant}"
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        for parameter, low, high in (
            (self.RATE_PARAMETER, 130, 210),  # words a minute
            (self.PITCH_PARAMETER, 25, 80),  # 0 … 100
            (self.RANGE_PARAMETER, 25, 90),
        ):
            self._library.espeak_SetParameter(parameter, rng.randint(low, high), 0)

    def _say(self, text: str, flags: int) -> None:
        self._blocks, self._events = [], []
        said = text.encode()
        self._library.espeak_Synth(said, len(said) + 1, 0, 1, 0, flags, None, None)

    def _phonemes(self, text: str) -> str:
        """Return espeak-ng's phoneme names of the first clause, stress marks among them."""
        kept = ctypes.create_string_buffer(text.encode())
        place = ctypes.cast(kept, ctypes.c_void_p)
        return str(self._library.espeak_TextToPhonemes(ctypes.byref(place), 1, 0).decode())

    def _utterance(self, accent: str, variant: str) -> Utterance:
        sound = np.concatenate(self._blocks).astype(np.float32) / 32768
        wave = soxr.resample(sound, self.rate, RATE)
        spans = espeak_spans(self._events, len(sound), self.rate, ESPEAK_ACCENTS[accent][1])
        whole = (wave.clip(-1, 1) * 32767).astype(np.int16)
        return Utterance(whole, spans, f"espeak-{accent}+{variant}")


def espeak_spans(
    events: list[tuple[int, str]], samples: int, rate: int, speaks_r: bool
) -> list[tuple[float, int]]:
    """Turn phoneme starts into (end, phone id); a name not known lengthens the phone before it."""
    table = ESPEAK | {f"={phone}": (phone,) for phone in PHONES}
    table |= ESPEAK_WITH_R if speaks_r else ESPEAK_WITHOUT_R
    known = []
    for (start, name), (_, after) in zip(events, [*events[1:], (samples, "")], strict=True):
        if name in table:
            # Where the r follows as a sound of its own, the vowel before it ends without one.
            phones = table[name][:1] if after in ("r", "r-") else table[name]
            known.append((start, phones))
    spans = [(known[0][0] / rate, PHONE_ID[SILENCE])] if known else []
    ends = [start for start, _ in known[1:]] + [samples]
    for (start, phones), end in zip(known, ends, strict=True):
        if len(phones) == 2:
            middle = start + FIRST_SHARE * (end - start)
            spans.append((middle / rate, PHONE_ID[phones[0]]))
        spans.append((end / rate, PHONE_ID[phones[-1]]))
    return spans


def draw_flite(text: str, voice: str, rng: random.Random) -> Utterance:
    """Speak with a random tempo and pitch around the voice's own."""
    own_pitch = {"slt": 180.0, "rms": 100.0, "kal16": 105.0, "awb": 130.0}[voice]
    stretch = rng.uniform(0.8, 1.25) if rng.random() < 0.8 else 1.0
    pitch = own_pitch * 2 ** rng.uniform(-0.4, 0.4) if rng.random() < 0.8 else 0.0
    return speak_flite(text, voice, round(stretch, 3), round(pitch, 1))


def draw_espeak(text: str, espeak: Espeak, rng: random.Random) -> Utterance:
    """Speak with a random accent, variant, tempo and pitch."""
    weights = [weight for weight, _ in ESPEAK_ACCENTS.values()]
    accent = rng.choices(list(ESPEAK_ACCENTS), weights)[0]
    if accent == "en-gb-scotland" and rng.random() < SCOTTISH_SHARE:
        spoken = espeak.speak_scottish(text, rng.choice(ESPEAK_VARIANTS), rng)
        if spoken is not None:
            return spoken
    return espeak.speak(text, accent, rng.choice(ESPEAK_VARIANTS), rng)
