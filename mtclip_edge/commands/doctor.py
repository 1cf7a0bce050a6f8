"""``mtclip doctor``: all checks of this machine printed; exit 1 where one is bad."""

import typer

from . import options


def doctor(format: options.Format = "table") -> None:
    """Look at what is installed here and what really works."""
    from dataclasses import asdict

    from ..diagnostics.doctor import examine
    from ..display.formats import dumps
    from ..display.pairs import print_checks

    checks = examine()
    print(dumps([asdict(check) for check in checks], 2)) if format == "json" else print_checks(checks)
    if any(check.state == "bad" for check in checks):
        raise typer.Exit(1)
