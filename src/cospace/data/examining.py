"""Look at every different item of a data set once, on all cores or a cluster, and remember what was seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..modalities import Examined, is_text, modality
from ..stopping import Stopping, current
from ..types import BadItem, Progress, attempted, silent
from .cluster import Cluster, cluster, is_sent
from .keys import items_of
from .known_files import KnownFiles
from .pairs import Pairs
from .worker_processes import CRASHED, by_processes, examined

TOGETHER = 64
"""Items that are looked at before what was seen is kept: as many are looked at again after an interrupt."""

MANY = 4_000
"""Files from which on starting processes pays."""

RETRIED = 32
"""Chunks after which the other number of threads is tried: what follows may be of another size."""


@dataclass(frozen=True, slots=True)
class ItemsSeen:
    """The different items of a modality in order of appearance, what each measures, and what is wrong with some."""

    name: str
    first_row: np.ndarray
    """The first row of each item ``(I,)``."""
    item_of_row: np.ndarray
    """The item of every row ``(N,)``, -1 where a row has none."""
    measures: Mapping[str, np.ndarray]
    """What was measured, each ``(I,)`` float64; NaN where it was not."""
    signatures_IVS: np.ndarray | None
    """uint8, zero for items that cannot be read; see ``Modality.signatures``."""
    faults: Mapping[int, BadItem]
    """What is wrong with items that cannot be read, by their number."""

    def select(self, rows: np.ndarray) -> ItemsSeen:
        """The same items, with some of the rows."""
        place = np.full(len(self.item_of_row), -1, np.int64)
        place[rows] = np.arange(len(rows))
        item_of_row = self.item_of_row[rows]
        first_row = np.full(len(self.first_row), -1, np.int64)
        used, first = np.unique(item_of_row, return_index=True)
        first_row[used[used >= 0]] = first[used >= 0]
        return ItemsSeen(self.name, first_row, item_of_row, self.measures, self.signatures_IVS, self.faults)

    @property
    def readable(self) -> np.ndarray:
        """Numbers of items that could be read and that a row has, ascending."""
        there = self.first_row >= 0
        there[list(self.faults)] = False
        return np.flatnonzero(there)


def look_at(
    pairs: Pairs, name: str, progress: Progress = silent, known: KnownFiles | None = None, processes: bool = False
) -> ItemsSeen:
    """Examine the different items of a modality; ``known`` remembers them by content.

    ``processes``: whether processes may be started, which import the script that runs anew.
    """
    first_row, item_of_row = items_of(pairs.keys[name])
    rows, column = first_row, pairs.items[name]
    memory = _Memory(pairs, name, rows.tolist() if known is not None else (), None if is_text(name) else known)
    table = _Table(len(rows))
    for item, before in memory.found.items():
        table.add(item, before)
    missing = np.setdiff1d(np.arange(len(rows)), np.array(list(memory.found), np.int64), assume_unique=True)
    done, stopping = len(memory.found), current()
    with stopping.finishing():
        for item, seen in _examined(name, missing, lambda item: column[int(rows[item])], processes):
            table.add(item, seen)
            memory.keep(item, seen)
            done += 1
            if not is_text(name):
                progress(f"checking {modality(name).plural}", done, len(rows))
                memory.stop_if_asked(stopping, f"with {done:,} of {len(rows):,} {modality(name).plural} looked at")
    memory.flush()
    return ItemsSeen(name, first_row, item_of_row, table.measures, table.signatures_IVS, table.faults)


class _Memory:
    """What is known of the items of a modality from earlier, and what is to be known from now on."""

    def __init__(self, pairs: Pairs, name: str, rows: Sequence[int], known: KnownFiles | None) -> None:
        self._known, self._kind = known, f"{name}-{modality(name).examination}"
        self._contents = [] if known is None else [pairs.contents[name][row] for row in rows]
        self._fresh: dict[str, Examined] = {}
        before = {} if known is None else known.examined(self._kind, self._contents)
        self.found = {item: before[one] for item, one in enumerate(self._contents) if one in before}

    def keep(self, item: int, seen: Examined | BadItem) -> None:
        """What cannot be read is looked at anew each time: another version of a library may read it."""
        if self._known is not None and isinstance(seen, Examined):
            self._fresh[self._contents[item]] = seen
            if len(self._fresh) >= TOGETHER:
                self.flush()

    def flush(self) -> None:
        """Keep what there is, so that an interrupt costs little."""
        if self._known is not None:
            self._known.keep_examined(self._kind, self._fresh)
        self._fresh = {}

    def stop_if_asked(self, stopping: Stopping, state: str) -> None:
        """End after the item at hand where a signal asks for it, with what was seen kept."""
        if stopping.asked:
            self.flush()
        if self._known is not None:
            stopping.reached(state)
        stopping.check()


class _Table:
    """What was seen of each item, in columns: a million items take a few numbers each."""

    def __init__(self, items: int) -> None:
        self._items = items
        self.measures: dict[str, np.ndarray] = {}
        self.signatures_IVS: np.ndarray | None = None
        self.faults: dict[int, BadItem] = {}

    def add(self, item: int, seen: Examined | BadItem) -> None:
        if isinstance(seen, BadItem):
            self.faults[item] = seen
            return
        for key, value in seen.measures.items():
            if key not in self.measures:
                self.measures[key] = np.full(self._items, np.nan)
            self.measures[key][item] = value
        if seen.signature is not None:
            if self.signatures_IVS is None:
                self.signatures_IVS = np.zeros((self._items, *seen.signature.shape), np.uint8)
            self.signatures_IVS[item] = seen.signature


def _examined(
    name: str, items: np.ndarray, raw: Callable[[int], Any], processes: bool
) -> Iterator[tuple[int, Examined | BadItem]]:
    """What is seen of items, in order: of many files by a cluster or by processes, otherwise by threads."""
    workers = None if is_text(name) else cluster()
    pays = processes and len(items) >= MANY and not is_text(name) and (os.cpu_count() or 1) > 1
    examine: Callable[[str, Iterator[Sequence[Any]]], Iterator[list[Examined | BadItem]]]
    if workers is not None and all(is_sent(raw(item)) for item in items.tolist()):
        examine = partial(_on, workers)
    elif pays and all(isinstance(raw(item), Path) for item in items.tolist()):
        examine = by_processes
    else:
        yield from _by_threads(name, items, raw)
        return
    chunks = [items[start : start + TOGETHER].tolist() for start in range(0, len(items), TOGETHER)]
    found = examine(name, ([raw(item) for item in chunk] for chunk in chunks))
    for chunk, seen in zip(chunks, found, strict=True):
        yield from zip(chunk, seen, strict=True)


def _on(workers: Cluster, name: str, chunks: Iterator[Sequence[Any]]) -> Iterator[list[Examined | BadItem]]:
    """By a cluster. Of a chunk whose worker dies every time, each item is examined by itself."""
    examine = partial(examined, name)

    def nothing(_: Sequence[Any]) -> list[Examined | BadItem]:
        return [CRASHED]

    def apart(chunk: Sequence[Any]) -> list[Examined | BadItem]:
        return [seen for found in workers.map(examine, [[item] for item in chunk], nothing) for seen in found]

    return workers.map(examine, chunks, lost=apart)


def _by_threads(name: str, items: np.ndarray, raw: Callable[[int], Any]) -> Iterator[tuple[int, Examined | BadItem]]:
    """Decode in as many threads as is fastest.

    Decoders release the interpreter's lock, so that large files are decoded on all cores. Small ones are not: their
    threads wait for the lock, and two do less than one (2,000 instead of 4,300 files of 32 x 32 pixels a second).
    """
    pending, speed = map(int, items), _Threads(os.cpu_count() or 1)

    def examine(item: int) -> Examined | BadItem:
        return attempted(modality(name).examine, raw(item))

    with ThreadPoolExecutor(speed.most) as pool:
        while chunk := list(islice(pending, TOGETHER)):  # in chunks: an interrupt must not wait for all of them
            threads, began = speed.threads(), time.perf_counter()
            yield from zip(chunk, map(examine, chunk) if threads == 1 else pool.map(examine, chunk), strict=True)
            speed.took(threads, (time.perf_counter() - began) / len(chunk))


class _Threads:
    """One thread or all of them, whichever was faster the last time; the other is tried again now and then."""

    def __init__(self, most: int) -> None:
        self.most, self._turns = most, 0
        self._seconds: dict[int, float] = {}

    def threads(self) -> int:
        """As many as to use for the next chunk."""
        self._turns += 1
        untried = [one for one in (self.most, 1) if one not in self._seconds]
        if untried:
            return untried[0]
        best = min(self._seconds, key=self._seconds.__getitem__)
        return best if self._turns % RETRIED else next((one for one in self._seconds if one != best), best)

    def took(self, threads: int, seconds: float) -> None:
        """How long an item took."""
        self._seconds[threads] = seconds
