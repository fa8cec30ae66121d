"""The command line: `rvc-colab COMMAND …`. Parses, calls one verb, draws the result."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from rvc_colab import __version__
from rvc_colab.cli import drawing
from rvc_colab.cli.options import Parser, add_settings
from rvc_colab.errors import Cancelled, RVCError

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130

_EVERYWHERE = {"workspace": None, "config": None, "json": False, "verbose": False, "debug": False}
_DESCRIPTION = "Train and use RVC voices."
_STEPS = {
    "preprocess": "cut recordings into slices",
    "extract": "compute content and pitch of the slices",
    "fit": "train the networks on what was extracted",
    "index": "build the retrieval index",
    "export": "write the voice file from the newest snapshot",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 0 done, 1 partly failed, 2 refused, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parsed = build_parser().parse_args(words, argparse.Namespace(**_EVERYWHERE))
        if not hasattr(parsed, "command"):
            build_parser().print_help()
            return 0
        drawing.set_up_logging(parsed.verbose)
        _prepare_process(parsed.config)
        return int(_command(parsed.command)(parsed) or 0)
    except Cancelled as stopped:
        drawing.say_error(stopped)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        drawing.say_error(Cancelled())
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # also a fault of ours gives two lines, and says how to see more
        if "--debug" in words:
            traceback.print_exc()
        drawing.say_error(error if isinstance(error, RVCError) else _fault(error))
        return EXIT_REFUSED


def _fault(error: Exception) -> RVCError:
    """Put an error that nobody foresaw into words."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        hint = "Check the path, its rights and the free space; --debug shows where it happened."
        return RVCError(f"{error.filename}: {error.strerror}.", hint)
    what = str(error) or "no more is known"
    hint = "Run it again with --debug to see where, and report it if it stays."
    return RVCError(f"{type(error).__name__}: {what[:300]}", hint)


def _prepare_process(config: str | None) -> None:
    """Set what must stand before torch is loaded: its allocator, and the file of the settings."""
    from rvc_colab.memory.allocator import apply_allocator_settings, limit_primitive_cache

    apply_allocator_settings(os.environ)
    limit_primitive_cache(os.environ)
    if config:  # for what reads settings by itself: the memory manager, the page
        os.environ["RVC_CONFIG"] = config


def _command(name: str) -> Callable[[argparse.Namespace], Any]:
    from rvc_colab.cli import commands, library, machine, runs

    for module in (commands, library, machine, runs):
        if hasattr(module, name):
            return getattr(module, name)
    raise AssertionError(name)


def build_parser() -> Parser:
    """Build the whole parser; the options of each command come from the config models."""
    common = _common()
    from rvc_colab.cli import runs

    parser = Parser(prog="rvc-colab", description=_DESCRIPTION, parents=[common])
    parser.add_argument("--version", action="version", version=f"rvc_colab {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, help: str, command: str | None = None) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=help, description=f"{help.capitalize()}.", parents=[common]
        )
        made.set_defaults(command=command or name)
        return made

    _add_convert(add("convert", "convert a file or a folder into a voice"))
    _add_speak(add("speak", "speak a text, and convert that into a voice"))
    _add_train(add)
    runs.add_commands(add)
    _add_library(commands, common)
    _add_machine(add)
    return parser


def _common() -> Parser:
    # SUPPRESS: an option given before the command is not undone by the command's own default.
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    group = common.add_argument_group("everywhere")
    group.add_argument("--workspace", metavar="DIR", help="where weights/, indexes/ and logs/ live")
    group.add_argument("--config", metavar="FILE", help="settings from a YAML or JSON file")
    group.add_argument("--json", action="store_true", help="print one machine-readable line")
    group.add_argument("--verbose", action="store_true", help="say more")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return common


def _add_convert(parser: argparse.ArgumentParser) -> None:
    from rvc_colab.config import ConversionConfig

    parser.add_argument("input", metavar="INPUT", help="a sound file, or a folder of them")
    parser.add_argument("output", metavar="OUTPUT", help="the file (or folder) to write")
    _add_voice(parser)
    parser.add_argument(
        "--format", metavar="EXT", help="format of results in a folder: wav, flac, mp3 or ogg"
    )
    add_settings(parser, ConversionConfig)


def _add_speak(parser: argparse.ArgumentParser) -> None:
    from rvc_colab.config import ConversionConfig, SpeechConfig

    parser.add_argument("text", metavar="TEXT", help="what is to be said; - reads it from a pipe")
    parser.add_argument("output", metavar="OUTPUT", help="the file to write")
    _add_voice(parser)
    add_settings(parser, SpeechConfig)
    add_settings(parser, ConversionConfig)


def _add_voice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--voice", required=True, metavar="NAME_OR_PATH", help="`demo` is the embedded one"
    )
    parser.add_argument(
        "--index", metavar="PATH|none", help="the index; found beside the voice when not given"
    )


def _add_train(add: Callable[..., argparse.ArgumentParser]) -> None:
    from rvc_colab.config import TrainingConfig

    train = add("train", "train a voice from a folder of recordings")
    train.add_argument("name", metavar="NAME", help="the voice's name")
    train.add_argument("folder", metavar="FOLDER", help="the recordings")
    add_settings(train, TrainingConfig)
    for step, help in _STEPS.items():
        parser = add(step, help, command="training_step")
        parser.set_defaults(step=step)
        parser.add_argument("name", metavar="NAME", help="the voice's name")
        if step == "export":
            parser.set_defaults(command="export_run")
            parser.add_argument("--epoch", metavar="N|best", help="not the newest snapshot")
        if step == "preprocess":
            parser.add_argument("folder", metavar="FOLDER", help="the recordings")
        add_settings(parser, TrainingConfig)


def _add_library(commands: Any, common: Parser) -> None:
    voices = commands.add_parser(
        "voices", help="list, show, import, export, remove voices", parents=[common]
    )
    voices.set_defaults(command="voices_list")
    verbs = voices.add_subparsers(metavar="VERB")

    def add(name: str, help: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(
            name, help=help, description=f"{help.capitalize()}.", parents=[common]
        )
        made.set_defaults(command=f"voices_{name}")
        return made

    add("list", "list the voices of the workspace")
    add("show", "say in words what a voice file is").add_argument("name", metavar="NAME_OR_PATH")
    imported = add(
        "import", "bring a voice in from a file, zip, folder, URL, Drive link or Hub repository"
    )
    imported.add_argument("source", metavar="SOURCE")
    imported.add_argument(
        "--name", metavar="NAME", help="name it so; the file's own when not given"
    )
    exported = add("export", "write a voice with its index and card as one zip")
    exported.add_argument("name", metavar="NAME")
    exported.add_argument("target", metavar="FILE.zip")
    add("remove", "move a voice to the trash").add_argument("name", metavar="NAME")
    add("restore", "bring a removed voice back").add_argument("name", metavar="NAME")
    merged = add("merge", "blend two voices into a new one, by weight")
    merged.add_argument("first", metavar="FIRST")
    merged.add_argument("second", metavar="SECOND")
    merged.add_argument("new_name", metavar="NEW_NAME")
    merged.add_argument(
        "--share", type=float, default=0.5, metavar="X", help="of the first [0 to 1; default 0.5]"
    )
    renamed = add("rename", "give a voice another name")
    renamed.add_argument("name", metavar="NAME")
    renamed.add_argument("new_name", metavar="NEW_NAME")


def _add_machine(add: Callable[..., argparse.ArgumentParser]) -> None:
    fetch = add("fetch", "download known weights into the cache; without names, list them")
    fetch.add_argument("names", metavar="NAME", nargs="*")
    demo = add("demo", "convert the shipped clip into the shipped voice, offline")
    demo.add_argument(
        "--output", metavar="DIR", default="demo", help="folder for sound, picture and report"
    )
    add("doctor", "look at the machine, one line and one remedy each")
    gpu = add("gpu", "show devices, memory, loaded models and alerts")
    gpu.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=float,
        const=2.0,
        help="show it again and again, until Ctrl-C",
    )
    _add_page(add("ui", "open the web page; needs the extra `ui`"))
    bench = add("bench", "measure seconds per stage on full-size models with random weights")
    bench.add_argument("what", choices=["convert", "train"], metavar="convert|train")
    bench.add_argument(
        "--seconds", type=float, default=10.0, help="sound per measurement (convert)"
    )
    bench.add_argument("--threads", type=int, default=2, help="CPU threads")
    bench.add_argument("--batch-size", type=int, default=1, help="slices per step (train)")
    bench.add_argument("--steps", type=int, default=3, help="counted repetitions")


def _port(text: str) -> int:
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port; choose 1024 to 65535")


def _add_page(page: argparse.ArgumentParser) -> None:
    page.add_argument(
        "--port", type=_port, metavar="N", help="a free one from 7860 on if not given"
    )
    page.add_argument(
        "--listen",
        metavar="ADDRESS",
        nargs="?",
        const="0.0.0.0",
        help="let other machines in, with a password (RVC_UI_PASSWORD, else made up)",
    )
    page.add_argument(
        "--public", action="store_true", help="ask for the password, as behind a tunnel of your own"
    )
    page.add_argument("--user", default="rvc", metavar="NAME", help="user name to ask for")


if __name__ == "__main__":
    sys.exit(main())
