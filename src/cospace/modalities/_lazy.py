"""Items that are loaded when somebody needs them, with what can go wrong as a reason of the item's own."""

from __future__ import annotations

from typing import Any

from ..types import BadItem, Lazy


def loaded(item: Lazy) -> Any:
    """What the item stands for. Raises :class:`BadItem` where its file cannot be read."""
    try:
        return item.load()
    except OSError as error:
        raise BadItem("missing", f"{item} cannot be read: {error}") from error
