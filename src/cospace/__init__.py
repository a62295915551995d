"""cospace learns one embedding space for images, texts and sounds from your own pairs, and puts it to work.

The names here are resolved when they are first used: ``import cospace`` loads neither torch nor anything heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Model, index, load, open_index, train
    from .data.pairs import Pairs, open_pairs
    from .data.sources import ReadOptions
    from .models.space import Space
    from .types import UserError

__version__ = "0.2.0"
__all__ = ["Model", "Pairs", "ReadOptions", "Space", "UserError", "index", "load", "open_index", "open_pairs", "train"]

_DEFINED_IN = {
    "Model": "api",
    "Pairs": "data.pairs",
    "ReadOptions": "data.sources",
    "Space": "models.space",
    "UserError": "types",
    "index": "api",
    "load": "api",
    "open_index": "api",
    "open_pairs": "data.pairs",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'cospace' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cospace.{_DEFINED_IN[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
