"""Small named files that people save beside an index, such as classes they taught: in its folder or in its schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

from ..files import atomic_write
from ..reading import read_bytes
from ..types import UserError
from ._server import Connection, Server, fetched

NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,99}")
"""What may be a file's name on every system."""

FOLDER = "classes"
"""Of an index in a folder."""

_TABLE = "CREATE TABLE IF NOT EXISTS saved (name text PRIMARY KEY, content bytea NOT NULL)"


class SavedFiles(Protocol):
    """Where they are kept."""

    def names(self) -> list[str]:
        """In order; none where nothing was saved."""

    def get(self, name: str) -> bytes | None:
        """What was saved under a name, or nothing."""

    def put(self, name: str, content: bytes) -> None:
        """Save, or replace, all or nothing; on disk when this returns."""

    def remove(self, name: str) -> bool:
        """Forget one; whether it was there."""


def check_name(name: str) -> str:
    """The name without blanks around it. Raises :class:`UserError` for one that cannot be a file's."""
    name = name.strip()
    if not NAME.fullmatch(name) or name.endswith((" ", ".")):
        raise UserError(f'{name!r:.120} cannot be a name here; use up to 100 characters without / \\ : * ? " < > |')
    return name


class LocalSaved:
    """JSON files in a folder of the index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("*.json")) if self._folder.is_dir() else []

    def get(self, name: str) -> bytes | None:
        path = self._path(name)
        return read_bytes(path) if path.is_file() else None

    def put(self, name: str, content: bytes) -> None:
        atomic_write(self._path(name), content)

    def remove(self, name: str) -> bool:
        path = self._path(name)
        there = path.is_file()
        path.unlink(missing_ok=True)
        return there

    def _path(self, name: str) -> Path:
        return self._folder / f"{check_name(name)}.json"


class PostgresSaved:
    """A table in the schema of an index, made when something is first saved."""

    def __init__(self, url: str) -> None:
        self._url = url

    def names(self) -> list[str]:
        return [name for (name,) in self._read("SELECT name FROM saved ORDER BY name")]

    def get(self, name: str) -> bytes | None:
        rows = self._read("SELECT content FROM saved WHERE name = %s", check_name(name))
        return bytes(rows[0][0]) if rows else None

    def put(self, name: str, content: bytes) -> None:
        server = Server(self._url)
        try:
            with server.writing() as connection:
                connection.execute(_TABLE)
                upsert = "INSERT INTO saved VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET content = excluded.content"
                connection.execute(upsert, [check_name(name), content])
        finally:
            server.close()

    def remove(self, name: str) -> bool:
        there = self.get(name) is not None
        server = Server(self._url)
        try:
            with server.writing() as connection:
                connection.execute(_TABLE)
                connection.execute("DELETE FROM saved WHERE name = %s", [check_name(name)])
        finally:
            server.close()
        return there

    def _read(self, query: str, *values: str) -> list[tuple[Any]]:
        server = Server(self._url)

        def work(connection: Connection) -> list[tuple[Any]]:
            there = fetched(connection, "SELECT to_regclass('saved') IS NOT NULL", [])[0][0]
            return list(fetched(connection, query, list(values))) if there else []

        try:
            return server.read(work)
        finally:
            server.close()
