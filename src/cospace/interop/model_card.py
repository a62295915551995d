"""What a published folder says of itself: the licence in the head of its README, as the hub's model cards have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..reading import read_object, read_text

CARD, MOST = "README.md", 1 << 22
LICENSE = re.compile(r"^license(?:_name)?:\s*[\"']?([^\"'\s#\[\]]+)", re.MULTILINE)


def license_in(folder: Path) -> str | None:
    """The licence that a model's folder names, by its identifier (``apache-2.0``); nothing where it names none.

    Looked for at the head of ``README.md``, then in ``config.json`` (timm keeps it in ``pretrained_cfg``).
    """
    card, settings = folder / CARD, folder / "config.json"
    if card.is_file() and card.stat().st_size <= MOST:
        head = read_text(card, MOST).split("\n---", 1)[0]
        found = LICENSE.findall(head) if head.startswith("---") else []
        if named := [name for name in found if name != "other"] or found:
            return str(named[0])
    return license_of(read_object(settings)) if settings.is_file() else None


def license_of(settings: Mapping[str, Any]) -> str | None:
    """The licence in settings, at their top or in timm's ``pretrained_cfg``."""
    inner = settings.get("pretrained_cfg")
    for place in (settings, inner if isinstance(inner, Mapping) else {}):
        if isinstance(place.get("license"), str):
            return str(place["license"])
    return None
