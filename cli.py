"""The command line: parse, call one function, print. No logic lives here, and nothing heavy is imported before a command runs."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mtclip_edge.commands.data import data_app
from mtclip_edge.commands.index import index_app
from mtclip_edge.commands.query import query
from mtclip_edge.errors import MtclipError, not_among
from mtclip_edge.progress import say

app = typer.Typer(
    name="mtclip",
    help="Chest X-ray films to similar prior reports, offline. Research use only; retrieved reports are not a diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.add_typer(data_app, name="data")
app.command(epilog="Example: mtclip query film.png --bundle BUNDLE -k 3")(query)
app.add_typer(index_app, name="index")

DAMAGED, INTERRUPTED = 3, 130


def _version(asked: bool) -> None:
    if asked:
        from mtclip_edge import __version__

        print(f"mtclip-edge {__version__}")
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command(epilog="Example: mtclip train --data openi/manifest.csv --out run")
def train(
    data: Annotated[list[str], typer.Option(help="A source of studies: KIND:PATH, or a path; docs/data.md. May repeat.")],
    out: Annotated[Path, typer.Option(help="The run to write.")] = Path("run"),
    backbone: Annotated[str | None, typer.Option(help="compact, or a folder that mtclip pull made.", show_default="compact")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in TOML; options and MTCLIP_* variables go before.")] = None,
    unfreeze: Annotated[str | None, typer.Option(help="Train the film tower too: its last N blocks, or all.", show_default="0")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of the film tower's input.", show_default="the backbone's")] = None,
    epochs: Annotated[int | None, typer.Option(show_default="40, or 12 with --unfreeze")] = None,
    seed: Annotated[int | None, typer.Option(show_default="0")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(show_default=False)] = None,
    bce: Annotated[float | None, typer.Option(help="Weight of the normal/abnormal loss; 0 leaves it out.", show_default="1")] = None,
    supcon: Annotated[float | None, typer.Option(help="Weight of the supervised contrastive loss.", show_default="0.3")] = None,
    clip: Annotated[float | None, typer.Option(help="Weight of the CLIP loss.", show_default="1")] = None,
    dim: Annotated[int | None, typer.Option(help="Width of the shared space.", show_default="the backbone's, or 256")] = None,
    abnormal: Annotated[str | None, typer.Option(help="Labels by Open-I's MeSH terms: mesh or acute.", show_default="mesh")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")] = None,
) -> None:
    """Fit projectors on a backbone's features with three losses: normal/abnormal, supervised contrastive, CLIP."""
    from mtclip_edge.train.requirements import need_torch

    need_torch()
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.sources.source import with_abnormal
    from mtclip_edge.train.settings import resolve
    from mtclip_edge.train.training import train as fit

    given = {"backbone": backbone, "epochs": epochs, "seed": seed, "lr": lr, "batch_size": batch_size, "bce": bce}
    given |= {"supcon": supcon, "clip": clip, "dim": dim, "device": device, "unfreeze": unfreeze, "size": size}
    resolved, origins = resolve(given, config)
    with ProgressBars() as bars:
        fit(
            resolved, [with_abnormal(source, abnormal) for source in data], out, resume=resume, origins=origins, say=bars.say, progress=bars
        )


@app.command(epilog="Example: mtclip export run --out bundle")
def export(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    reports: Annotated[
        str | None, typer.Option(help="The source whose reports are packed.", show_default="the run's train reports")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Comma-separated: fp32, fp16w, fp16, int8, int8-dynamic, w8, w4.", show_default="fp32 and the fastest for a CPU"),
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(metavar="[RUNG.]NAME=VALUE", help="Change a limit of the gate, e.g. overlap=0.95. May repeat.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Keep the first numbers of each embedding only.", show_default="all")] = None,
    no_text: Annotated[
        bool, typer.Option("--no-text", help="Leave the text tower out: smaller, but no --text and no index build.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
) -> None:
    """Turn a run into a bundle: ONNX graphs, proven against torch, with reports, vectors and index."""
    from mtclip_edge.train.requirements import need_torch

    need_torch()
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.export.pack import export as pack
    from mtclip_edge.export.parity.limits import parse_budget
    from mtclip_edge.export.quantization.ladder import PRECISIONS

    names = list(dict.fromkeys(name.strip() for name in precision.split(","))) if precision is not None else None
    limits = parse_budget(budget or (), PRECISIONS)
    options: dict[str, Any] = {"reports": reports, "precision": names, "budget": limits, "dim": dim, "text": not no_text}
    with ProgressBars() as bars:
        pack(run, out, **options, overwrite=overwrite, say=bars.say, progress=bars)


@app.command("eval", epilog="Example: mtclip eval run bundle --data openi/manifest.csv")
def evaluate(
    data: Annotated[str, typer.Option(help="The source of films and reports.")],
    artefacts: Annotated[list[Path] | None, typer.Argument(metavar="[RUN|BUNDLE]...", help="Compared in this order.")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    reports: Annotated[
        str | None, typer.Option(help="The source whose reports are searched.", show_default="those of the films' own studies")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json and report.html.", show_default="RUN/eval-SPLIT, for a run")
    ] = None,
    backbone: Annotated[list[str] | None, typer.Option(help="Judge a backbone zero-shot too. May repeat.")] = None,
    ablate: Annotated[bool, typer.Option("--ablate", help="Train and judge every combination of losses on cached features.")] = False,
    seeds: Annotated[int, typer.Option(help="With --ablate: how many trainings of each.")] = 5,
    allow_leaks: Annotated[bool, typer.Option("--allow-leaks", help="Go on where splits share patients or films, and mark it.")] = False,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
    device: Annotated[str, typer.Option(envvar="MTCLIP_DEVICE", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure retrieval in both directions and the abnormal head, with intervals, beside chance and ceiling."""
    _table_or_json(format)
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.display.evaluation_table import print_eval
    from mtclip_edge.display.formats import dumps
    from mtclip_edge.train.evaluation.evaluate import EvaluationRequest, ablation, assess

    asked = EvaluationRequest(data, tuple(artefacts or ()), tuple(backbone or ()), split, reports, out, allow_leaks, device)
    with ProgressBars() as bars:
        found = ablation(asked, seeds, say=bars.say, progress=bars) if ablate else assess(asked, say=bars.say, progress=bars)
    print(dumps(found, 2)) if format == "json" else print_eval(found)


@app.command(epilog="Example: mtclip pull biomedclip --out biomedclip")
def pull(
    backbone: Annotated[
        str, typer.Argument(help="biomedclip, compact, clip-b16, clip-b32, whyxrayclip, an open_clip name or hub id, perhaps @COMMIT.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
) -> None:
    """Download all that a backbone needs into one folder, verified, for machines without a network."""
    from mtclip_edge.train.requirements import need_torch

    need_torch()
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.train.backbones.pull import pull as fetch

    with ProgressBars() as bars:
        fetch(backbone, out, say=bars.say, progress=bars)


@app.command(epilog="Example: mtclip info bundle")
def info(
    artefact: Annotated[Path | None, typer.Argument(metavar="[BUNDLE|RUN]", help="A bundle or run; else the bundle in use.")] = None,
    config: Annotated[bool, typer.Option("--config", help="Show the settings of train and where each comes from.")] = False,
    config_file: Annotated[Path | None, typer.Option(help="With --config: the TOML file that train would be given.")] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Describe a bundle or a run, or the settings in force."""
    _table_or_json(format)
    from mtclip_edge.display.answer_table import print_pairs
    from mtclip_edge.display.formats import dumps

    if config:
        from mtclip_edge.train.settings import in_force

        settings = in_force(config_file)
        print(dumps(settings, 2)) if format == "json" else print_pairs([(n, f"{v['value']}  ({v['origin']})") for n, v in settings.items()])
        return
    from mtclip_edge.bundle.demo import resolve
    from mtclip_edge.diagnostics.info import describe, lines

    if artefact is None:
        artefact = Path(named) if (named := os.environ.get("MTCLIP_BUNDLE")) else None
    about = describe(artefact if artefact and (artefact / "run.json").exists() else resolve(artefact)[0])
    print(dumps(about, 2)) if format == "json" else print_pairs(lines(about))


@app.command(epilog="Example: mtclip verify bundle")
def verify(bundle: Annotated[Path, typer.Argument(help="A bundle, or demo.")]) -> None:
    """Read every file of a bundle and compare its hash. Exit 3 if one is damaged."""
    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.bundle.demo import resolve

    opened = Bundle.open(resolve(bundle)[0])
    damaged = 0
    for name, problem in opened.verify():
        damaged += problem is not None
        print(f"{'damaged' if problem else 'ok':8s}{name}" + (f"  {problem.detail or problem.what}" if problem else ""))
    if damaged:
        say(f"{opened.path}: {damaged} of {len(opened.manifest['files'])} files are damaged")
        raise typer.Exit(DAMAGED)


@app.command(epilog="Example: mtclip bench bundle")
def bench(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or demo.")],
    films: Annotated[Path | None, typer.Option(help="A folder of films.", show_default="drawn films")] = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Measure how fast a bundle answers here: cold and warm, by batch, each precision on each device."""
    _table_or_json(format)
    from mtclip_edge.bundle.demo import resolve
    from mtclip_edge.diagnostics.bench import bench as measure
    from mtclip_edge.diagnostics.bench import lines
    from mtclip_edge.display.answer_table import ProgressBars, print_pairs
    from mtclip_edge.display.formats import dumps

    with ProgressBars() as bars:
        found = measure(resolve(bundle)[0], films, say=bars.say)
    print(dumps(found, 2)) if format == "json" else print_pairs(lines(found))


@app.command(epilog="Example: mtclip doctor")
def doctor(format: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """Look at what is installed here and what really works."""
    _table_or_json(format)
    from dataclasses import asdict

    from mtclip_edge.diagnostics.doctor import examine
    from mtclip_edge.display.answer_table import print_checks
    from mtclip_edge.display.formats import dumps

    checks = examine()
    print(dumps([asdict(check) for check in checks], 2)) if format == "json" else print_checks(checks)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(1)


def _table_or_json(format: str) -> None:
    if format not in ("table", "json"):
        raise not_among("format", format, ("table", "json"))


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
    """A usage error is its message and where to read on, a full disk one line; of anything else no local value and no text is shown."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        say(error.format_message().replace("\n", " "))
        say(f"{context.command_path if context else 'mtclip'} --help")
        return int(error.exit_code)
    if type(error).__name__ == "Abort":
        say("interrupted")
        return INTERRUPTED
    if isinstance(error, OSError) and error.errno is not None:
        say(f"{error.filename or 'writing'}: {error.strerror}")
        return 1
    if os.environ.get("MTCLIP_DEBUG"):
        raise error
    say(f"internal error: {type(error).__name__}. Set MTCLIP_DEBUG=1 to see where.")
    return 1


if __name__ == "__main__":
    main()
