"""What a run may start from: an earlier run, or a published model."""

from __future__ import annotations

from pathlib import Path

from ..interop import parity, sources
from ..runtime import device
from .run import Run


def open_source(source: str) -> Run:
    """An earlier run, or a published model, compared with its own library where that is installed."""
    folder = Path(source)
    if (folder / "model").is_dir() or (folder / "space.json").is_file() or not sources.is_published(source):
        return Run.load(folder)
    published = sources.read(source)
    parity.compare(published)
    return Run(published.space.to(device()), folder, published.folder, {"published": published.facts()})
