"""Which rows of a column hold equal values: one number for each value, in order of appearance.

Short columns are numbered by a dictionary. Of long ones every block is, and what differs within a block is hashed to
128 bits; the hashes are sorted on a disk, so that a row takes no memory, however long its value is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice

import numpy as np

from .. import arrays, columns
from ..arrays import ArrayWriter, Runs, blocks, full, index_type, mixed, numbered_by_hash, take, zeros

ABSENT = -1
"""Key of a row that has no value."""

_BLOCK = 1 << 17
"""Values that are numbered by one dictionary."""


def encode(values: Iterable[str | None]) -> np.ndarray:
    """One number per value ``(N,)``, equal for equal values, numbered from 0 in order of appearance.

    ``ABSENT`` where there is no value. Its type is that of :func:`~cospace.arrays.index_type`.
    """
    pending = iter(values)
    short = list(islice(pending, columns.SHORT + 1))
    if len(short) > columns.SHORT:
        return _encode_long(chain(short, pending))
    return _by_dictionary(short, {}).astype(index_type(len(short)))


def _by_dictionary(values: Sequence[str | None], codes: dict[str, int]) -> np.ndarray:
    """Numbers of values; ``codes`` gets those of the different ones."""
    made = (ABSENT if value is None else codes.setdefault(value, len(codes)) for value in values)
    return np.fromiter(made, np.int32, len(values))


def hashes(values: Iterable[str | None]) -> np.ndarray:
    """128 bits of each value ``(N, 2)``, uint64; zeros where there is none."""
    data = bytearray()
    for value in values:
        encoded = None if value is None else value.encode("utf-8", "surrogatepass")
        data += bytes(16) if encoded is None else blake2b(encoded, digest_size=16).digest()
    return np.frombuffer(data, np.uint64).reshape(-1, 2)


def sorted_hashes(values: Iterable[str]) -> np.ndarray:
    """64 bits of each value, sorted ``(N,)``."""
    runs, made = Runs(), ArrayWriter(np.uint64)
    pending = iter(values)
    while block := list(islice(pending, _BLOCK)):
        runs.add(np.unique(hashes(block)[:, 0]))
    for (hash_n,) in runs.parts():
        made.append(hash_n)
    return made.finish()


def _encode_long(values: Iterable[str | None]) -> np.ndarray:
    within, runs, starts = ArrayWriter(np.int32), Runs(), [0]
    pending = iter(values)
    while block := list(islice(pending, _BLOCK)):
        different: dict[str, int] = {}
        within.append(_by_dictionary(block, different))
        high, low = hashes(different).T
        starts.append(starts[-1] + len(different))
        runs.add(high, low, np.arange(starts[-2], starts[-1]))
    code_D, code_N = numbered_by_hash(runs, starts[-1]), within.finish()
    made = zeros(len(code_N), index_type(len(code_N)))
    for some, start in zip(blocks(len(code_N), _BLOCK), starts, strict=False):
        code = code_N[some]
        made[some] = np.where(code == ABSENT, ABSENT, code_D[np.maximum(start + code, 0)]) if len(code_D) else ABSENT
    return made


def among(values: Iterable[str], known: Iterable[str]) -> np.ndarray:
    """Whether each value is one of those that are known ``(N,)``."""
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for value in known:
            count += 1
            yield value

    codes = encode(chain(counted(), values))
    most, found = int(codes[:count].max(initial=ABSENT)), ArrayWriter(bool)
    for some in blocks(len(codes) - count):
        found.append(codes[count:][some] <= most)  # the known ones appeared first
    return found.finish()


def first_rows(codes_N: np.ndarray) -> np.ndarray:
    """The first row of each code ``(C,)``, of codes that are numbered in order of appearance; -1 is none."""
    found, known = ArrayWriter(index_type(len(codes_N))), 0
    for some in blocks(len(codes_N)):
        code, row = np.unique(codes_N[some], return_index=True)
        new = code >= known
        found.append(row[new] + some.start)
        known += int(new.sum())
    return found.finish()


def repeated(codes_N: np.ndarray) -> Iterator[bool]:
    """Of each row whether others have its code."""
    times = arrays.counted(codes_N, int(codes_N.max(initial=ABSENT)) + 1)
    for some in blocks(len(codes_N)):
        yield from (times[codes_N[some]] > 1).tolist()


def distinct_rows(columns: Sequence[np.ndarray], count: int) -> int:
    """How many of ``count`` rows differ in any of the columns of numbers."""
    runs, found = Runs(), 0
    for some in blocks(count):
        nothing = np.zeros(some.stop - some.start, np.int64)  # rows without columns are all alike
        table = np.unique(np.stack([nothing, *(column[some] for column in columns)]), axis=1)
        runs.add(mixed(*table), *table)
    for _, *parts in runs.parts():
        order = np.lexsort(parts)
        differs = np.logical_or.reduce([np.diff(column[order]) != 0 for column in parts])
        found += 1 + int(differs.sum())
    return found


def items_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of every different item, in order of appearance, and the item of every row; -1 where it has none."""
    most = int(keys.max(initial=ABSENT)) + 1
    if most > 2 * len(keys):  # some rows of a long set
        different, place = np.unique(keys, return_inverse=True)
        keys, most = np.where(keys < 0, ABSENT, place), len(different)
    rank_C, first, known = full(most, ABSENT, index_type(len(keys))), ArrayWriter(index_type(len(keys))), 0
    for some in blocks(len(keys)):
        code, row = np.unique(keys[some], return_index=True)
        new = np.flatnonzero(code >= 0)
        new = new[rank_C[code[new]] < 0]
        new = new[np.argsort(row[new])]
        rank_C[code[new]] = np.arange(known, known + len(new))
        first.append(row[new] + some.start)
        known += len(new)
    return first.finish(), take(rank_C, keys, absent=ABSENT)
