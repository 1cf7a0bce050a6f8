"""Studies to features to projector to run. Needs the ``train`` extra; the runtime never imports it.

from mtclip_edge.train import TrainConfig, train

train(TrainConfig(epochs=20), ["openi/manifest.csv"], Path("run"))
"""

import importlib
from typing import TYPE_CHECKING, Any

# Imported when first used: to name this package must not load torch.
_HOMES = {"TrainConfig": "settings", "train": "training"}
__all__ = ["TrainConfig", "train"]

if TYPE_CHECKING:
    from .settings import TrainConfig as TrainConfig
    from .training import train as train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
