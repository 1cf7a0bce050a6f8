"""Whether what serves pages is installed; asked before anything else of this room is imported."""

from importlib.util import find_spec

from ..errors import ExtraMissing
from ..installation import install_command


def check() -> None:
    """Errors: ExtraMissing."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise ExtraMissing(
            f"mtclip view needs {' and '.join(missing)}",
            "they come with the extra [view]",
            install_command("view"),
        )
