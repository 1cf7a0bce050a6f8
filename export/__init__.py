"""Run to ONNX to proven to bundle.

Needs the ``train`` and ``export`` extras; the runtime never imports it.

    from mtclip_edge.export import export

    export(Path("run"), Path("bundle"))
"""

import importlib
from typing import TYPE_CHECKING, Any

# Imported when first used: to name this package must not load torch.
_HOMES = {"export": "pack"}
__all__ = ["export"]

if TYPE_CHECKING:
    from .pack import export as export


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
