"""Records of a listing, sorted: in memory while they are few, on a disk where they are many.

A folder may hold more files than memory has room for their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

from ...columns import column_of

_RUN = 1 << 17
"""Records that are sorted at a time."""

_MOST_RUNS = 32
"""Runs that are read side by side."""


class Records:
    """Lists of plain values (texts, numbers, lists of them); those that differ must do so in values of one type."""

    def __init__(self) -> None:
        self._count, self._new, self._runs = 0, list[list[Any]](), list[Sequence[list[Any]]]()

    def __len__(self) -> int:
        return self._count

    def add(self, *values: Any) -> None:
        """Add a record."""
        self._new.append(list(values))
        self._count += 1
        if len(self._new) >= _RUN:
            self._store()

    def _store(self) -> None:
        self._new.sort()
        self._runs.append(column_of(self._new))
        self._new = []
        if len(self._runs) >= _MOST_RUNS:
            self._runs = [column_of(merge(*self._runs))]

    def __iter__(self) -> Iterator[list[Any]]:
        """Every record, in ascending order of the values."""
        self._new.sort()
        return merge(*self._runs, self._new) if self._runs else iter(self._new)
