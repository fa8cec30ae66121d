"""Look at recordings before a voice is trained from them: figures, faults, advice in words."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rvc_colab.audio.files import read
from rvc_colab.errors import AudioError, DatasetError
from rvc_colab.profiling import stage
from rvc_colab.progress import Progress, SilentProgress
from rvc_colab.training import charts, sounding
from rvc_colab.training.preprocess import sound_files
from rvc_colab.training.sounding import Figures, Sounding
from rvc_colab.training.voices_apart import Groups, flat_map, two_groups
from rvc_colab.training.working_set import WorkingSet, file_hash, key_of
from rvc_colab.workspace import write_atomically

_log = logging.getLogger(__name__)

LEAST_MINUTES, GOOD_MINUTES = 1.0, 10.0
CLIPPED_BAD, CLIPPED_SOME = 1e-3, 1e-5
SNR_BAD, SNR_SOME = 15.0, 25.0
SILENT_SHARE = 0.5
QUIET_DB = -40.0
NARROW = 0.6  # of half the sample rate of the voice
_SAME_SECONDS, _SAME_CORRELATION, _SAME_LEAST = 0.3, 0.99, 10


@dataclass(frozen=True)
class Finding:
    """Something found, with advice. With `serious` ones `--strict` refuses to train."""

    text: str
    advice: str
    serious: bool = False

    def in_words(self) -> str:
        """Say it in one line."""
        return f"{self.text} {self.advice}"


@dataclass(frozen=True)
class Inspection:
    """The figures of each recording by its path, what was found, and the groups of timbre."""

    folder: str
    figures: dict[str, Figures]
    findings: tuple[Finding, ...]
    duplicates: tuple[tuple[str, ...], ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    picture: str = field(default="", repr=False)  # SVG

    @property
    def seconds(self) -> float:
        """Return the length of all recordings together."""
        return sum(item.seconds for item in self.figures.values())

    @property
    def serious(self) -> list[Finding]:
        """Return what `--strict` refuses."""
        return [finding for finding in self.findings if finding.serious]

    def record(self) -> dict[str, Any]:
        """Return everything but the picture as plain values."""
        return {
            "folder": self.folder,
            "seconds": self.seconds,
            "findings": [asdict(finding) for finding in self.findings],
            "duplicates": self.duplicates,
            "failed": self.failed,
            "recordings": {path: item.record() for path, item in self.figures.items()},
        }

    def in_words(self) -> str:
        """Say what was measured and found."""
        items = list(self.figures.values())
        snr = [item.snr_db for item in items if item.snr_db is not None]
        pitch = [item.f0_median for item in items if item.f0_median is not None]
        lines = [
            f"{len(items)} recordings, {self.seconds / 60:.1f} min at "
            f"{', '.join(f'{rate} Hz' for rate in sorted({i.sample_rate for i in items}))}.",
            f"Noise: {np.median(snr):.0f} dB under the voice." if snr else "Noise: not measurable.",
        ]
        if pitch:
            low = min(i.f0_low for i in items if i.f0_low is not None)
            high = max(i.f0_high for i in items if i.f0_high is not None)
            lines.append(f"Pitch: {np.median(pitch):.0f} Hz, from {low:.0f} to {high:.0f} Hz.")
        lines += [
            f"{'Fault' if finding.serious else 'Note'}: {finding.in_words()}"
            for finding in self.findings
        ]
        return "\n".join([*lines, *([] if self.findings else ["Nothing to complain about."])])


def inspect_folder(
    folder: str | Path,
    working_set: WorkingSet | None = None,
    sample_rate: int | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Measure every recording of a folder and its sub-folders; `sample_rate` is the voice's.

    What is in the working set is not measured again. Raises DatasetError when there is no sound.
    """
    folder, progress = Path(folder).expanduser(), progress or SilentProgress()
    paths = sound_files(folder)[0]
    progress.stage("Looking at the recordings", len(paths))
    heard: dict[str, Sounding] = {}
    failed, hashes = {}, {}
    for path in paths:
        progress.check()
        name = path.relative_to(folder).as_posix()
        try:
            with stage("inspect"):
                hashes[name] = file_hash(path)
                heard[name] = _sounding(path, hashes[name], working_set)
        except (AudioError, OSError) as error:
            failed[name] = error.message if isinstance(error, AudioError) else str(error)
        progress.advance(1, name)
    if not heard:
        raise DatasetError(
            f"None of the {len(paths)} recordings in {folder} can be read. "
            f"{next(iter(failed.values()))}",
            "Give recordings as wav, flac or mp3.",
        )
    figures = {name: item.figures for name, item in heard.items()}
    same = duplicates(heard, hashes)
    segments = np.concatenate([item.segments for item in heard.values()])
    groups = two_groups(segments)
    found = [
        *_about_amount(figures, failed, same),
        *_about_sound(figures, sample_rate),
        *_about_speakers(groups),
    ]
    picture = _picture(heard, segments, groups)
    return Inspection(str(folder.absolute()), figures, tuple(found), same, failed, picture)


def _sounding(path: Path, content: str, working_set: WorkingSet | None) -> Sounding:
    key = key_of(recording=content, inspection=sounding.RECIPE)
    if working_set is not None and working_set.holds("inspection", key):
        arrays = working_set.read("inspection", key)
        figures = Figures(**json.loads(str(arrays["figures"])))
        return Sounding(figures, arrays["envelope"], arrays["segments"])
    wave, rate = read(path)
    made = sounding.sound_out(wave, rate)
    if working_set is not None:
        arrays = {"envelope": made.envelope, "segments": made.segments}
        figures_text = np.array(json.dumps(made.figures.record()))
        working_set.write("inspection", key, arrays | {"figures": figures_text})
    return made


def duplicates(heard: dict[str, Sounding], hashes: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """Group recordings of the same bytes, or as long as each other and as loud all the way."""
    order = sorted(heard, key=lambda name: heard[name].figures.seconds)
    groups: list[list[str]] = []
    for name in order:
        for group in reversed(groups[-20:]):  # neighbours in length
            if _same(heard[group[0]], heard[name]) or hashes[group[0]] == hashes[name]:
                group.append(name)
                break
        else:
            groups.append([name])
    return tuple(tuple(sorted(group)) for group in groups if len(group) > 1)


def _same(one: Sounding, two: Sounding) -> bool:
    if abs(one.figures.seconds - two.figures.seconds) > _SAME_SECONDS:
        return False
    count = min(len(one.envelope), len(two.envelope))
    if count < _SAME_LEAST:
        return False
    a, b = one.envelope[:count], two.envelope[:count]
    if a.std() < 1.0 or b.std() < 1.0:
        return False  # as loud all the way: says nothing
    return bool(np.corrcoef(a, b)[0, 1] > _SAME_CORRELATION)


def _about_amount(
    figures: dict[str, Figures], failed: dict[str, str], same: Sequence[tuple[str, ...]]
) -> list[Finding]:
    found = []
    minutes = sum(item.seconds * (1 - item.silence) for item in figures.values()) / 60
    if minutes < GOOD_MINUTES:
        found.append(
            Finding(
                f"There are {minutes:.1f} min of voice.",
                f"{GOOD_MINUTES:g} min or more give a better voice.",
                minutes < LEAST_MINUTES,
            )
        )
    for name, why in failed.items():
        found.append(Finding(f"{name} cannot be read: {why}", "Mend or remove it."))
    if same:
        names = "; ".join(" = ".join(group) for group in same[:5])
        copies = sum(len(group) - 1 for group in same)
        much = copies > 0.2 * len(figures)
        found.append(
            Finding(f"{copies} recordings are there twice: {names}.", "Remove the copies.", much)
        )
    rates = Counter(item.sample_rate for item in figures.values())
    if len(rates) > 1:
        text = ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common())
        found.append(Finding(f"The sample rates are mixed: {text}.", "They are converted."))
    return found


def _about_sound(figures: dict[str, Figures], sample_rate: int | None) -> list[Finding]:
    found = []
    bad = _named(figures, lambda item: item.clipped > CLIPPED_BAD)
    some = _named(figures, lambda item: CLIPPED_SOME < item.clipped <= CLIPPED_BAD)
    advice = "Record them more quietly, or leave them out."
    if bad:
        found.append(Finding(f"Clipped, audibly: {bad}.", advice, True))
    if some:
        found.append(Finding(f"Clipped here and there: {some}.", advice))
    noisy = _named(figures, lambda item: item.snr_db is not None and item.snr_db < SNR_BAD)
    hiss = [item.snr_db for item in figures.values() if item.snr_db is not None]
    advice = "Clean them or leave them out: the voice learns the noise too."
    if noisy:
        most = len(hiss) and float(np.median(hiss)) < SNR_BAD
        found.append(
            Finding(f"Noise less than {SNR_BAD:g} dB under the voice: {noisy}.", advice, bool(most))
        )
    elif hiss and np.median(hiss) < SNR_SOME:
        found.append(Finding(f"Noise is audible: {np.median(hiss):.0f} dB under it.", advice))
    if quiet := _named(figures, lambda item: item.level_db < QUIET_DB):
        found.append(Finding(f"Very quiet: {quiet}.", "Noise is raised with the voice."))
    if silent := _named(figures, lambda item: item.silence > SILENT_SHARE):
        found.append(Finding(f"More than half silent: {silent}.", "The silence is cut out."))
    if toneless := _named(figures, lambda item: item.f0_median is None):
        found.append(Finding(f"No pitch was found: {toneless}.", "Is there a voice in it?"))
    if sample_rate:
        least = NARROW * sample_rate / 2
        if dull := _named(figures, lambda item: item.bandwidth_hz < least):
            found.append(
                Finding(
                    f"Nothing above {least / 1000:.1f} kHz: {dull}.",
                    f"A voice of {sample_rate} Hz will sound dull; choose a lower --sample-rate.",
                )
            )
    return found


def _about_speakers(groups: Groups) -> list[Finding]:
    if groups.certainty == "none":
        return []
    apart = f"two groups, {1 - groups.share:.0%} and {groups.share:.0%} of the time"
    if abs(groups.semitones) >= 1:
        apart += f", {abs(groups.semitones):.0f} semitones apart"
    how = (
        "Very probably two people speak (or one with two microphones):"
        if groups.certainty == "likely"
        else "Perhaps more than one person speaks; singing beside speech can look the same:"
    )
    return [
        Finding(
            f"{how} timbre and pitch fall into {apart}.",
            "Listen to some recordings and leave the others' out.",
            groups.certainty == "likely",
        )
    ]


def _named(figures: dict[str, Figures], fits: Any) -> str:
    names = [name for name, item in figures.items() if fits(item)]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _picture(heard: dict[str, Sounding], segments: np.ndarray, groups: Groups) -> str:
    items = [item.figures for item in heard.values()]
    places = flat_map(segments)
    clouds = {
        name: [(float(x), float(y)) for x, y in places[groups.labels == number]]
        for number, name in enumerate(("most", "others"))
        if groups.certainty != "none" or number == 0
    }
    if groups.certainty == "none":
        clouds = {"all": [(float(x), float(y)) for x, y in places]}
    panels = [
        charts.histogram("Length of the recordings, s", [item.seconds for item in items]),
        charts.histogram("Level of the voice, dBFS", [item.level_db for item in items]),
        charts.histogram(
            "Noise under the voice, dB", [item.snr_db for item in items if item.snr_db is not None]
        ),
        charts.histogram("Pitch, Hz", [float(2**octave) for octave in segments[:, -1]]),
        charts.histogram("Silence, share", [item.silence for item in items]),
        charts.dots("Timbre and pitch of stretches", clouds),
    ]
    return charts.page(panels)


def write_inspection(inspection: Inspection, folder: Path) -> list[Path]:
    """Write `inspection.json` and `inspection.svg` into a folder."""
    text = json.dumps(inspection.record(), indent=1, ensure_ascii=False)
    written = []
    for name, content in (("inspection.json", text), ("inspection.svg", inspection.picture)):
        with write_atomically(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
        written.append(folder / name)
    return written


def refuse_if_strict(inspection: Inspection, strict: bool) -> list[str]:
    """Return the findings as warnings. Raises DatasetError for serious ones when `strict`."""
    if strict and inspection.serious:
        raise DatasetError(
            " ".join(finding.in_words() for finding in inspection.serious),
            "Mend the recordings, or run it again with --no-strict.",
        )
    for finding in inspection.serious:
        _log.warning("%s", finding.in_words())
    return [finding.in_words() for finding in inspection.findings]
