"""The cells of the tutorials, in reading order; they run on the demo voice in minutes on a CPU."""

# ruff: noqa: E501 (lines of a notebook, not of a program)

from __future__ import annotations

from recipes.notebook_cells import CONSENT, install_cell
from recipes.notebook_forms import Cell, code, md

# As small as it may be and still be trained: the point is to see the steps.
TINY = (
    "small = dict(",
    '    sample_rate=16000, version="v1", encoder="tiny", pretrained="none", speakers=1,',
    "    hidden_channels=32, filter_channels=48, encoder_layers=1, upsample_initial_channels=32,",
    "    gin_channels=8, discriminator_scale=0.05, segment_frames=24, batch_size=2,",
    ")",
)
TRAIN = 'studio.train(True, "lesson", str(folder), wait=True, max_steps=steps, **small)'


def convert_lesson(source: str, badge: str) -> list[Cell]:
    """Explain a conversion: content, pitch, retrieval, voice."""
    return [
        md(f"""
            # 1. How a voice is converted

            {badge}

            RVC takes a recording apart into **what** is said (content) and **how high** (pitch), and lets another
            voice say it. This notebook shows each part on a clip and a voice that come with the package.
        """),
        install_cell(source, form=False),
        md("""
            ## The source

            Three views of the clip: the waveform; the mel spectrogram (time to the right, frequency upwards, bright
            is loud: the stripes are the overtones of the voice); and the pitch, found a hundred times per second.
            Where the curve breaks off the sound is unvoiced: `s`, `f`, or silence.
        """),
        code(
            "from rvc_colab.notebook import pictures",
            "from rvc_colab.store.assets import bundled",
            'clip = bundled("clip.wav")',
            "pictures.show_sounds(clip)",
        ),
        md("""
            ## The path of the sound

            ```
            recording ─ 16 kHz, high-pass ┬─ content encoder, 50 vectors/s ─ mixed with the index ─┐
                                          └─ pitch, 100 values/s ─ transposed ──────────────────────┴─ voice ─ sound
            ```

            - The **content encoder** hears phones and forgets who spoke.
            - The **index** holds content vectors of the voice's own recordings: `index_rate` says how much of the
              nearest ones is mixed in, so that sounds come nearer to how this voice makes them.
            - `protect` keeps consonants and breath out of that.
            - The **voice** (a flow and a generator) turns content and pitch into its own sound.
            - `envelope_mix` says whose loudness is followed: 0 the source's, 1 the voice's.
        """),
        code("studio.convert()"),
        *_before_and_after(),
    ]


def _before_and_after() -> list[Cell]:
    """Return the second half of the first lesson."""
    return [
        md("""
            The cell ran as a job in a process of its own: the panel shows the stage, the time left and the last
            lines, and plays the result. The words below name the stages that took longest, and the seed that
            repeats the result exactly.

            ## Before and after

            The words stay where they are in time; the overtones move with the pitch.
        """),
        code("pictures.show_sounds(clip, studio.converted)"),
        md("""
            ## Another pitch

            Voices sound best near the pitch they were trained at. A man's voice into a woman's wants about +12
            semitones, the other way about -12. Here it is deliberately too low, and without the index.
        """),
        code("studio.convert(transpose=-5, index_rate=0.0)"),
        code("pictures.show_sounds(clip, studio.converted)"),
        md(f"Next: `02_train.ipynb`, how a voice is made.\n\n{CONSENT}"),
    ]


def train_lesson(source: str, badge: str) -> list[Cell]:
    """Explain a training run on a tiny voice, and how it goes on after a stop."""
    return [
        md(f"""
            # 2. How a voice is trained

            {badge}

            Five steps: **prepare** the recordings (filter, cut at silences, level), **extract** content and pitch,
            **fit** the networks, build the **index**, **export** the voice. Here with a voice so small that it takes
            seconds. It learns nothing worth hearing: real voices have fifty times the size, ten minutes or more of
            recordings, and hours of a GPU. The steps and files are the same.
        """),
        install_cell(source, form=False),
        md("""
            ## Recordings

            Good ones: one person, no music, no echo, no other voices; wav or flac; varied in pitch and loudness.
            Ours are the phrases of the shipped clip.
        """),
        code(
            "from rvc_colab.notebook import materials, pictures",
            'folder = studio.workspace.root / "recordings" / "lesson"',
            "phrases = materials.sliced_clip(folder)",
            "pictures.show_sounds(*phrases[:2])",
        ),
        md("""
            ## Training

            Two networks play against each other: the **generator** makes sound from content and pitch, the
            **discriminator** tells it from the recordings. Beside their game, `mel` measures how far the spectrum is
            off, and `kl` how well content alone predicts what the recording's sound was encoded to.

            Left to itself the training would go on for 200 epochs; `max_steps` ends this one early.
        """),
        code(
            *TINY,
            "steps = 30",
            TRAIN,
        ),
        *_going_on(),
    ]


def _going_on() -> list[Cell]:
    """Return the second half of the second lesson."""
    return [
        code('pictures.show_losses(studio.workspace, "lesson")'),
        md("""
            ## Going on

            The run left snapshots: everything needed to go on as if nothing had happened, written every minute and
            at the end. The same call with a later end starts where the last one stopped. So it does after Stop,
            after a disconnect, or on another machine that has the folder.
        """),
        code("steps = 45", TRAIN),
        md("""
            ## The voice

            `weights/lesson.pth` is the voice, in the format that other RVC programs read; the index lies beside it in
            `indexes/`. It hums more than it speaks: 45 steps are nothing.
        """),
        code("studio.convert()"),
        md(f"Next: `03_publish.ipynb`, how a voice is kept and passed on.\n\n{CONSENT}"),
    ]


def publish_lesson(source: str, badge: str) -> list[Cell]:
    """Explain how a voice is packed, kept safe on a slow drive, brought in again and passed on."""
    return [
        md(f"""
            # 3. How a voice is kept and passed on

            {badge}

            A voice is two files: the networks (`.pth`) and the index. Packed as one zip with a card that says what
            they are, they can be sent to anybody. {CONSENT}
        """),
        install_cell(source, form=False),
        md("## One zip\n\nThe demo voice, its index and its card."),
        code('studio.share(voice="demo")'),
        md("""
            ## Brought in again

            From a file, as here, or from an address, a Drive link or the hub. It is looked at before it gets a name:
            only tensors are read from it, never code. Running the cell twice does not import it twice.
        """),
        code(
            'packed = studio.workspace.root / "exports" / "demo.zip"',
            'studio.get_voice(str(packed), name="my_copy")',
        ),
        *_generations(),
    ]


def _generations() -> list[Cell]:
    """Return the second half of the third lesson."""
    return [
        md("""
            ## Kept on a drive that forgets

            Network drives take files in late and can lose what is overwritten. So every **generation** has a name of
            its own and is never written again: the bytes go to a temporary name, are read back and compared by
            SHA-256, renamed, and only then the manifest appears. What has no manifest does not count; whatever is
            cut off, the last whole generation is there.

            ```
            my_copy.000001.zip                  the bytes
            my_copy.000001.zip.manifest.json    size, SHA-256, time
            ```
        """),
        code(
            "from rvc_colab.notebook.publishing import generations, latest, publish, restore",
            'drive = studio.workspace.root / "as_if_it_were_a_drive"',
            'kept = [publish(packed, drive, "my_copy", keep=3) for _ in range(4)]',
            '[(g.file, g.size, "whole" if g.whole() else "damaged") for g in generations(drive)]',
        ),
        md("""
            ## When the newest one is damaged

            We cut the newest generation short, as a full drive would. The one before it is taken.
        """),
        code(
            "kept[-1].path.write_bytes(kept[-1].path.read_bytes()[:1000])",
            'found = latest(drive, "my_copy")',
            'restored = restore(found, studio.workspace.root / "restored.zip")',
            "found.file, restored.stat().st_size == packed.stat().st_size",
        ),
        md("""
            ## The Hugging Face hub

            With a repository of yours in `hub`, and the secret `HF_TOKEN`, the zip is uploaded; a new repository is
            private. Left empty, nothing is sent.
        """),
        code('hub = ""  # owner/name', 'studio.share(voice="my_copy", hub=hub)'),
    ]
