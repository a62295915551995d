"""A LanceDB database, in a folder or on object storage: its tables, and its refusals in one sentence.

Credentials and endpoints of object storage are LanceDB's own settings, from the environment (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT`` and so on). Nothing of a Lance table is ever changed in place: every change writes files of its own and
then a numbered version of the table, and any version that was not cleaned up can be opened.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..types import StorageError, UserError

Table = Any
"""A ``lancedb.table.Table``; the library is loaded when a database is first used."""

PREFIX = "lance:"
REMOTE = ("s3://", "s3a://", "gs://", "az://", "abfss://", "oss://")
"""Addresses that need no prefix: nothing else is kept there."""
SUFFIX = ".lance"
"""Of a table's folder."""

FACTS = "facts"
"""The table of small things that are known of an index, by name."""
NAMED = pa.schema([("name", pa.string()), ("content", pa.binary())])
"""Of a table of such things."""

_SECRET = re.compile(r"//[^/@\s]*@")


class Database:
    """Tables by name. Threads may share one object; nothing is made, or connected to, before it is needed."""

    def __init__(self, target: str) -> None:
        self.uri = target.removeprefix(PREFIX)
        if not self.uri:
            raise UserError(
                f"after {PREFIX} stands a folder or an address such as s3://BUCKET/PATH; nothing stands there"
            )
        if _SECRET.search(self.uri):
            raise UserError(
                "an address of object storage holds no user or password; LanceDB reads them from the environment"
            )
        self.folder = None if "://" in self.uri else Path(self.uri)
        self._connected: Any = None
        self._guard = threading.Lock()

    @property
    def shown(self) -> str:
        """As people type it."""
        return self.uri if self.uri.startswith(REMOTE) else f"{PREFIX}{self.uri}"

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """What LanceDB refuses as a :class:`StorageError`."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:  # the classes that its errors arrive in
            raise StorageError(f"{self.shown} cannot be used: {_words(error)}") from error
        except Exception as error:
            if type(error).__name__ != "RustPanic":  # as where two make the same table at the same moment
                raise
            raise StorageError(f"{self.shown} cannot be used: LanceDB gave up; do this again") from error

    def names(self) -> set[str]:
        """Of the tables that are there; none where nothing is."""
        if self.folder is not None:  # without LanceDB, which would make the folder
            there = self.folder.glob(f"*{SUFFIX}") if self.folder.is_dir() else ()
            return {path.name.removesuffix(SUFFIX) for path in there}
        found: set[str] = set()
        with self.translated_errors():
            page = self._database().list_tables(limit=100)
            found.update(page.tables)
            while page.page_token:
                page = self._database().list_tables(page_token=page.page_token, limit=100)
                found.update(page.tables)
        return found

    def open(self, name: str, version: int | None = None) -> Table:
        """A table at its newest version or at one that stays."""
        with self.translated_errors():
            return self._database().open_table(name, version=version)

    def create(self, name: str, schema: pa.Schema) -> Table:
        """A new, empty table in place of one that may be there."""
        mode = "overwrite" if name in self.names() else "create"
        with self.translated_errors():
            return self._database().create_table(name, schema=schema, mode=mode)

    def drop(self, names: Sequence[str]) -> None:
        """Remove tables that are there."""
        for name in sorted(self.names() & set(names)):
            with self.translated_errors():
                self._database().drop_table(name)

    def read(self, table: Table, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Some columns of all rows, or of those that satisfy a condition in SQL, in the order of the table."""
        asked = table.search().select([*columns]).limit(None)
        with self.translated_errors():
            return (asked if where is None else asked.where(where)).to_arrow()

    def _database(self) -> Any:
        with self._guard:
            if self._connected is None:
                self._connected = library().connect(self.uri)
            return self._connected


class Kept:
    """A table that may not be there yet, seen at its newest version."""

    def __init__(self, database: Database, name: str, schema: pa.Schema) -> None:
        self._database, self._name, self._schema = database, name, schema
        self._table: Table | None = None

    def newest(self) -> Table | None:
        """The table, with what others have written; none where nothing was kept."""
        if self._table is None:
            if self._name not in self._database.names():
                return None
            self._table = self._database.open(self._name)
        with self._database.translated_errors():
            self._table.checkout_latest()
        return self._table

    def put(self, rows: pa.Table, keys: Sequence[str]) -> Table:
        """Add rows, in place of those with the same ``keys``, in one step."""
        table = self.newest()
        if table is None:
            table = self._table = self._database.create(self._name, self._schema)
        with self._database.translated_errors():
            merge = table.merge_insert([*keys]).when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows.cast(self._schema))
        return table

    def rows(self, columns: Sequence[str], where: str | None = None) -> list[dict[str, Any]]:
        """Some columns of the rows that satisfy a condition in SQL."""
        table = self.newest()
        return [] if table is None else self._database.read(table, columns, where).to_pylist()

    def remove(self, where: str) -> None:
        """Forget the rows that satisfy a condition in SQL."""
        table = self.newest()
        if table is not None:
            with self._database.translated_errors():
                table.delete(where)


def _words(error: Exception) -> str:
    """The cause in what LanceDB says, which is followed by places in its source, or wrapped in the request's parts."""
    said = str(error).strip().removeprefix("lance error: ")
    for cause in (r"<Message>(.*?)</Message>", r"Os \{[^}]*message: \"([^\"]+)\""):
        if (found := re.search(cause, said)) is not None:
            return found[1]
    return re.split(r"\n|, /|, location: ", said)[0][:300] or type(error).__name__


def library() -> Any:
    """LanceDB, or a sentence that says how to get it."""
    try:
        import lancedb
    except ImportError as error:
        raise UserError(f"{error.name} is missing; install it with: pip install 'cospace[lance]'") from error
    return lancedb


def storable(text: str) -> bool:
    """True of what a column of text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def among(column: str, texts: Sequence[str]) -> str:
    """The condition that a column of texts has one of some values."""
    return f"{column} IN ({', '.join(map(quoted, texts))})"
