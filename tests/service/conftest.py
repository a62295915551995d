"""A real index of a small trained run, and the service on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wire import Wire

from cospace.experiment.model import Model
from cospace.experiment.search import SearchableIndex
from cospace.service.app import create_app
from service.looking import browser, open_page, serving, stand_in

__all__ = ["browser", "indexed", "open_page", "serving", "stand_in", "wire"]  # fixtures


@pytest.fixture(scope="session")
def indexed(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 62 different pictures of shapes and 64 texts. Read only."""
    from cospace.experiment.indexing import build_index

    out = tmp_path_factory.mktemp("indexed") / "idx"
    build_index(Model.load(trained), shapes, out)
    return out


@pytest.fixture(scope="session")
def wire(indexed: Path) -> Iterator[Wire]:
    """The service on it, as a person's own machine runs it."""
    wire = Wire(create_app(SearchableIndex.open(indexed)))
    yield wire
    wire.close()
