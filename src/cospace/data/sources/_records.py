"""Records of a listing, sorted: in memory while they are few, on a disk where they are many.

A folder may hold more files than memory has room for their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import chain
from typing import Any

from ...columns import column_of

_RUN = 1 << 17
"""Records that are sorted at a time."""

_MOST_RUNS = 32
"""Runs of a level, which are read side by side."""


class Records:
    """Lists of plain values (texts, numbers, lists of them); those that differ must do so in values of one type."""

    def __init__(self) -> None:
        self._count, self._new = 0, list[list[Any]]()
        self._levels = list[list[Sequence[str]]]()
        """Sorted runs as JSON; those of a level have been merged from that many times as many of the one before."""

    def __len__(self) -> int:
        return self._count

    def add(self, *values: Any) -> None:
        """Add a record."""
        self._new.append(list(values))
        self._count += 1
        if len(self._new) >= _RUN:
            self._new.sort()
            self._store(self._new, 0)
            self._new = []

    def _store(self, records: Iterable[list[Any]], level: int) -> None:
        self._levels += [[]] if level == len(self._levels) else []
        runs = self._levels[level]
        runs.append(column_of(map(json.dumps, records)))
        if len(runs) == _MOST_RUNS:
            self._levels[level] = []
            self._store(_merged(runs), level + 1)

    def __iter__(self) -> Iterator[list[Any]]:
        """Every record, in ascending order of the values."""
        self._new.sort()
        return merge(_merged(chain.from_iterable(self._levels)), self._new) if self._levels else iter(self._new)


def _merged(runs: Iterable[Sequence[str]]) -> Iterator[list[Any]]:
    return merge(*(map(json.loads, run) for run in runs))
