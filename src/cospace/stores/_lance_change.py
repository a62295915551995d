"""Changes of one table of items, each on top of the version that the newest record lists.

Lance merges what concurrent writers do to a table, which would keep an id twice that both have added. So every change
has to give the very next version: if it does not, another process has written meanwhile, and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ..types import StorageError
from . import Progress, _lance_ann, _lance_part
from ._lance_tables import Database
from .ann import EXACT, Ann

GROWN = 1.5
"""A vector index is made anew when there are so many times the rows that it was built from."""
AT_A_TIME = 5000
"""Rows in one condition in SQL."""

NEVER = timedelta(days=36_500)
"""Nothing is so old."""

Entry = Mapping[str, Any]
"""What a record says of a table: ``name``, ``version``, ``rows``, and of its vector index ``built``, ``measured``,
``stale`` (what was measured is of an earlier version)."""


class Change:
    """A table that is being written; :attr:`entry` is what the next record says of it."""

    def __init__(self, database: Database, entry: Entry) -> None:
        self._database = database
        self.entry = dict(entry)
        self._table = database.open(entry["name"])
        self._version: int = self._table.version
        if self._version != entry["version"]:  # what is newer was written by a process that did not get to its record
            with database.translated_errors():
                self._table.checkout(entry["version"])
                self._table.restore()
            self._version = self._table.version

    @classmethod
    def new(cls, database: Database, name: str, schema: pa.Schema) -> Change:
        """An empty table, in place of one that no record lists."""
        table = database.create(name, schema)
        return cls(database, {"name": name, "version": table.version, "rows": 0})

    def add(self, rows: pa.Table) -> None:
        """Add rows whose ids are not there."""
        with self._database.translated_errors():
            version = self._table.add(rows).version
        self._step(version, rows.num_rows)

    def remove(self, addresses: Sequence[int]) -> None:
        """Remove rows by their addresses."""
        for start in range(0, len(addresses), AT_A_TIME):
            some = addresses[start : start + AT_A_TIME]
            with self._database.translated_errors():
                version = self._table.delete(f"_rowid IN ({', '.join(map(str, some))})").version
            self._step(version, -len(some))

    def tidy(self) -> None:
        """Join small pieces, and bring what is indexed up to date."""
        with self._database.translated_errors():
            self._table.optimize(cleanup_older_than=NEVER)
            if self.entry["rows"] >= _lance_ann.IDS_ROWS and _lance_ann.IDS not in self._indexes():
                _lance_ann.build_ids(self._table)
        self._settle()

    def index_vectors(self, ann: Ann, width: int, progress: Progress, modality: str) -> None:
        """Build the vector index where there is none as ``ann`` says, or none of nearly so many rows."""
        rows, built = self.entry["rows"], self.entry.get("built")
        if rows < _lance_part.ANN_ROWS or ann.kind == EXACT:
            if _lance_ann.NAME in self._indexes():
                with self._database.translated_errors():
                    self._table.drop_index(_lance_ann.NAME)
            self.entry.update(built=None, measured=None)
        elif built is None or built["ann"] != str(ann) or rows >= GROWN * built["rows"]:
            progress(f"indexing vectors of {modality}s", 0, rows)
            with self._database.translated_errors():
                _lance_ann.build(self._table, ann, rows, width)
            progress(f"indexing vectors of {modality}s", rows, rows)
            self.entry.update(built={"ann": str(ann), "rows": rows}, measured=None)
        self._settle()

    def forget(self, keep: timedelta) -> None:
        """Remove versions older than ``keep``; only once a record lists the newest, or a kill would leave none."""
        with self._database.translated_errors():
            self._table.checkout_latest()
            if self._table.version == self.entry["version"]:
                self._table.optimize(cleanup_older_than=keep)

    def _indexes(self) -> set[str]:
        return {index.name for index in self._table.list_indices()}

    def _step(self, version: int, more: int) -> None:
        if version != self._version + 1:
            raise self._refused()
        self._version = version
        self.entry.update(version=version, rows=self.entry["rows"] + more)

    def _settle(self) -> None:
        """After what takes several versions: the rows have to be the same."""
        with self._database.translated_errors():
            if self._table.count_rows() != self.entry["rows"]:
                raise self._refused()
        if self._table.version != self._version:
            self._version = self._table.version
            self.entry.update(version=self._version, stale=True)

    def _refused(self) -> StorageError:
        return StorageError(
            f"{self._database.shown} is being written by another process too; wait for it to end, and do this again"
        )


def addresses(part: _lance_part.Part, ids: Sequence[str]) -> list[int]:
    """What Lance calls the rows of those ids that are in a part."""
    rows = np.array(sorted(part.rows_of_ids(ids).values()), dtype=np.int64)
    return [int(address) for address in part.addresses_N[rows]] if len(rows) else []
