"""``mtclip view``: the page in the browser, from this machine alone."""

import threading
import webbrowser
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Option

from ..errors import WrongOption
from ..progress import say
from . import query_options
from .query import given_library

Port = Annotated[int, Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 for a free one.")]
NoOpen = Annotated[bool, Option("--no-open", help="Print the address and open no browser.")]
Largest = Annotated[
    int,
    Option(metavar="MB", min=1, max=2048, help="The largest film or zip that may be dropped, in megabytes."),
]
Host = Annotated[
    str,
    Option(metavar="HOST", help="Listen on another address than 127.0.0.1; needs --tls and --token-file."),
]
TlsFiles = Annotated[
    tuple[Path, Path] | None,
    Option("--tls", metavar="CERT KEY", help="Certificate and key (PEM) to serve HTTPS with."),
]
TokenFile = Annotated[
    Path | None,
    Option("--token-file", metavar="FILE", help="Read the token from a file that its owner alone can read."),
]
Marks = Annotated[
    Path | None,
    Option(
        "--marks", metavar="FILE", help="Let readers mark hits and answers; each mark is a line added here."
    ),
]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def view(
    bundle: query_options.Searched = None,
    library: query_options.OfLibrary = None,
    port: Port = 0,
    no_open: NoOpen = False,
    device: query_options.Device = "auto",
    precision: query_options.Precision = "auto",
    force: query_options.Force = False,
    largest: Largest = 64,
    host: Host = "127.0.0.1",
    tls: TlsFiles = None,
    token_file: TokenFile = None,
    marks: Marks = None,
) -> None:
    """Open a page in the browser: drop a film, see the prior reports most similar to it."""
    from ..bundle.demo import LOUD, resolve

    path, unasked = resolve(bundle)
    _check(host, tls, token_file)
    from ..server.needed import check

    check()
    from ..server.app import Served, Tls, run, token_from
    from ..server.routes import Limits

    if unasked:
        say(LOUD)
    token = token_from(token_file, "--token-file") if token_file else None
    served = Served(host, port, Tls(*tls) if tls else None, token)
    how = {"device": device, "precision": precision, "force": force, "library": given_library(library)}
    opened = partial(_ready, not no_open, token_file)
    from .film_arguments import NO_DICOM

    run(path, how, served, Limits(largest << 20), marks, NO_DICOM if unasked else None, opened)


def _ready(browser: bool, token_file: Path | None, address: str) -> None:
    """Say where the page is, in one line of standard output; a token from a file is not repeated."""
    print(address.partition("#")[0] if token_file else address, flush=True)
    say("Ctrl-C ends it; films stay in memory and are gone then")
    if browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _check(host: str, tls: tuple[Path, Path] | None, token_file: Path | None) -> None:
    """Errors: WrongOption where others could listen in."""
    if host not in LOOPBACK and not (tls and token_file):
        raise WrongOption(
            f"--host {host}",
            "reports of patients leave this machine by HTTPS and with a token of your own alone",
            "add --tls CERT KEY and --token-file FILE, or leave --host out",
        )
    for file in tls or ():
        if not file.is_file():
            raise WrongOption(f"--tls {file}", "no such file")
