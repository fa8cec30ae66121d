"""All notebooks from top to bottom in a real kernel, on faked platforms and the demo voice."""

from __future__ import annotations

import os
import wave
import zipfile
from pathlib import Path

from fakes.kernel import Ran, run_notebook

STEPS = {"steps": ["3", "5"]}


def _gone(ran: Ran) -> bool:
    """Tell whether no process of this run is left."""
    mark = str(ran.root).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes() and int(path.parent.name) != os.getpid():
                return False
        except OSError:
            continue
    return True


def test_the_colab_notebook_runs_with_every_default(tmp_path: Path) -> None:
    ran = run_notebook("colab/rvc_colab.ipynb", tmp_path, "colab")
    assert ran.errors() == []
    drive = tmp_path / "content/drive/MyDrive/RVC_Colab"
    with wave.open(str(drive / "converted/clip_demo.wav")) as sound:
        assert sound.getnframes() > 7 * sound.getframerate()
    assert (drive / "exports/demo-voice.000001.zip.manifest.json").is_file()
    assert os.readlink(tmp_path / "workspace/weights") == str(drive / "weights")
    assert "Google Colab" in ran.text(1) and "switched off" in ran.text(5)
    assert _gone(ran)


def test_the_colab_notebook_runs_without_drive_and_without_widgets(tmp_path: Path) -> None:
    ran = run_notebook(
        "colab/rvc_colab.ipynb", tmp_path, "colab", mount_failure="denied", without_widgets=True
    )
    assert ran.errors() == []
    assert "not allowed" in ran.text(2) and "kept on this machine only" in ran.text(2)
    assert "Converting clip.wav into demo: done" in ran.text(4)
    assert (tmp_path / "workspace/converted/clip_demo.wav").is_file()


def test_a_failing_cell_ends_run_all_in_its_sentence(tmp_path: Path) -> None:
    ran = run_notebook("colab/rvc_colab.ipynb", tmp_path, "colab", {"source": ['"no such voice"']})
    ((first, second),) = ran.errors()
    assert first.startswith("✗ ") and "no such voice" in first and second.startswith("→ ")
    assert ran.code[3].execution_count is None  # the next cell was not run


def test_the_kaggle_notebook_saves_one_zip(tmp_path: Path) -> None:
    ran = run_notebook("notebooks/kaggle.ipynb", tmp_path, "kaggle")
    assert ran.errors() == []
    with zipfile.ZipFile(tmp_path / "kaggle/working/RVC_Colab.zip") as packed:
        assert "converted/clip_demo.wav" in packed.namelist()
    assert "Kaggle" in ran.text(1)


def test_the_page_notebook_shows_the_rule_and_opens_nothing(tmp_path: Path) -> None:
    ran = run_notebook("colab/rvc_colab_ui.ipynb", tmp_path, "colab")
    assert ran.errors() == []
    assert "Colab's rule" in ran.text(3) and "not opened" in ran.text(3)


def test_the_first_lesson_converts_twice(tmp_path: Path) -> None:
    ran = run_notebook("notebooks/01_convert.ipynb", tmp_path)
    assert ran.errors() == []
    made = sorted(p.name for p in (tmp_path / "workspace/converted").iterdir())
    assert made == ["clip_demo.take-1.wav", "clip_demo.wav"]


def test_the_second_lesson_trains_and_goes_on(tmp_path: Path) -> None:
    ran = run_notebook("notebooks/02_train.ipynb", tmp_path, values=STEPS)
    assert ran.errors() == []
    assert (tmp_path / "workspace/weights/lesson.pth").is_file()
    assert (tmp_path / "workspace/converted/clip_lesson.wav").is_file()
    history = (tmp_path / "workspace/logs/lesson/history.jsonl").read_text()
    assert '"step": 5' in history.splitlines()[-1]


def test_the_third_lesson_packs_and_brings_back(tmp_path: Path) -> None:
    ran = run_notebook("notebooks/03_publish.ipynb", tmp_path)
    assert ran.errors() == []
    assert (tmp_path / "workspace/weights/my_copy.pth").is_file()
    shown = [o.data["text/plain"] for o in ran.code[4].outputs if "data" in o]
    assert "my_copy.000003" in shown[0] and "True" in shown[0]
