"""The cells of the Colab and Kaggle notebooks."""

# ruff: noqa: E501 (lines of a notebook, not of a program)

from __future__ import annotations

from recipes.notebook_forms import Cell, code, md, own, passed, plain, setting, title
from rvc_colab.config import ConversionConfig, TrainingConfig

CONSENT = (
    "Use voices only with the consent of the person they belong to, and say that it is a copy."
)
SOUND = ("transpose", "index_rate", "protect", "envelope_mix", "f0_method")
VOICE = ("sample_rate", "epochs", "batch_size", "encoder")


def install_cell(source: str, form: bool = True, extras: str = "") -> Cell:
    """Return the first cell: the package where it is missing, then what it needs."""
    head = [title("1. Set up"), own("SOURCE", source)] if form else [f'SOURCE = "{source}"']
    return code(
        *head,
        "import glob, importlib.util, subprocess, sys",
        'if importlib.util.find_spec("rvc_colab") is None:',
        '    wheels = sorted(w for at in (".", "/kaggle/input/**") for w in glob.glob(f"{at}/rvc_colab-*.whl", recursive=True))',
        '    what = wheels[-1] if wheels else SOURCE if SOURCE.endswith((".whl", ".zip", ".gz")) else f"git+{SOURCE}"',
        '    pip = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", what], capture_output=True, text=True)',
        "    if pip.returncode:",
        '        why = [w.strip() for w in pip.stderr.splitlines() if w.strip().startswith(("fatal:", "ERROR:"))] or [pip.stderr[-200:]]',
        '        raise type("Stop", (Exception,), {"_render_traceback_": lambda stop: [str(stop)]})(f"✗ {what} could not be installed: {why[0]}\\n→ Check the address and the internet (Kaggle: Settings > Internet), or upload an rvc_colab wheel beside this notebook, and run this cell again.")',
        "from rvc_colab.notebook import steps",
        f"studio = steps.begin({extras})",
    )


def main_notebook(source: str, badge: str) -> list[Cell]:
    """Return the one-click notebook: convert and train without a web page."""
    return [
        md(f"""
            # Voices with RVC

            {badge}

            Press **Runtime > Run all**: a clip is converted with the voice inside the package, without any upload and
            without a GPU. Then change the forms and run the cells you need. Every cell may be run again; after a
            disconnect press **Run all** once more and everything goes on where it was.

            {CONSENT}
        """),
        md(
            "## 1. Set up\n\nInstalls only what this machine lacks and changes nothing that is there."
        ),
        install_cell(source),
        md("""
            ## 2. Keep your work on Google Drive

            Voices, indexes, training snapshots and results go to `MyDrive/RVC_Colab`. Refuse or untick it, and all
            works as well, but is gone when the session ends.
        """),
        code(title("2. Google Drive"), own("keep_on_drive", True), "studio.keep(keep_on_drive)"),
        md("""
            ## 3. Choose a voice

            `source` may be a `.pth`, a zip, a web address, a Drive link, or `owner/repo` on the Hugging Face hub. Left
            empty, it is the demo voice; a voice you trained is there by its name.
        """),
        code(
            title("3. Voice"),
            own("source", ""),
            own("voice_name", ""),
            own("upload", False),
            "studio.get_voice(source, voice_name, upload)",
        ),
        md("""
            ## 4. Convert

            `recording` is a sound file or a folder of them, on this machine or in `MyDrive/RVC_Colab`; left empty, it
            is a clip from the package. `transpose` +12 is an octave up. Interrupt the cell to stop a conversion.
        """),
        code(
            title("4. Convert"),
            own("recording", ""),
            own("upload", False),
            *(setting(ConversionConfig, name) for name in SOUND),
            f"studio.convert(recording, upload, {passed(*SOUND)})",
        ),
        *_train_and_share(),
    ]


def _train_and_share() -> list[Cell]:
    """Return the second half of the one-click notebook."""
    return [
        md("""
            ## 5. Train a voice

            Put ten minutes or more of one voice, clean and dry, into `MyDrive/RVC_Colab/recordings/NAME`, or name a
            zip, or tick `upload`; then tick `train_now`. It trains in the background and the other cells stay usable.
            Stop saves first. With a name that was trained before it goes on from the last snapshot.
        """),
        code(
            title("5. Train"),
            own("train_now", False),
            own("name", "my_voice"),
            own("recordings", ""),
            own("upload", False),
            *(setting(TrainingConfig, name) for name in VOICE),
            f"studio.train(train_now, name, recordings, upload, {passed(*VOICE)})",
        ),
        md("## 6. Look at the training again\n\nFor when the page was reloaded."),
        code(title("6. Watch"), "studio.watch()"),
        md("""
            ## 7. Listen and share

            Plays the last conversion and packs the voice with its index as one zip. With a repository in `hub`
            (`owner/name`) it goes to the Hugging Face hub too, with the token `HF_TOKEN` from the key panel.
        """),
        code(
            title("7. Listen and share"),
            own("voice", ""),
            own("download", False),
            own("hub", ""),
            "studio.share(voice, download, hub)",
        ),
        md("""
            ## 8. Before you close the session

            Google Drive takes files in slowly. This stops what runs and waits until Drive has everything.
        """),
        code(title("8. Finish"), own("finish_now", False), "studio.finish(finish_now)"),
    ]


def page_notebook(source: str, badge: str) -> list[Cell]:
    """Return the notebook that opens the web page, on request only."""
    return [
        md(f"""
            # The web page of rvc_colab

            {badge}

            **Colab's rule:** without a positive balance of compute units a session may not be used mainly through a
            web page, and may be ended without warning; Colab has named RVC's pages. The notebook `rvc_colab.ipynb`
            does the same work in cells, and is allowed. So the page opens only when you tick the box.

            {CONSENT}
        """),
        install_cell(source, extras='extras=("ui",)'),
        code(title("2. Google Drive"), own("keep_on_drive", True), "studio.keep(keep_on_drive)"),
        md("""
            ## 3. Open the page

            `proxy` is Colab's own way: only you reach it, while this notebook is open. The others make a public
            address and always ask for the user and password shown below; `ngrok` needs the secret `NGROK_AUTHTOKEN`
            (and `tunnel` among the extras of the first cell).
        """),
        code(
            title("3. Open the page"),
            own("allow_web_ui", False),
            'way = "proxy" #@param ["proxy", "gradio", "ngrok", "localtunnel"]',
            "studio.open_page(allow_web_ui, way)",
        ),
        md("## 4. Close it, and let Drive take everything in"),
        code(
            title("4. Close"),
            own("close_now", False),
            "if close_now:",
            "    studio.close_page()",
            "studio.finish(close_now)",
        ),
    ]


def kaggle(source: str, badge: str) -> list[Cell]:
    """Return the Kaggle notebook: datasets in, one zip out, both GPUs."""
    return [
        md(f"""
            # Voices with RVC on Kaggle

            Press **Run All** for a conversion with the voice inside the package. Set **Accelerator: GPU T4 x2** and
            **Internet: on** for real work. With **Save Version > Save & Run All** the notebook runs without you, and
            what it made stays in the version's output as one zip.

            {CONSENT}
        """),
        md("""
            ## 1. Set up

            Without internet, attach a dataset with the package's wheel (and, made by `make_wheelhouse`, a tar of what
            Kaggle lacks): both are found among the inputs.
        """),
        install_cell(source, form=False),
        md("""
            ## 2. Keep your work, and see the inputs

            Results lie in `/kaggle/working/RVC_Colab`. To go on in a later session, attach this notebook's output as
            input and name the files. Tokens come from **Add-ons > Secrets**: `HF_TOKEN` for private voices.
        """),
        code("studio.keep()"),
        md(
            "## 3. Choose a voice\n\nA file among the inputs by its name, an address, or `owner/repo` of the hub."
        ),
        code(
            plain("source", "", "empty: the demo voice"),
            plain("voice_name", "", "empty: the file's own"),
            "studio.get_voice(source, voice_name)",
        ),
        md(
            "## 4. Convert\n\nA file or folder among the inputs by its name; empty: a clip of the package."
        ),
        code(
            plain("recording", "", "a name among the inputs, or a path"),
            *(setting(ConversionConfig, name, form=False) for name in SOUND),
            f"studio.convert(recording, {passed(*SOUND)})",
        ),
        *_train_and_pack(),
    ]


def _train_and_pack() -> list[Cell]:
    """Return the second half of the Kaggle notebook."""
    return [
        md("""
            ## 5. Train a voice

            With two T4 both are used. The training ends, with its voice, before the session does. Interactively it
            runs in the background; in Save & Run All the cell waits for it.
        """),
        code(
            plain("train_now", False, "set True when the recordings are attached"),
            plain("name", "my_voice", "go on with a name that was trained before"),
            plain("recordings", "", "a dataset's folder or a zip, by name or path"),
            *(setting(TrainingConfig, name, form=False) for name in VOICE),
            f"studio.train(train_now, name, recordings, {passed(*VOICE)})",
        ),
        md("## 6. Look at the training again"),
        code("studio.watch()"),
        md("""
            ## 7. Listen and share

            The zip in the output folder holds the voices, indexes and conversions. `hub` (`owner/name`) sends the
            voice to the Hugging Face hub with the secret `HF_TOKEN`.
        """),
        code(plain("hub", "", "owner/name, or nothing"), "studio.share(hub=hub)"),
    ]
