"""How a conversion looks on the page: waiting, at work, done, stopped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from rvc_colab.memory.turns import Standing
from rvc_colab.ui.conversions import ConversionJob, Outcome
from rvc_colab.ui.job_view import card, line, stage_bar, standing_in_words
from rvc_colab.ui.jobs import FAILED, STOPPED, WAITING
from rvc_colab.ui.pictures import table
from rvc_colab.ui.player import Side, compare, file_address, listen
from rvc_colab.ui.texts import say

MOST_EARLIER = 20
COLUMNS = ("source", "result", "seconds", "notes")


def live_view(job: ConversionJob, standing: Standing, language: str) -> str:
    """Show a conversion that waits or is at work."""
    if job.state == WAITING:
        return card(line(standing_in_words(standing, language)))
    words = line(say("queue.beside", language)) if job.turn.beside else ""
    if job.cancelled:
        words += line(say("convert.stopping", language))
    return card(stage_bar(job, language) + words)


def ended_view(job: ConversionJob, language: str) -> str:
    """Show a result as the comparing player, several as a table with a zip, or why it ended."""
    said = ""
    if job.state == STOPPED and len(job.outcomes) < max(1, len(job.files)):
        made = len([o for o in job.outcomes if o.result is not None])
        said = line(say("convert.stopped", language))
        if made:
            said += line(say("convert.stopped_made", language, made=made, all=len(job.files)))
        said = card(said)
    if job.state == FAILED:
        said = card(line(job.message), problem=True)
    if job.looks:
        return said + _single(job, language)
    return said + (_several(job, language) if job.outcomes else "")


def _single(job: ConversionJob, language: str) -> str:
    outcome = job.outcomes[0]
    assert outcome.result is not None and outcome.result.target is not None
    titles = [say(f"convert.{name}", language) for name in ("before", "after")]
    paths = (outcome.source, outcome.result.target)
    sides = [Side(*given) for given in zip(paths, titles, job.looks, strict=True)]
    told = outcome.result.in_words().splitlines()[0].split(": ", 1)[-1]
    notes = "".join(f"<li>{html.escape(text)}</li>" for text in outcome.result.warnings)
    notes = f"<ul>{notes}</ul>" if notes else ""
    player = compare(sides[0], sides[1], say("convert.download", language))
    details = f'<p class="rvc-subdued">{html.escape(told)}</p>' + (
        f"<ul>{notes}</ul>" * bool(notes)
    )
    return player + details


def _several(job: ConversionJob, language: str) -> str:
    header = [say(f"convert.column.{name}", language) for name in COLUMNS]
    shown = table(header, rows_of(job.outcomes))
    if job.archive is None:
        return shown
    words = html.escape(say("convert.zip", language))
    address = file_address(job.archive)
    return f'{shown}<a class="rvc-download" download href="{address}">⬇ {words}</a>'


def earlier(jobs: Sequence[ConversionJob]) -> str:
    """Offer the results of earlier conversions, the newest first."""
    made = [o.result.target for job in jobs for o in job.outcomes if o.result and o.result.target]
    return "".join(listen(path, path.name) for path in made[:MOST_EARLIER] if path.is_file())


def rows_of(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return file, result, seconds, warnings of each file."""
    rows = []
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            rows.append([outcome.source.name, "–", "–", outcome.problem])
            continue
        name = result.target.name if result.target else "–"
        warnings = " ".join(result.warnings)
        rows.append([outcome.source.name, name, f"{result.seconds:.2f}", warnings])
    return rows
