"""The places where an index may live; servers are started by the tests themselves."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from cospace.stores import Index, lance, postgres
from cospace.stores.lance import LanceIndex
from cospace.stores.local import LocalIndex
from cospace.stores.postgres import PostgresIndex

COUNTER = itertools.count()


class LocalPlace:
    """Where one local index is, or will be."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"index{next(COUNTER)}"

    def another(self) -> LocalPlace:
        return LocalPlace(self.folder)

    def create(self, width: int, precision: str = "float32") -> Index:
        return LocalIndex.create(self.folder / self.name, "f00d", width, precision)

    def open(self, fingerprint: str | None = None) -> Index:
        return LocalIndex.open(self.folder / self.name, fingerprint)

    def remove(self) -> None:
        shutil.rmtree(self.folder / self.name)

    @property
    def opened_by(self) -> str:
        return f"from cospace.stores.local import LocalIndex as Store; at = __import__('pathlib').Path({self.path!r})"

    @property
    def path(self) -> str:
        return str(self.folder / self.name)


class PostgresPlace:
    """A schema of the server, reached by TCP or by its socket."""

    def __init__(self, server: str) -> None:
        self.server, self.url = server, f"{server}#index{next(COUNTER)}"

    def another(self) -> PostgresPlace:
        return PostgresPlace(self.server)

    def create(self, width: int, precision: str = "float32") -> Index:
        return PostgresIndex.create(self.url, "f00d", width, precision)

    def open(self, fingerprint: str | None = None) -> Index:
        return PostgresIndex.open(self.url, fingerprint)

    def remove(self) -> None:
        postgres.remove(self.url)

    @property
    def opened_by(self) -> str:
        return f"from cospace.stores.postgres import PostgresIndex as Store; at = {self.url!r}"


class LancePlace:
    """A LanceDB database in a folder, or on object storage."""

    def __init__(self, folder: Path | str) -> None:
        self.folder, self.target = folder, f"{folder}/lance{next(COUNTER)}"

    def another(self) -> LancePlace:
        return LancePlace(self.folder)

    def create(self, width: int, precision: str = "float32") -> Index:
        return LanceIndex.create(self.target, "f00d", width, precision)

    def open(self, fingerprint: str | None = None) -> Index:
        return LanceIndex.open(self.target, fingerprint)

    def remove(self) -> None:
        lance.remove(self.target)

    @property
    def opened_by(self) -> str:
        return f"from cospace.stores.lance import LanceIndex as Store; at = {self.target!r}"


@pytest.fixture(params=["local", "tcp", "socket", "lance", pytest.param("objects", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LocalPlace | PostgresPlace | LancePlace:
    if request.param == "local":
        return LocalPlace(tmp_path)
    if request.param == "lance":
        request.getfixturevalue("lancedb")
        return LancePlace(tmp_path)
    if request.param == "objects":
        return LancePlace(request.getfixturevalue("bucket"))
    started = request.getfixturevalue("server")
    return PostgresPlace(started.tcp if request.param == "tcp" else started.socket)
