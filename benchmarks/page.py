"""Measure the page: many clients at once, and the way from the command to the first conversion.

    python benchmarks/page.py load --clients 20
    python benchmarks/page.py start

`load` opens a page with a small voice, lets every client convert a sound of its own length at the
same moment, and checks that each gets its own result. `start` sets the time to the first paint in
a browser and to the first conversion against importing gradio alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
VOICE = ROOT / "tests" / "golden" / "inference" / "tiny_v1_f0_40k.pth"
BEGUN = time.monotonic()


def _write_voice(folder: Path) -> None:
    from rvc_colab.store.checkpoint import read_voice, write_voice
    from rvc_colab.workspace import Workspace

    voice = read_voice(VOICE)
    metadata = replace(voice.metadata, encoder="tiny")
    path = Workspace(folder).weights / "small.pth"
    write_voice(path, voice.weights, voice.config, metadata)


def _open_page(folder: Path) -> Any:
    from rvc_colab.ui import PageOptions, launch
    from rvc_colab.workspace import Workspace

    _write_voice(folder)
    return launch(Workspace(folder), PageOptions())


def _write_tone(path: Path, seconds: float) -> Path:
    import numpy as np
    import soundfile

    time = np.arange(int(16000 * seconds)) / 16000
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 220 * time), 16000)
    return path


def _client(url: str, source: Path, results: dict[str, Any], go: threading.Barrier) -> None:
    from gradio_client import Client, handle_file

    try:
        client = Client(url, verbose=False, download_files=str(source.parent / source.stem))
        go.wait()
        begun = time.monotonic()
        settings = {"seed": 1, "f0_method": "swift"}
        path, report = client.predict(handle_file(source), "small", settings, api_name="/convert")
        results[source.stem] = (path, report, time.monotonic() - begun)
    except Exception as error:
        results[source.stem] = error


def load(clients: int) -> None:
    """Let many clients convert together, twice; say what was lost or mixed up, and the memory."""
    import psutil

    with tempfile.TemporaryDirectory() as folder:
        server, url = _serve(Path(folder) / "workspace")
        process = psutil.Process(server.pid)
        try:
            _round(url, Path(folder), 1)  # loads the models
            print(f"memory of the page, models loaded: {process.memory_info().rss / 1e6:.0f} MB")
            for number in (1, 2):
                peak = [0]
                watch = threading.Thread(target=_watch, args=(process, peak), daemon=True)
                watch.start()
                print(f"round {number}, {_round(url, Path(folder), clients)}", end="")
                print(f"memory at most {peak[0] / 1e6:.0f} MB")
        finally:
            server.terminate()
            server.wait(30)


def _serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Open the page in a process of its own, whose memory is its own."""
    _write_voice(folder)
    command = [sys.executable, "-m", "rvc_colab", "ui", "--workspace", str(folder), "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, str(json.loads(server.stdout.readline())["url"])


def _watch(process: Any, peak: list[int]) -> None:
    while process.is_running():
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.1)


def _round(url: str, folder: Path, clients: int) -> str:
    from rvc_colab.audio.files import probe

    lengths = {f"tone{number:02d}": 2.0 + number / 10 for number in range(clients)}
    results: dict[str, Any] = {}
    go = threading.Barrier(clients)
    threads = []
    for name, seconds in lengths.items():
        sound = _write_tone(folder / f"{name}.wav", seconds)
        threads.append(threading.Thread(target=_client, args=(url, sound, results, go)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = {name: found for name, found in results.items() if not isinstance(found, Exception)}
    mixed = sum(
        abs(probe(path).seconds - lengths[name]) > 0.01 or report["source"] != f"{name}.wav"
        for name, (path, report, _) in done.items()
    )
    waits = sorted(found[2] for found in done.values()) or [0.0]
    spread = f"{waits[0]:.1f}, {waits[len(waits) // 2]:.1f}, {waits[-1]:.1f} s"
    lost = clients - len(done)
    return f"{clients} clients: {lost} lost, {mixed} mixed up; first, median, last {spread}; "


def start() -> None:
    """Measure the start in a fresh process against importing gradio alone, also in one."""
    alone = min(_seconds_of("import gradio") for _ in range(2))
    print(f"import gradio alone: {alone:.1f} s")
    subprocess.run([sys.executable, __file__, "first", "--against", str(alone)], check=True)


def _seconds_of(code: str) -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - begun


def first(against: float) -> None:
    """Open the page in a browser and convert once; times from the start of this process."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        waiting = time.monotonic()
        idle = waiting - BEGUN  # the browser's own start does not count
        page = _open_page(Path(folder))
        _say("the page answers", time.monotonic() - BEGUN - idle, against)
        seen = chromium.new_page()
        seen.goto(page.url)
        seen.wait_for_selector("#convert-go", timeout=60_000)
        _say("its controls are painted", time.monotonic() - BEGUN - idle, against)
        from gradio_client import Client, handle_file

        client = Client(page.url, verbose=False)
        sound = _write_tone(Path(folder) / "tone.wav", 3.0)
        begun = time.monotonic()
        client.predict(handle_file(sound), "small", {"f0_method": "swift"}, api_name="/convert")
        _say("a first conversion of 3 s alone", time.monotonic() - begun, against)
        chromium.close()
        page.close()


def _say(what: str, seconds: float, against: float) -> None:
    print(f"{what}: {seconds:.1f} s, {seconds / against:.2f} of importing gradio alone")


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["load", "start", "first"])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--against", type=float, default=1.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.what == "load":
        load(arguments.clients)
    elif arguments.what == "start":
        start()
    else:
        first(arguments.against)


if __name__ == "__main__":
    main()
