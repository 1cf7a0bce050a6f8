"""``mtclip node``: a film arrives from the PACS, the result goes back."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..errors import Refused, WrongOption
from . import options

if TYPE_CHECKING:
    from ..dicom_node.settings import NodeSettings

app = typer.Typer(
    help="A DICOM node: films in by C-STORE, results back to the PACS.",
    no_args_is_help=True,
    add_completion=False,
)
Settings = Annotated[
    Path, Argument(metavar="NODE.toml", help="Its settings; docs/guide/pacs.md has them all.")
]
Film = Annotated[
    str | None, Option("--film", metavar="UID", help="One film by its SOP Instance UID.", show_default="all")
]
ShowIds = Annotated[bool, Option("--show-ids", help="Log whole UIDs in place of hashes.")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
OlderThan = Annotated[
    str, Option("--older-than", metavar="TIME", help="Exit with 1 where a film waits longer: 90s, 15min, 2h.")
]


@app.command(epilog="Example: mtclip node check node.toml")
def check(settings: Settings, json: Json = False) -> None:
    """Try all that a node needs: bundle, spool, certificates, and the PACS both ways."""
    read = _read(settings)
    from ..dicom_node.check import checks

    found = list(checks(read))
    document = {"schema": "mtclip.node.check/1", "checks": [one.to_dict() for one in found]}
    options.show(document, _check_lines, "json" if json else "table")
    if bad := [one.name for one in found if one.good is False]:
        raise Refused(f"not ready: {', '.join(bad)}")


def _check_lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    words = {True: "ok", None: "careful", False: "NO"}
    return [(one["name"], f"{words[one['good']]}: {one['said']}") for one in document["checks"]]


@app.command(epilog="Example: mtclip node run node.toml")
def run(settings: Settings, show_ids: ShowIds = False) -> None:
    """Receive, answer and send until it is ended (Ctrl-C, SIGTERM)."""
    read = _read(settings)
    from ..dicom_node.node import run as run_node

    run_node(read, show_ids)
    # The library's threads wait for their peers; what is to be kept is on disk. The film in hand may have
    # taken too long: it is begun anew by the next start.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


@app.command(epilog="Example: mtclip node status node.toml --older-than 15min")
def status(settings: Settings, older_than: OlderThan = "15min", json: Json = False) -> None:
    """What waits and what failed, and whether films have changed; for a person or a monitor."""
    read, most = _read(settings), _seconds(older_than)
    from ..dicom_node.status import status_of

    found = status_of(read)
    options.show(found.document, _status_lines, "json" if json else "table")
    if found.late(most):
        raise Refused(f"a film has waited for {found.oldest:.0f} s, longer than {older_than}")


@app.command(epilog="Example: mtclip node retry node.toml")
def retry(settings: Settings, film: Film = None) -> None:
    """Let films that failed, or that could not be read, be tried again."""
    from ..dicom_node.status import retry as again

    print(f"{again(_read(settings), film)} films will be tried again")


@app.command(epilog="Example: mtclip node forget node.toml --film 1.2.3")
def forget(settings: Settings, film: Film = None) -> None:
    """Remove films that failed, or that could not be read, for good."""
    from ..dicom_node.status import forget as remove

    print(f"{remove(_read(settings), film)} films forgotten")


def _read(file: Path) -> "NodeSettings":
    """Errors: WrongOption, ExtraMissing."""
    from ..dicom_node.needed import check as check_needed
    from ..dicom_node.settings import read_settings

    read = read_settings(file)
    check_needed(read.web is not None)
    return read


def _seconds(words: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|days?)", words)
    if not match:
        raise WrongOption(f"--older-than {words!r}", "expected as 90s, 15min, 2h")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}.get(match[2], 86400)


def _status_lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    films = {state: count for state, count in document["films"].items() if count}
    oldest = document["oldest_s"]
    lines = [
        ("node", "at work" if document["running"] else "not running"),
        ("films", ", ".join(f"{count} {state}" for state, count in films.items()) or "none yet"),
        ("waiting", f"{document['waiting']}" + (f", the oldest for {oldest:.0f} s" if oldest else "")),
        ("not committed yet", str(document["uncommitted"])),
        *((f"{count} films", why) for why, count in list(document["reasons"].items())[:8]),
        ("held", f"{document['held_bytes'] / 1e6:.0f} of {document['spool_limit'] / 1e6:.0f} MB"),
        ("disk free", f"{document['free_bytes'] / 1e9:.1f} GB"),
    ]
    return [*lines, *_drift_lines(document["drift"]), ("", document["notice"])]


def _drift_lines(drift: dict[str, Any]) -> list[tuple[str, str]]:
    names = {"week": "last seven days", "before": "before", "validation": "validation films"}
    told = {name: drift[name] or {} for name in names}
    lines = []
    for key, words in {
        "rejected": "rejected",
        "called_abnormal": "called abnormal",
        "similarity_percentiles": "similarity, quartiles of percentiles",
    }.items():
        said = [f"{names[name]} {_told(told[name].get(key))}" for name in names if key in told[name]]
        if any(told[name].get(key) is not None for name in ("week", "before")):
            lines.append((words, ", ".join(said)))
    return lines


def _told(value: Any) -> str:
    if value is None:
        return "–"
    return "/".join(f"{one:.0f}" for one in value) if isinstance(value, list) else f"{100 * value:.1f} %"
