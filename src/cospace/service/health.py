"""Placeholder until the health view is merged."""

from __future__ import annotations

from typing import Any

from ..experiment.search import SearchableIndex


def space_health(collection: SearchableIndex) -> dict[str, Any]:
    """Nothing yet."""
    return {}
