"""What lies beside the vectors of a schema: previews, and the files of the model that made the vectors; its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..files import MANIFEST, write_folder
from ..reading import opened
from ..types import UserError
from ._server import Connection, Server, fetched
from ._tables import facts_in, keep_fact, make_shared, meta_of, storable

PART = 1 << 24
"""Bytes of a model's file in one row."""


class PostgresThumbnails:
    """Previews by content hash, in the schema of an index."""

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        with self._server.writing() as connection:
            make_shared(self._server, connection)

    def add(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep ``(hash, size, WebP)``, all of them or none; one that is there already is replaced."""
        with self._server.writing() as connection, connection.cursor() as cursor:
            insert = "INSERT INTO thumbnails VALUES (%s, %s, %s)"
            cursor.executemany(f"{insert} ON CONFLICT (hash, size) DO UPDATE SET webp = excluded.webp", [*rows])

    def get(self, hash: str, size: int) -> bytes | None:
        """The preview of one size, if it is there."""
        asked = "SELECT webp FROM thumbnails WHERE hash = %s AND size = %s"
        rows = self._server.read(lambda connection: fetched(connection, asked, [hash, size])) if storable(hash) else []
        return bytes(rows[0][0]) if rows else None

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Those of ``hashes`` that have a preview of any size."""
        asked, wanted = "SELECT DISTINCT hash FROM thumbnails WHERE hash = ANY(%s)", [*filter(storable, hashes)]
        return {name for (name,) in self._server.read(lambda connection: fetched(connection, asked, [wanted]))}

    def hashes(self) -> set[str]:
        """All contents that have a preview."""
        asked = "SELECT DISTINCT hash FROM thumbnails"
        return {name for (name,) in self._server.read(lambda connection: fetched(connection, asked, []))}

    def remove(self, hashes: Sequence[str]) -> None:
        """Forget the previews of some contents, of every size."""
        with self._server.writing() as connection:
            connection.execute("DELETE FROM thumbnails WHERE hash = ANY(%s)", [[*filter(storable, hashes)]])

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._server.close()


def write_model(url: str, folder: Path) -> None:
    """Keep the files of a model's folder in the schema, in place of those that were there."""
    server = Server(url)
    with server.writing() as connection:
        make_shared(server, connection)
        connection.execute("DELETE FROM model")
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
            with opened(path) as file:
                parts = enumerate(iter(partial(file.read, PART), b"")) if path.stat().st_size else [(0, b"")]
                for part, content in parts:
                    row = [path.relative_to(folder).as_posix(), part, content]
                    connection.execute("INSERT INTO model VALUES (%s, %s, %s)", row)


def write_facts(url: str, name: str, value: Mapping[str, Any]) -> None:
    """Keep a JSON object under a name in the schema, in place of the one that was there."""
    server = Server(url)
    with server.writing() as connection:
        keep_fact(connection, name, value)
    server.close()


def read_facts(url: str, name: str) -> dict[str, Any]:
    """What :func:`write_facts` kept; empty where nothing was."""
    server = Server(url)

    try:
        return server.read(lambda connection: facts_in(connection, server, name))
    finally:
        server.close()


def read_model(url: str, folder: Path) -> None:
    """Write the files that :func:`write_model` kept to ``folder``, whole or not at all."""
    server = Server(url)

    def work(connection: Connection) -> None:
        names = [name for (name,) in fetched(connection, "SELECT DISTINCT name FROM model ORDER BY name", [])]
        if not names:
            raise UserError(f"{server.address.shown} holds no model; make an index with: cospace index")
        write_folder(folder, {name: partial(_fetch_file, connection, name) for name in names})

    try:
        server.read(work)
    finally:
        server.close()


def _fetch_file(connection: Connection, name: str, path: Path) -> None:
    with path.open("wb") as file:
        (parts,) = fetched(connection, "SELECT count(*) FROM model WHERE name = %s", [name])[0]
        for part in range(parts):
            asked = "SELECT bytes FROM model WHERE name = %s AND part = %s"
            file.write(fetched(connection, asked, [name, part])[0][0])


def exists(url: str) -> bool:
    """True where the schema of an address holds an index."""
    server = Server(url)
    try:
        return server.read(partial(meta_of, server=server)) is not None
    finally:
        server.close()


def remove(url: str) -> None:
    """Drop the tables of an index; the schema, which may be somebody's, stays."""
    from psycopg import sql

    server = Server(url)
    with server.locked() as connection, server.writing(connection):
        for table in ("meta", "items", "model", "thumbnails", "facts"):
            name = sql.Identifier(server.address.schema, table)
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
