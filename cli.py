"""The command line: the commands by name, each imported when it is used, and errors turned into lines and
exit codes.
"""

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mtclip_edge.errors import MtclipError
from mtclip_edge.progress import say

INTERRUPTED = 130
# A command, or an app of several, by its place in ``commands/``, and an example; in the order that ``mtclip
# --help`` shows.
COMMANDS = {
    "query": ("query.query", "mtclip query film.png --bundle BUNDLE -k 3"),
    "view": ("view.view", "mtclip view --bundle bundle"),
    "node": ("node.app", None),
    "train": ("train.train", "mtclip train --data openi/manifest.csv --out run"),
    "export": ("export.export", "mtclip export run --out bundle"),
    "eval": ("evaluate.evaluate", "mtclip eval run bundle --data openi/manifest.csv"),
    "pull": ("pull.pull", "mtclip pull biomedclip --out biomedclip"),
    "show": ("show.show", "mtclip show bundle CXR1234"),
    "refit": ("refit.refit", "mtclip refit bundle manifest:ours.csv"),
    "embed": ("embed.embed", "mtclip embed openi/manifest.csv --bundle bundle --out embedded"),
    "info": ("bundle.info", "mtclip info bundle"),
    "verify": ("bundle.verify", "mtclip verify bundle"),
    "bench": ("bundle.bench", "mtclip bench bundle"),
    "doctor": ("doctor.doctor", "mtclip doctor"),
    "data": ("data.app", None),
    "index": ("index.app", None),
    "library": ("library.app", None),
}


class LazyCommands(TyperGroup):
    """Imports a command when it is asked for, so that a query loads its own alone."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        self.commands: dict[str, Any] = dict.fromkeys(COMMANDS)  # None: not loaded yet

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature is typer's
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _loaded(cmd_name)
        return self.commands.get(cmd_name)


def _loaded(name: str) -> Any:
    place, example = COMMANDS[name]
    module, _, attribute = place.partition(".")
    command = getattr(importlib.import_module(f"mtclip_edge.commands.{module}"), attribute)
    if example is not None:
        alone = typer.Typer(add_completion=False)
        alone.command(name, epilog=f"Example: {example}")(command)
        command = alone
    made = typer.main.get_command(command)
    made.name = name
    return made


app = typer.Typer(
    cls=LazyCommands,
    name="mtclip",
    help=(
        "Chest X-ray films to similar prior reports, offline. Research use only; retrieved reports are not "
        "a diagnosis."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mtclip_edge import __version__

        print(f"mtclip-edge {__version__}")
        raise typer.Exit()


_Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def common(version: _Version = False) -> None:
    pass


def main() -> None:
    """Run the command line; every expected error is at most three lines on stderr and its own exit code."""
    sys.exit(_run())


def _run() -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a letter shows its escape
            stream.reconfigure(errors="backslashreplace")
    code = _answered()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # here, and not in the interpreter's exit, where a failure is exit 120
    except BrokenPipeError:
        _stop_writing()
    except OSError as error:
        _stop_writing()
        if code == 0:  # else the command has said it already
            say(f"standard output: {error.strerror}")
        return code or 1
    return code


def _answered() -> int:
    try:
        code = app(prog_name="mtclip", standalone_mode=False) or 0
        if code == INTERRUPTED:  # the parser turns Ctrl-C into this code and says nothing
            say("interrupted")
        return code
    except MtclipError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except SystemExit as error:
        # The parser turns a reader that has gone (… | head) into exit 1; to us it has simply seen enough.
        return 0 if isinstance(error.__context__, BrokenPipeError) else int(error.code or 0)
    except Exception as error:
        return _unexpected(error)


def _stop_writing() -> None:
    """Nobody reads standard output any more: what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _unexpected(error: Exception) -> int:
    """A usage error is its message and where to read on, a full disk one line; of anything else no local
    value and no text is shown.
    """
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        say(error.format_message().replace("\n", " "))
        say(f"see: {context.command_path if context else 'mtclip'} --help")
        return int(error.exit_code)
    if type(error).__name__ == "Abort":
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno is not None:
        say(f"{error.filename or 'writing'}: {error.strerror}")
        return 1
    if os.environ.get("MTCLIP_DEBUG"):
        raise error
    if isinstance(error, ModuleNotFoundError):
        from mtclip_edge.installation import missing_module

        if missing := missing_module((error.name or "").partition(".")[0]):
            say(str(missing))
            return missing.exit_code
    say(f"internal error: {type(error).__name__}. Set MTCLIP_DEBUG=1 to see where.")
    return 1


if __name__ == "__main__":
    main()
