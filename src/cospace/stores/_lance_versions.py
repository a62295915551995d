"""The versions of an index in LanceDB: a table of small records, of which the newest says what the index is.

A record lists, for each modality, a Lance table and the version of it that holds the items. So a change of several
tables becomes visible at once, by one row; what a killed writer did to a table is in no record, and is taken back by
the next one. Records have numbers, and of several with the same number the first counts. Lance orders the rows of
concurrent writers and never loses one, so exactly one of those who write number ``n`` has written it: the others find
that out by reading it again, and are refused.
"""

from __future__ import annotations

import json
import os
import platform
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..files import as_json, as_sealed, parse_sealed
from ..reading import MALFORMED
from ..types import StorageError
from ._lance_tables import FACTS, NAMED, Database, Kept, Table, quoted
from ._units import check_format

FORMAT = 1
"""As that of a folder: see ``_versions.py``."""
TABLE = "versions"
DRAFT = "draft"
"""The name under which an unfinished update is kept among the facts, and of its token in a record of its writer."""
KEPT = 32
"""With more records than this, all but the last two are removed."""

_SCHEMA = pa.schema([("number", pa.int64()), ("record", pa.string())])

Record = dict[str, Any]
"""``version``, ``fingerprint``, ``width``, ``precision``, ``tables`` by modality, ``ann``, and who wrote it."""


class Records:
    """The records of one index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table: Table | None = None

    def newest(self) -> Record | None:
        """The record that is the index now; none where there is no index."""
        rows = self._rows()
        return self._first(rows, max(rows)) if rows else None

    def there(self) -> Record:
        """The same; refuses where there is no index, or one of another format."""
        record = self.newest()
        if record is None:
            made = "cospace index RUN INPUT --out"
            raise StorageError(f"{self._database.shown} is not an index; make one with: {made} {self._database.shown}")
        check_format(self._database.shown, record["format"], FORMAT)
        return record

    def create(self) -> None:
        """An empty table, unless a process that was killed, or one at this very moment, has made one."""
        if TABLE not in self._database.names():
            self._table = self._database.create(TABLE, _SCHEMA)

    def append(self, record: Mapping[str, Any]) -> Record:
        """Make ``record``, with the token of the one it follows, the next version.

        Raises :class:`StorageError` where another process was first to write that version.
        """
        made = {**record, "writer": f"process {os.getpid()} on {platform.node()}", "token": uuid.uuid4().hex}
        number = int(made["version"])
        row = pa.table({"number": [number], "record": [as_sealed(made).decode()]}, schema=_SCHEMA)
        table = self._opened()
        with self._database.translated_errors():
            table.add(row)
        rows = self._rows()
        first = {one: self._first(rows, one)["token"] for one in (number - 1, number) if one in rows}
        # Without the version that this one follows, a first of its number may be late: what came between was removed.
        if first.get(number) != made["token"] or first.get(number - 1) != record.get("token"):
            raise self.refused(self._first(rows, max(rows)))
        if sum(map(len, rows.values())) > KEPT:
            with self._database.translated_errors():
                table.delete(f"number < {number - 1}")
        return made

    def refused(self, newest: Record) -> StorageError:
        """What is said to a writer that is not the only one."""
        return StorageError(
            f"{self._database.shown} was changed by {newest['writer']} meanwhile; wait for it to end, and do this again"
        )

    def tidy(self, keep: Any) -> None:
        """Join what many small changes have written, and forget versions older than ``keep``."""
        with self._database.translated_errors():
            self._opened().optimize(cleanup_older_than=keep)

    def _opened(self) -> Table:
        if self._table is None:
            self._table = self._database.open(TABLE)
        return self._table

    def _rows(self) -> dict[int, list[str]]:
        """Records by number, in the order in which they were written."""
        if self._table is None and TABLE not in self._database.names():
            return {}
        try:
            with self._database.translated_errors():
                self._opened().checkout_latest()
        except StorageError:
            if TABLE in self._database.names():
                raise
            self._table = None
            return {}
        found: dict[int, list[str]] = {}
        read = self._database.read(self._opened(), ["number", "record"])
        for number, record in zip(read["number"].to_pylist(), read["record"].to_pylist(), strict=True):
            found.setdefault(number, []).append(record)
        return found

    def _first(self, rows: Mapping[int, list[str]], number: int) -> Record:
        return parse_sealed(rows[number][0].encode(), Path(f"{self._database.shown}/{TABLE}"))


class Drafts:
    """What an unfinished update of an index has come to, which only its writer reads: versions of the tables."""

    def __init__(self, database: Database) -> None:
        self._facts = Kept(database, FACTS, NAMED)

    def of(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Of the update that began at a record, its name as ``update``, ``tables``, and its token as ``draft``."""
        rows = self._facts.rows(["content"], f"name = {quoted(DRAFT)}")
        with suppress(*MALFORMED):
            draft = json.loads(rows[0]["content"])
            if draft["base"] == record["token"]:
                return dict(draft)
        return None

    def keep(self, record: Record, update: str) -> Record:
        """The record as its writer has it from now on, once its tables are kept as those of an update."""
        token = uuid.uuid4().hex
        draft = {"update": update, "base": record["token"], "tables": record["tables"], DRAFT: token}
        self._facts.put(pa.table({"name": [DRAFT], "content": [as_json(draft)]}), ["name"])
        return {**record, DRAFT: token}

    def drop(self) -> None:
        """Forget it."""
        if self._facts.rows(["name"], f"name = {quoted(DRAFT)}"):
            self._facts.remove(f"name = {quoted(DRAFT)}")
