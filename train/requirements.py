"""Checks what must be installed beyond the runtime, before anything heavy is imported."""

from importlib.util import find_spec

from ..errors import ExtraMissing


def need_torch() -> None:
    """Errors: ExtraMissing, naming the pip line."""
    for package in ("torch", "open_clip", "safetensors"):
        if find_spec(package) is None:
            raise ExtraMissing(
                f"{package} is not installed: this command needs it", hint="pip install 'mtclip-edge[cpu,train,export,compact]'"
            )
