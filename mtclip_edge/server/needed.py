"""Whether what serves pages is installed; asked before anything else of this room is imported."""

from importlib.util import find_spec

from ..errors import ExtraMissing


def check() -> None:
    """Errors: ExtraMissing."""
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise ExtraMissing(
            f"mtclip view needs {' and '.join(missing)}",
            "they are installed with the extra [view]",
            "pip install 'mtclip-edge[view]'",
        )
