"""The ``mtclip`` command, and ``python -m mtclip_edge``: the command line with Ctrl-C caught from the first import on."""

import signal
import sys


def main() -> None:
    try:
        from . import cli

        code = cli._run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the answer is given: a late Ctrl-C must not make a traceback of the way out
    sys.exit(code)


if __name__ == "__main__":
    main()
