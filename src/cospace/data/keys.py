"""Which rows of a column hold equal values: one number for each value, in order of appearance.

Short columns are numbered by a dictionary; of long ones every value is hashed to 128 bits, and the hashes are sorted,
so that a row takes a few numbers however long its value is.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from itertools import chain, islice

import numpy as np

from .. import columns

ABSENT = -1
"""Key of a row that has no value."""

_TOGETHER = 1 << 19
"""Hashes that are sorted at a time: 8 MB, and three times as much while they are."""


def encode(values: Iterable[str | None]) -> np.ndarray:
    """One ``int64`` per value ``(N,)``, equal for equal values, numbered from 0 in order of appearance.

    ``ABSENT`` where there is no value.
    """
    pending = iter(values)
    short = list(islice(pending, columns.SHORT + 1))
    if len(short) > columns.SHORT:
        return encode_hashes(hashes(chain(short, pending)))
    codes: dict[str, int] = {}
    return np.array([ABSENT if v is None else codes.setdefault(v, len(codes)) for v in short], np.int64)


def hashes(values: Iterable[str | None]) -> np.ndarray:
    """128 bits of each value ``(N, 2)``, uint64; zeros where there is none."""
    data = bytearray()
    for value in values:
        encoded = None if value is None else value.encode("utf-8", "surrogatepass")
        data += bytes(16) if encoded is None else blake2b(encoded, digest_size=16).digest()
    return np.frombuffer(data, np.uint64).reshape(-1, 2)


def encode_hashes(hashes_N2: np.ndarray, together: int = _TOGETHER) -> np.ndarray:
    """:func:`encode` of hashed values; at most about ``together`` of them are sorted at a time."""
    first_N = np.full(len(hashes_N2), ABSENT, np.int64)
    parts = 1 << max(0, (len(hashes_N2) // together).bit_length())
    for part in range(parts):
        rows = np.flatnonzero(hashes_N2[:, 0] % np.uint64(parts) == part)
        rows = rows[hashes_N2[rows].any(axis=1)]
        high, low = hashes_N2[rows].T
        order = np.lexsort((low, high))  # stable: of equal hashes the first row comes first
        starts = np.ones(len(order), bool)
        starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
        first_N[rows[order]] = rows[order][starts][starts.cumsum() - 1]
    number_N = (first_N == np.arange(len(first_N))).cumsum() - 1
    return np.asarray(np.where(first_N == ABSENT, ABSENT, number_N[first_N]))


def items_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of every different item, in order of appearance, and the item of every row; -1 where it has none."""
    present = np.flatnonzero(keys >= 0)
    _, first, inverse = np.unique(keys[present], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    item_of_row = np.full(len(keys), -1, np.int64)
    item_of_row[present] = rank[inverse]
    return present[first[order]], item_of_row
