"""What to type here to add an optional part to this installation, or to get a newer one.

The commands name a checkout or a wheel, never the package by its name alone: it is in no registry, and a
stranger could take the name.
"""

import json
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .errors import ExtraMissing
from .notice import __version__

PACKAGE = "mtclip-edge"
_BROUGHT_BY = {  # by extra, the names that are imported; "" is the plain installation
    "": (
        "numpy",
        "PIL",
        "tokenizers",
        "rich",
        "platformdirs",
        "filelock",
        "pydicom",
        "gdcm",
        "jpeg_ls",
        "openjpeg",
    ),
    "train": (
        *(
            "torch",
            "torchvision",
            "open_clip",
            "timm",
            "transformers",
            "huggingface_hub",
            "yaml",
            "safetensors",
        ),
        *("matplotlib", "sklearn"),
    ),
    "export": ("onnx", "onnxscript"),
    "cpu": ("onnxruntime", "hnswlib"),
    "parquet": ("pyarrow",),
    "library": ("psycopg", "psycopg_pool", "pgvector"),
    "ray": ("ray", "pyarrow"),
    "view": ("starlette", "uvicorn"),
    "node": ("pynetdicom", "highdicom", "starlette", "uvicorn", "python_multipart"),
}


def install_command(*extras: str) -> str:
    """The pip command that adds extras to what is installed here, from where it was installed."""
    return "pip install " + _quoted(_origin() + (f"[{','.join(extras)}]" if extras else ""))


def missing_module(name: str) -> ExtraMissing | None:
    """What to say where a module cannot be imported that one of our extras or the plain installation
    brings; None for any other.
    """
    for extra, modules in _BROUGHT_BY.items():
        if name in modules:
            return ExtraMissing(
                f"{name} is not installed: this command needs it",
                hint=install_command(*filter(None, [extra])),
            )
    return None


def upgrade_hint() -> str:
    """What to do about a file that a newer version wrote."""
    if Path(_origin()).suffix == ".whl":
        return f"install a newer wheel of {PACKAGE} than {__version__}"
    return f"get a newer checkout of {PACKAGE} than {__version__}, then: pip install {_quoted(_origin())}"


def _origin() -> str:
    """The checkout that this code lies in or was installed from (``.`` for the working folder), or its
    wheel, or that wheel's name.
    """
    for place in (Path(__file__).resolve().parents[1], _recorded()):
        if place is None:
            continue
        if (place / "pyproject.toml").is_file() and (place / "mtclip_edge").is_dir():
            return "." if place == Path.cwd() else str(place)
        if place.suffix == ".whl" and place.is_file():
            return str(place)
    return f"mtclip_edge-{__version__}-py3-none-any.whl"


def _recorded() -> Path | None:
    """Where pip says that it installed this from; nothing for a wheel that it looked up by name."""
    try:
        record = json.loads(metadata.distribution(PACKAGE).read_text("direct_url.json") or "{}")
        url = urlsplit(str(record.get("url", "")))
    except (metadata.PackageNotFoundError, OSError, ValueError, AttributeError):
        return None
    return Path(url2pathname(url.path)).resolve() if url.scheme == "file" else None


def _quoted(word: str) -> str:
    """A word for a shell, in quotes wherever one might take it for a pattern."""
    return shlex.quote(word) if set(word) & set("[]' ") else word
