"""What models need, guessed by their family and refined by what was seen."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rvc_colab.memory.families import Estimate, ModelFamily, ModelKey, Placement

_WEIGHT = 0.5  # of a new observation in the family's correction
_MIN_CORRECTION, _MAX_CORRECTION = 0.1, 10.0


@dataclass
class _Correction:
    """Factors on a family's guesses, learnt from its models seen so far."""

    resident: float = 1.0
    working: float = 1.0


class Estimator:
    """Say what a model needs: what was measured for it, else its family's corrected guess."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resident: dict[tuple[ModelKey, Placement], int] = {}
        self._working: dict[tuple[ModelKey, Placement], int] = {}
        self._guesses: dict[tuple[ModelKey, Placement], Estimate] = {}
        self._corrections: dict[str, _Correction] = {}

    def estimate(self, family: ModelFamily, key: ModelKey, placement: Placement) -> Estimate:
        """Return the bytes a model needs."""
        where = (key, placement)
        guess = self._guesses.get(where)
        if guess is None:
            guess = family.estimate(key, placement)  # may read the head of a file: no lock held
        with self._lock:
            self._guesses[where] = guess
            factor = self._corrections.get(key.family, _Correction())
            resident = self._resident.get(where, round(guess.resident * factor.resident))
            working = self._working.get(where, round(guess.working * factor.working))
        return Estimate(max(0, resident), max(0, working))

    def forget(self, key: ModelKey) -> None:
        """Guess anew: the files behind a key may have changed."""
        with self._lock:
            for table in (self._guesses, self._resident, self._working):
                for where in [where for where in table if where[0] == key]:
                    del table[where]  # type: ignore[attr-defined]

    def saw_resident(self, key: ModelKey, placement: Placement, measured: int) -> None:
        """Learn what a loaded model holds; 0 teaches nothing."""
        if measured > 0:
            self._learn(self._resident, (key, placement), measured, "resident")

    def saw_working(self, key: ModelKey, placement: Placement, measured: int) -> None:
        """Learn what one use took besides; the largest use counts."""
        with self._lock:
            largest = max(measured, self._working.get((key, placement), 0))
        if largest > 0:
            self._learn(self._working, (key, placement), largest, "working")

    def _learn(
        self,
        table: dict[tuple[ModelKey, Placement], int],
        where: tuple[ModelKey, Placement],
        measured: int,
        part: str,
    ) -> None:
        with self._lock:
            table[where] = measured
            guess = self._guesses.get(where)
            guessed = getattr(guess, part) if guess else 0
            if guessed <= 0:
                return
            correction = self._corrections.setdefault(where[0].family, _Correction())
            ratio = min(_MAX_CORRECTION, max(_MIN_CORRECTION, measured / guessed))
            old = getattr(correction, part)
            # Geometric: twice too much and half too little cancel.
            setattr(correction, part, old ** (1 - _WEIGHT) * ratio**_WEIGHT)
