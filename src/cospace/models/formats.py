"""Which formats of a saved folder are read, and what to do about the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from ..config import PartConfig
from ..types import UserError


def check_format(settings: Mapping[str, Any], known: int, folder: Path) -> None:
    """Refuse what another version wrote; the format before this one was version 0.1's."""
    found = settings.get("format")
    if found == known - 1:
        raise UserError(needs_conversion(folder))
    if found != known:
        raise UserError(f"{folder} was written in format {found}; this version reads format {known}")


def needs_conversion(folder: Path) -> str:
    """What to do with a model folder of version 0.1."""
    run = folder.parent if folder.name == "model" and (folder.parent / "run.json").is_file() else folder
    return f"{run} was written by cospace 0.1; convert it with: cospace import {quote(str(run))} --out NEW"


def without_fetching(config: PartConfig) -> PartConfig:
    """The settings of an encoder whose weights a folder holds: what is ``pretrained`` is not fetched once more."""
    fetches = getattr(config, "pretrained", False) is True
    return config.model_copy(update={"pretrained": False}) if fetches else config
