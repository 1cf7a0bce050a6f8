"""The ``mtclip`` command, and ``python -m mtclip_edge``: the command line with Ctrl-C caught from the
first import on.
"""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    try:
        from . import cli

        code = cli._run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the answer is given: a late Ctrl-C must not make a traceback of the way out
    if sys.argv[1:2] == ["query"]:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End at once: taking a session and its threads apart costs 40 ms, a tenth of a query, and a query
    holds nothing to put in order.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
