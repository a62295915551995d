"""A real index of a small trained run, and the service on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import AsgiClient

from cospace.commands.search import SearchableIndex
from cospace.runs.run import Run
from cospace.service.app import create_app
from service.page_fixtures import browser, open_page, serving, stand_in

__all__ = ["browser", "client", "indexed", "open_page", "serving", "stand_in"]  # fixtures


@pytest.fixture(scope="session")
def indexed(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 64 images of shapes, two of them copies, and 64 texts. Read only."""
    from cospace.commands.index import build_index

    out = tmp_path_factory.mktemp("indexed") / "idx"
    build_index(Run.load(trained), shapes, out)
    return out


@pytest.fixture(scope="session")
def client(indexed: Path) -> Iterator[AsgiClient]:
    """The service on it, as a person's own machine runs it."""
    client = AsgiClient(create_app(SearchableIndex.open(indexed)))
    yield client
    client.close()
