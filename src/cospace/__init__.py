"""cospace learns one embedding space for images and text from your own pairs, and puts it to work.

The names here are resolved when they are first used: ``import cospace`` loads neither torch nor anything heavy.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
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


class _Package(ModuleType):
    """``cospace.index`` is the verb, also after the import system has loaded the folder of that name.

    Importing a sub-package binds it as an attribute of its parent, which would hide the verb. What stands in the folder
    is imported as ever: ``from cospace.index import Item``.
    """

    @property
    def index(self) -> Any:
        return __getattr__("index")

    @index.setter
    def index(self, folder: ModuleType) -> None:
        """Called by the import system."""


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cospace' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cospace.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
