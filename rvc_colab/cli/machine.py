"""The commands about the machine: `doctor`, `gpu`, `fetch`, `bench`, `ui`."""

from __future__ import annotations

import argparse
import os
import signal

from rvc_colab.cli import drawing
from rvc_colab.errors import ConfigError

LEAST_PAUSE = 0.1  # s between two looks


def doctor(arguments: argparse.Namespace) -> int:
    """Look at the machine; exit code 1 when something needs mending."""
    from rvc_colab import api

    checks = api.doctor(arguments.workspace)
    if arguments.json:
        drawing.say_json({"checks": [check.record() for check in checks]})
    else:
        drawing.say("\n".join(check.line() for check in checks))
    return int(any(check.state == "problem" for check in checks))


def fetch(arguments: argparse.Namespace) -> int:
    """Bring known weights into the cache; without names, list them."""
    from rvc_colab import api
    from rvc_colab.store.assets import ASSETS, is_present
    from rvc_colab.workspace import Workspace

    if arguments.names:
        with_progress = drawing.ConsoleProgress()
        paths = api.fetch(*arguments.names, workspace=arguments.workspace, progress=with_progress)
        with_progress.close()
        if arguments.json:
            drawing.say_json({"fetched": dict(zip(arguments.names, map(str, paths)))})
        else:
            drawing.say("\n".join(map(str, paths)))
        return 0
    cache = Workspace.locate(arguments.workspace).cache
    rows = [(n, a.what, "yes" if is_present(n, cache) else "no", a.repo) for n, a in ASSETS.items()]
    if arguments.json:
        drawing.say_json(
            {"known": [dict(zip(("name", "what", "present", "repo"), r)) for r in rows]}
        )
    else:
        drawing.say(drawing.table(("name", "what", "here", "from"), rows))
    return 0


def bench(arguments: argparse.Namespace) -> int:
    """Measure conversion or training on full-size models with random weights."""
    tables: list[list[list[str]]] = []
    if arguments.what == "convert":
        from rvc_colab.conversion import bench as conversion

        report = conversion.run_bench(arguments.seconds, arguments.threads, arguments.steps)
        tables = [conversion.table_rows(report)]
    else:
        from rvc_colab.training import bench as training

        report = training.run_bench(arguments.batch_size, arguments.threads, arguments.steps)
        tables = [training.table_rows(report), *training.more_tables(report)]
    if arguments.json:
        drawing.say_json(report)
    else:
        for rows in tables:
            drawing.say(drawing.table(rows[0], rows[1:]))
        for note in report.get("notes", []):
            drawing.say(note)
    return 0


def gpu(arguments: argparse.Namespace) -> int:
    """Show devices, memory, loaded models and alerts, once or again and again."""
    from rvc_colab.memory import reports
    from rvc_colab.memory.process import make_lifecycle
    from rvc_colab.workspace import Workspace

    lifecycle = make_lifecycle(Workspace.locate(arguments.workspace))
    if arguments.watch is None:
        if arguments.json:
            drawing.say_json(reports.report(lifecycle))
        else:
            drawing.say(reports.report_text(lifecycle))
        return 0
    if arguments.watch < LEAST_PAUSE:
        raise ConfigError(
            f"--watch {arguments.watch:g} is too often.", f"{LEAST_PAUSE} s at least."
        )
    make = reports.report_line if arguments.json else reports.report_text
    for picture in reports.watch(lifecycle, arguments.watch, make=make):
        drawing.redraw(picture)
    return 0


def ui(arguments: argparse.Namespace) -> int:
    """Open the page and keep it open until Ctrl-C."""
    from rvc_colab.ui import PageOptions, launch
    from rvc_colab.workspace import Workspace

    options = PageOptions(
        host=arguments.listen or "127.0.0.1",
        port=arguments.port,
        public=arguments.public,
        user=arguments.user,
        password=os.environ.get("RVC_UI_PASSWORD", ""),
    )
    page = launch(Workspace.locate(arguments.workspace), options)
    if arguments.json:
        drawing.say_json({"url": page.url, "user": page.user, "password": page.password})
    else:
        drawing.say(page.in_words())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # trainings save before it ends
    page.wait()
    return 0
