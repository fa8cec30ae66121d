"""Sentences that anyone can make again offline: seeded templates over the words of `words.txt`."""

from __future__ import annotations

import random
from pathlib import Path

FOLDER = Path(__file__).parent
NONSENSE_SHARE = 0.2  # of the sentences; their invented words bring rare neighbours of phones


def read_words(path: Path = FOLDER / "words.txt") -> dict[str, list[str]]:
    """Read the word classes: class name to its words."""
    classes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, words = line.split(":", 1)
            classes[name] = words.strip().split("|")
    return classes


def evaluation_sentences(path: Path = FOLDER / "evaluation_sentences.txt") -> list[str]:
    """Read the sentences kept for measuring."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def training_sentences(count: int, seed: int) -> list[str]:
    """Make `count` different sentences of 4 to 25 words, none of them an evaluation sentence.

    The same seed gives the same list; other seeds give lists that share next to nothing.
    """
    rng, words = random.Random(seed), read_words()
    made: dict[str, None] = dict.fromkeys(evaluation_sentences())
    kept = len(made)
    while len(made) < count + kept:
        made[_sentence(rng, words)] = None
    return list(made)[kept:]


def _sentence(rng: random.Random, words: dict[str, list[str]]) -> str:
    if rng.random() < NONSENSE_SHARE:
        text = " ".join(_invented_word(rng, words) for _ in range(rng.randint(4, 7)))
    else:
        text = _clause(rng, words)
        if rng.random() < 0.35:
            text = f"{text}, {rng.choice(words['link'])} {_clause(rng, words)}"
        if rng.random() < 0.25:
            text = f"{rng.choice(words['opening'])} {text}"
    return text[0].upper() + text[1:] + rng.choice("...?!")


def _clause(rng: random.Random, words: dict[str, list[str]]) -> str:
    subject = rng.choice(words["name"]) if rng.random() < 0.4 else _thing(rng, words)
    parts = [subject, rng.choice(words["verb"]), _thing(rng, words)]
    if rng.random() < 0.3:
        where = rng.choice(words["place"]) if rng.random() < 0.5 else _thing(rng, words)
        parts += [rng.choice(words["prep"]), where]
    if rng.random() < 0.4:
        parts.append(rng.choice(words["adverb"]))
    return " ".join(parts)


def _thing(rng: random.Random, words: dict[str, list[str]]) -> str:
    article = rng.choice(("the", "the", "this", "that", "my", "your", "his", "her", "their", "our"))
    adjective = rng.choice(words["adj"]) + " " if rng.random() < 0.5 else ""
    return f"{article} {adjective}{rng.choice(words['noun'])}"


def _invented_word(rng: random.Random, words: dict[str, list[str]]) -> str:
    syllables = rng.choice((1, 1, 2))
    return "".join(
        rng.choice(words["onset"]) + rng.choice(words["nucleus"]) + rng.choice(words["coda"])
        for _ in range(syllables)
    )
