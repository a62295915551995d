"""cospace learns one embedding space for images and text from your own pairs, and puts it to work.

The names here are resolved when they are first used: ``import cospace`` loads neither torch nor anything heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiment.model import Model
    from .experiment.verbs import index, load, open_index, train
    from .pairs import Pairs, open_pairs
    from .space import Space
    from .types import UserError

__version__ = "0.1.0"
__all__ = ["Model", "Pairs", "Space", "UserError", "index", "load", "open_index", "open_pairs", "train"]

_HOME = {
    "Model": "experiment.model",
    "Pairs": "pairs",
    "Space": "space",
    "UserError": "types",
    "index": "experiment.verbs",
    "load": "experiment.verbs",
    "open_index": "experiment.verbs",
    "open_pairs": "pairs",
    "train": "experiment.verbs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cospace' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cospace.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
