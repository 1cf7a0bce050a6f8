"""Whether what a node needs is installed; asked before anything else of this room is imported."""

from importlib.util import find_spec

from ..errors import ExtraMissing
from ..installation import install_command

NODE = ("pynetdicom", "highdicom")
WEB = ("starlette", "uvicorn", "python_multipart")


def check(web: bool) -> None:
    """``web``: whether DICOMweb is served. Errors: ExtraMissing."""
    missing = [name for name in (*NODE, *(WEB if web else ())) if find_spec(name) is None]
    if missing:
        what = f"mtclip node needs {' and '.join(missing)}"
        raise ExtraMissing(what, "they come with the extra [node]", install_command("node"))
