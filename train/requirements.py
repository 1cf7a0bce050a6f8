"""Checks what must be installed beyond the runtime, before anything heavy is imported."""

from importlib.util import find_spec

from ..errors import ExtraMissing
from ..installation import install_command


def need_torch() -> None:
    """Errors: ExtraMissing, naming the pip line."""
    for package in ("torch", "open_clip", "safetensors"):
        if find_spec(package) is None:
            hint = install_command("cpu", "train", "export", "compact")
            raise ExtraMissing(f"{package} is not installed: this command needs it", hint=hint)
