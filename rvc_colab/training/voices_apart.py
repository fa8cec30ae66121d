"""Does more than one person speak? Groups of timbre and pitch, with how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_SEGMENTS = 12
LEAST_SHARE = 0.08  # of the smaller group: fewer stretches are outliers, not a person
# How many pooled standard deviations lie between the two groups. One cloud of points cut in two
# at its middle gives about 2.7 whatever its shape, so nothing below says anything.
SUSPECTED, LIKELY = 4.0, 6.0
_PITCH_SCALE = 3.0  # an octave counts as three standard deviations of timbre


@dataclass(frozen=True)
class Groups:
    """Two groups of stretches: how far apart (in standard deviations), and the smaller's share.

    `labels` [S] 0 or 1 (the smaller); `semitones` between their median pitches.
    """

    distance: float
    share: float
    semitones: float
    labels: np.ndarray

    @property
    def certainty(self) -> str:
        """Return `none`, `suspected` or `likely`."""
        if self.share < LEAST_SHARE or self.distance < SUSPECTED:
            return "none"
        return "likely" if self.distance >= LIKELY else "suspected"


def two_groups(segments: np.ndarray) -> Groups:
    """Divide stretches [S, 13] (twelve cepstral means, log2 of the median pitch) into two groups.

    Two-means from the two ends of the main axis; the distance is that of the groups' centres over
    the spread within them, along the line between them.
    """
    if len(segments) < LEAST_SEGMENTS:
        return Groups(0.0, 0.0, 0.0, np.zeros(len(segments), dtype=np.int64))
    points = segments.astype(np.float64).copy()
    timbre = points[:, :-1]
    scale = timbre.std() + 1e-9
    points[:, :-1] = (timbre - timbre.mean(axis=0)) / scale
    points[:, -1] = (points[:, -1] - points[:, -1].mean()) * _PITCH_SCALE
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    labels = (points @ axis > np.median(points @ axis)).astype(np.int64)
    for _ in range(30):
        centres = np.stack([points[labels == k].mean(axis=0) for k in (0, 1)])
        far = np.square(points[:, None] - centres).sum(axis=2)
        new = far.argmin(axis=1)
        if (new == labels).all() or len(np.unique(new)) < 2:
            break
        labels = new
    if (labels == 1).sum() > len(labels) / 2:
        labels = 1 - labels
    return _measured(points, segments, labels)


def _measured(points: np.ndarray, segments: np.ndarray, labels: np.ndarray) -> Groups:
    one, two = points[labels == 0], points[labels == 1]
    if min(len(one), len(two)) < 2:
        return Groups(0.0, 0.0, 0.0, labels)
    line = two.mean(axis=0) - one.mean(axis=0)
    length = np.linalg.norm(line) + 1e-12
    within = [(part @ line / length).var() * len(part) for part in (one, two)]
    spread = float(np.sqrt(sum(within) / len(points)))
    # Hardly any spread (the same sound over and over) must not make small differences large.
    distance = float(length / max(spread, 0.25))
    octaves = np.median(segments[labels == 1, -1]) - np.median(segments[labels == 0, -1])
    return Groups(distance, float(labels.mean()), float(12 * octaves), labels)


def flat_map(segments: np.ndarray) -> np.ndarray:
    """Lay stretches out on a plane [S, 2]: their two main axes."""
    if len(segments) < 3:
        return np.zeros((len(segments), 2))
    centred = segments - segments.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
