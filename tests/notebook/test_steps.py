"""The verbs of the cells, with each refusal of the platform: words, never a traceback, no loss."""

from __future__ import annotations

import errno
import importlib
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fakes.colab import FakeColab
from fakes.kaggle import FakeSecrets

from rvc_colab.errors import VoiceError
from rvc_colab.notebook import drive, install, outlet, steps
from rvc_colab.notebook.drive import Places, Storage
from rvc_colab.notebook.environment import COLAB, JUPYTER, KAGGLE, Environment
from rvc_colab.notebook.jobs import Job
from rvc_colab.notebook.steps import Studio
from rvc_colab.notebook.widgets import CellStop
from rvc_colab.store.assets import bundled
from rvc_colab.workspace import Workspace

PATIENCE_SECONDS = 60.0
LONG = 100_000

pytestmark = pytest.mark.usefixtures("light_jobs")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    place = Workspace(tmp_path / "workspace")
    place.root.mkdir()
    kaggle = tmp_path / "kaggle"
    places = Places(tmp_path / "colab/content/drive", kaggle / "working", kaggle / "input")
    return Studio(place, Environment(JUPYTER), Storage("local", place.root), places, voice="ann")


@pytest.fixture
def on_colab(studio: Studio, colab: FakeColab) -> Studio:
    studio.environment = Environment(COLAB)
    return studio


@pytest.fixture
def on_kaggle(studio: Studio, kaggle: FakeSecrets) -> Studio:
    studio.environment = Environment(KAGGLE, interactive=False)
    studio.places.kaggle_input.mkdir(parents=True)
    return studio


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: capsys.readouterr().out


def _voice(studio: Studio, name: str = "ann") -> Path:
    """A file under a voice's name: enough for verbs that do not open it."""
    path = studio.workspace.weights / f"{name}.pth"
    path.write_bytes(b"a voice")
    return path


def _recordings(studio: Studio, name: str = "ann") -> Path:
    folder = studio.storage.folder("recordings") / name
    folder.mkdir(parents=True)
    (folder / "one.wav").write_bytes(bundled("clip.wav").read_bytes())
    return folder


# ------------------------------------------------------------------------------- begin and keep


def test_begin_sets_up_and_names_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: Any
) -> None:
    monkeypatch.setattr(install, "setup", lambda extras: install.SetupResult(from_marker=True))
    studio = steps.begin(workspace=tmp_path / "w")
    text = said()
    assert "Everything is installed" in text and "Python" in text and "Disk" in text
    assert studio.workspace.root == tmp_path / "w"
    assert os.environ["RVC_WORKSPACE"] == str(tmp_path / "w")


def test_a_failed_install_ends_the_first_cell_in_its_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(extras: object) -> None:
        raise install.InstallError("faiss-cpu could not be installed: no space.", "Free some.")

    monkeypatch.setattr(install, "setup", fail)
    with pytest.raises(CellStop) as caught:
        steps.begin()
    assert caught.value._render_traceback_()[1] == "→ Free some."


@pytest.mark.parametrize(
    "failure", ["denied", "no_reply", "policy", "timeout", "failed", "enterprise"]
)
def test_a_refused_drive_is_said_and_work_goes_on(
    on_colab: Studio, colab: FakeColab, failure: str, said: Any
) -> None:
    _voice(on_colab)
    colab.mount_failure = failure
    on_colab.keep()
    assert "kept on this machine only" in said()
    on_colab.convert()
    assert on_colab.converted is not None and on_colab.converted.is_file()
    assert (on_colab.workspace.weights / "ann.pth").read_bytes() == b"a voice"


def test_keep_names_what_is_there_from_before(on_colab: Studio, said: Any) -> None:
    _voice(on_colab)
    (on_colab.workspace.logs / "bob" / "snapshots").mkdir(parents=True)
    on_colab.keep()
    text = said()
    assert "Voices there: ann" in text and "go on with: bob" in text


def test_without_the_box_the_drive_is_not_asked_for(on_colab: Studio, colab: FakeColab) -> None:
    on_colab.keep(on_drive=False)
    assert colab.asked == []


def test_an_earlier_kaggle_session_is_brought_in(on_kaggle: Studio, said: Any) -> None:
    saved = on_kaggle.places.kaggle_input / "my-output" / "RVC_Colab" / "weights"
    saved.mkdir(parents=True)
    (saved / "ann.pth").write_bytes(b"a voice")
    on_kaggle.keep()
    assert (on_kaggle.workspace.weights / "ann.pth").read_bytes() == b"a voice"
    assert "1 files of an earlier session" in said()


# ------------------------------------------------------------------------------------- voices


def test_a_voice_of_the_workspace_is_taken_by_name(
    on_colab: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    _voice(on_colab)
    assert outlet.voice_from("ann", "", on_colab.workspace, on_colab.places) == "ann"


def test_the_same_source_is_not_imported_twice(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rvc_colab.store import voice_import
    from rvc_colab.store.voices import VoiceCard

    imported: list[str] = []

    def bring(source: str, place: Workspace, name: str | None) -> voice_import.ImportedVoice:
        imported.append(source)
        return voice_import.ImportedVoice(VoiceCard("ann", _voice(studio)))

    monkeypatch.setattr(voice_import, "import_voice", bring)
    for _ in range(2):
        name = outlet.voice_from("https://x.org/ann.zip", "", studio.workspace, studio.places)
        assert name == "ann"
    assert imported == ["https://x.org/ann.zip"]


@pytest.mark.parametrize("source", ["no such voice", "nobody/nothing.pth", "/not/there.zip"])
def test_a_voice_that_is_not_there_ends_in_a_sentence(studio: Studio, source: str) -> None:
    with pytest.raises(CellStop) as caught:
        studio.get_voice(source)
    assert caught.value.message and caught.value.hint


def test_a_damaged_voice_ends_in_a_sentence(studio: Studio, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(CellStop, match=r"bad\.pth"):
        studio.get_voice(str(bad))


def test_the_hub_token_comes_from_the_secrets(
    on_colab: Studio, colab: FakeColab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    colab.secrets["HF_TOKEN"] = "hf_secret"
    outlet._lend_hub_token("owner/voice")
    assert os.environ["HF_TOKEN"] == "hf_secret"


def test_a_closed_upload_dialog_ends_in_a_sentence(on_colab: Studio) -> None:
    with pytest.raises(CellStop, match="No file was chosen"):
        on_colab.get_voice(upload=True)


def test_an_upload_elsewhere_says_where_to_put_the_file(studio: Studio) -> None:
    with pytest.raises(CellStop, match="Only Colab"):
        studio.convert(upload=True)


# --------------------------------------------------------------------------------- converting


def test_the_clip_is_converted_and_copied_to_the_drive(on_colab: Studio, said: Any) -> None:
    on_colab.keep()
    on_colab.convert()
    copy = on_colab.places.drive / "MyDrive/RVC_Colab/converted/clip_ann.wav"
    assert on_colab.converted is not None
    assert copy.read_bytes() == on_colab.converted.read_bytes()
    assert "0.10 s" in said()


def test_an_earlier_result_is_never_overwritten(studio: Studio) -> None:
    studio.convert()
    first = studio.converted
    studio.convert()
    assert first is not None and studio.converted not in (None, first) and first.is_file()


def test_a_refused_setting_ends_the_cell_before_anything_is_started(studio: Studio) -> None:
    with pytest.raises(CellStop, match="index_rate = 7"):
        studio.convert(index_rate=7)
    assert Job.attach(studio.workspace) is None


def test_a_recording_that_is_not_there_names_the_places_looked_at(studio: Studio) -> None:
    with pytest.raises(CellStop) as caught:
        studio.convert("song.wav")
    assert str(studio.workspace.root) in caught.value.message and "Upload" in caught.value.hint


def test_a_recording_is_found_by_its_name_among_the_inputs(on_kaggle: Studio) -> None:
    song = on_kaggle.places.kaggle_input / "songs" / "song.wav"
    song.parent.mkdir()
    song.write_bytes(b"")
    assert on_kaggle._recording("song.wav", False) == song


def test_a_failed_conversion_ends_in_the_jobs_sentence(studio: Studio) -> None:
    with pytest.raises(CellStop) as caught:
        studio.convert(seed=13)
    assert (caught.value.message, caught.value.hint) == ("The voice is damaged.", "Get it again.")


def test_an_interrupted_cell_stops_the_conversion(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend = steps.Panel.attend

    def interrupt(panel: Any) -> None:
        while panel.job.state().stage != "Converting":
            time.sleep(0.02)
        monkeypatch.setattr(steps.Panel, "attend", attend)
        raise KeyboardInterrupt

    monkeypatch.setattr(steps.Panel, "attend", interrupt)
    studio.convert(seed=14)
    job = Job.attach(studio.workspace)
    assert job is not None and job.state().status == "stopped" and studio.converted is None


@pytest.mark.parametrize(("number", "words"), [(errno.EIO, "quota"), (errno.ENOTCONN, "died")])
def test_a_drive_that_fails_while_copying_costs_only_the_copy(
    on_colab: Studio, number: int, words: str, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    on_colab.keep()

    def fail(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(steps, "copy_verified", fail)
    on_colab.convert()
    assert words in said() and on_colab.converted is not None and on_colab.converted.is_file()


def test_the_clip_is_shifted_to_the_demo_voice_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demo = importlib.import_module("rvc_colab.demo")
    monkeypatch.setattr(demo, "demo_transpose", lambda: 9.0)
    told: list[str] = []
    assert outlet.fit_clip("demo", {"transpose": 0.0}, told.append)["transpose"] == 9.0
    assert "+9" in told[0]
    assert outlet.fit_clip("demo", {"transpose": 2.0}, told.append)["transpose"] == 2.0
    assert outlet.fit_clip("ann", {"transpose": 0.0}, told.append)["transpose"] == 0.0


# ----------------------------------------------------------------------------------- training


def test_training_is_off_until_it_is_asked_for(studio: Studio, said: Any) -> None:
    studio.train()
    assert "Tick train_now" in said() and Job.attach(studio.workspace) is None


def test_training_without_recordings_says_where_to_put_them(studio: Studio) -> None:
    with pytest.raises(CellStop) as caught:
        studio.train(True, "ann")
    assert "no recordings" in caught.value.message and "recordings/ann" in caught.value.hint


def test_training_runs_in_the_background_and_a_second_run_of_the_cell_shows_it(
    studio: Studio, said: Any
) -> None:
    _recordings(studio)
    studio.train(True, "ann", epochs=LONG)
    first = studio.job
    assert first is not None and not first.state().finished
    studio.train(True, "ann", epochs=LONG)
    assert studio.job is not None and studio.job.folder == first.folder
    assert "running already" in said()


def test_in_a_run_without_a_person_the_cell_waits_for_the_voice(on_kaggle: Studio) -> None:
    _recordings(on_kaggle)
    on_kaggle.train(True, "ann", epochs=2)
    assert on_kaggle.job is not None and on_kaggle.job.state().status == "done"
    assert on_kaggle.voice == "ann"


def test_training_ends_before_the_session_does(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    there = Environment(KAGGLE, seconds_since_start=3600.0, session_seconds=12 * 3600.0)
    monkeypatch.setattr(Studio, "environment_now", lambda self: there)
    assert studio._within_session({})["max_minutes"] == 11 * 60 - steps.LAST_MINUTES
    assert "10.8 hours" in said()
    assert studio._within_session({"max_minutes": 5.0})["max_minutes"] == 5.0


def test_a_zip_of_recordings_is_unpacked_once(studio: Studio, tmp_path: Path) -> None:
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a/one.wav", b"1")
    folder = studio._training_folder("ann", str(archive), False)
    assert (folder / "a/one.wav").read_bytes() == b"1"
    assert studio._training_folder("ann", str(archive), False) == folder


def test_a_zip_that_leads_outside_is_refused(studio: Studio, tmp_path: Path) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../escaped.wav", b"1")
    _with_words(lambda: studio.train(True, "ann", str(archive)), "leads outside")
    assert not list(tmp_path.rglob("escaped.wav"))


def test_all_gpus_are_used_unless_fewer_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import rvc_colab.hardware as hardware
    from rvc_colab.hardware import Facts, Gpu

    gpus = tuple(
        Gpu(i, "Tesla T4", total_bytes=15 << 30, free_bytes=15 << 30, capability=(7, 5))
        for i in range(2)
    )
    monkeypatch.setattr(hardware, "facts", lambda **_: Facts(gpus=gpus, ram_bytes=31 << 30))
    assert outlet.processes({}, None)[0] == 2
    assert outlet.processes({}, 1)[0] == 1
    assert outlet.processes({"device": "cpu"}, None)[0] == 1


def test_the_number_of_gpus_is_no_setting_of_the_training(studio: Studio) -> None:
    _recordings(studio)
    studio.train(True, "ann", wait=True, gpus=1, epochs=1)
    assert studio.job is not None and studio.job.request()["settings"] == {"epochs": 1}


def test_watch_shows_a_training_again(studio: Studio, said: Any) -> None:
    studio.watch()
    assert "No training" in said()
    _recordings(studio)
    studio.train(True, "ann", wait=True, epochs=2)
    studio.voice = "demo"
    studio.watch()
    assert studio.voice == "ann" and "ready" in said()


# ------------------------------------------------------------------------- sharing and the end


@pytest.fixture
def packable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Voices that can be packed without being opened."""
    from rvc_colab.store import voice_export, voices

    class Card:
        name = "ann"

    def export(name: str, path: Path, place: Workspace, replace: bool) -> None:
        path.write_bytes(b"zip of " + name.encode())

    monkeypatch.setattr(voices, "show_voice", lambda name, place: Card)
    monkeypatch.setattr(voice_export, "export_voice", export)


def test_a_shared_voice_is_published_to_the_drive_in_generations(
    on_colab: Studio, packable: None
) -> None:
    on_colab.keep()
    on_colab.share("ann")
    on_colab.share("ann")
    kept = sorted(p.name for p in (on_colab.storage.root / "exports").glob("*.zip"))
    assert kept == ["ann.000001.zip", "ann.000002.zip"]


def test_a_full_drive_costs_only_the_copy_there(
    on_colab: Studio, packable: None, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    on_colab.keep()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outlet, "publish", full)
    on_colab.share("ann")
    assert "full" in said() and (on_colab.workspace.root / "exports/ann.zip").is_file()


def test_download_goes_through_the_browser(
    on_colab: Studio, colab: FakeColab, packable: None
) -> None:
    on_colab.share("ann", download=True)
    assert colab.downloaded == [str(on_colab.workspace.root / "exports/ann.zip")]


def test_on_kaggle_everything_is_in_one_zip(on_kaggle: Studio, packable: None) -> None:
    _voice(on_kaggle)
    on_kaggle.keep()
    on_kaggle.share("ann")
    with zipfile.ZipFile(on_kaggle.places.kaggle_output / "RVC_Colab.zip") as packed:
        assert "weights/ann.pth" in packed.namelist()


def test_without_a_token_the_hub_is_refused_with_the_way_to_get_one(
    on_colab: Studio, packable: None
) -> None:
    _with_words(lambda: on_colab.share("ann", hub="me/voices"), "HF_TOKEN")
    assert (on_colab.workspace.root / "exports/ann.zip").is_file()


def test_the_hubs_refusal_never_shows_the_token(
    on_colab: Studio, colab: FakeColab, packable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    class Refusing:
        def __init__(self, token: str) -> None:
            self.token = token

        def create_repo(self, *_: object, **__: object) -> None:
            raise RuntimeError(f"403 for token {self.token}")

    colab.secrets["HF_TOKEN"] = "hf_secret"
    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    with pytest.raises(CellStop) as caught:
        on_colab.share("ann", hub="me/voices")
    assert "403" in str(caught.value) and "hf_secret" not in str(caught.value)


def test_finish_waits_to_be_asked(on_colab: Studio, colab: FakeColab, said: Any) -> None:
    on_colab.keep()
    on_colab.finish()
    assert "Nothing to do" in said() and on_colab.storage.kind == "drive"


def test_finish_stops_the_training_which_saves_and_then_empties_the_drives_queue(
    on_colab: Studio, said: Any
) -> None:
    on_colab.keep()
    _recordings(on_colab)
    on_colab.train(True, "ann", epochs=LONG)
    while on_colab.job is None or on_colab.job.state().stage != "Training":
        time.sleep(0.02)
    on_colab.finish(True)
    cloud = on_colab.places.drive.parents[1] / "cloud"
    assert "everything" in said() and on_colab.storage.kind == "local"
    assert (cloud / "RVC_Colab/weights/ann.pth").read_text() == "saved"


def test_a_drive_that_does_not_take_everything_says_so_and_nothing_is_lost(
    on_colab: Studio, colab: FakeColab
) -> None:
    on_colab.keep()
    _voice(on_colab)
    colab.flush_failure = "failed"
    _with_words(lambda: on_colab.finish(True), "did not take all files")
    assert (on_colab.workspace.weights / "ann.pth").read_bytes() == b"a voice"


def test_no_verb_shows_a_traceback(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    for name in ("open_storage", "inputs", "flush"):
        monkeypatch.setattr(drive, name, fail)
    for name in ("voice_from", "processes", "pack"):
        monkeypatch.setattr(outlet, name, fail)
    monkeypatch.setattr(Job, "attach", fail)
    monkeypatch.setattr(Job, "start", fail)
    monkeypatch.setattr(steps, "launch_ui", fail)
    _recordings(studio)
    verbs = (
        studio.keep,
        studio.get_voice,
        studio.convert,
        lambda: studio.train(True, "ann"),
        studio.watch,
        studio.share,
        lambda: studio.finish(True),
        studio.open_page,
    )
    for verb in verbs:
        _with_words(verb, "nobody thought of this")


def _with_words(verb: Any, words: str) -> None:
    with pytest.raises(CellStop, match=words):
        verb()


def test_voice_errors_keep_their_hint() -> None:
    error = VoiceError("No.", "Do.")
    with pytest.raises(CellStop, match="Do"):
        steps.carded(lambda: (_ for _ in ()).throw(error))()


def test_an_interrupted_wait_leaves_the_training_running(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    def interrupt(panel: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(steps.Panel, "attend", interrupt)
    _recordings(studio)
    studio.train(True, "ann", wait=True, epochs=LONG)
    assert "goes on in the background" in said()
    assert studio.job is not None and not studio.job.state().finished
