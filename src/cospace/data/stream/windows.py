"""Which shards are in memory together, and in which order: a function of the seed and the epoch.

An epoch has a permutation of the shards, and consecutive shards of it are a window, within which rows are shuffled
(``data.sampler``). So every pair is seen once an epoch, and how far a pair may move is bounded by the window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import Part, Shard

FIRST, FIRST_ROWS = 8 << 20, 1_000
"""Bytes, and about how many pairs, of the very first window at most; each has twice as many as the one before it until
the limit is reached, so that the first step comes at once."""

MOST_ROWS = 1 << 16
"""About how many pairs a window has at most, where they are small: decoded they may be large."""

Window = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most shards, and bytes of them, of a window, and the bytes of the first one."""

    shards: int
    size: int
    first: int = FIRST

    @classmethod
    def of(cls, shards: int, size: int, bytes_per_row: float) -> Limits:
        """So many shards and bytes, and fewer bytes where these would be too many pairs."""
        rows = max(1, round(MOST_ROWS * bytes_per_row))
        return cls(shards, min(size, rows), max(1, min(FIRST, round(FIRST_ROWS * bytes_per_row))))

    def room(self, epoch: int, number: int) -> int:
        """Bytes of a window; those of the first epoch grow."""
        return self.size if epoch else min(self.size, self.first << min(number, 40))


@dataclass(frozen=True, slots=True)
class Place:
    """A window of the run: the epoch, its number in it, and what is read."""

    epoch: int
    number: int
    window: Window


class Plan:
    """The windows of a run, endlessly: epoch by epoch."""

    def __init__(self, shards: Sequence[Shard], seed: int, limits: Limits) -> None:
        self.shards, self.seed, self.limits = tuple(shards), seed, limits
        self.windows = lru_cache(maxsize=2)(self._windows)

    def _windows(self, epoch: int) -> list[Window]:
        key = np.array([self.seed, epoch], dtype=np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(len(self.shards))
        return cut([self.shards[place] for place in order.tolist()], epoch, self.limits)

    def places(self) -> Iterator[Place]:
        """All windows, in the order in which a run reads them; they never end."""
        epoch = 0
        while True:
            for number, window in enumerate(self.windows(epoch)):
                yield Place(epoch, number, window)
            epoch += 1


def cut(shards: Sequence[Shard], epoch: int, limits: Limits) -> list[Window]:
    """Shards in their order as windows; one that is larger than a window is cut into parts of windows of their own.

    What would be left of a shard as less than half a window stays with the part before it.
    """
    windows: list[Window] = []
    held: list[Part] = []
    for shard in shards:
        start = 0
        while start < shard.size or not shard.size:
            room = limits.room(epoch, len(windows))
            left, free = shard.size - start, room - sum(part.size for part in held)
            if held and (left > free or len(held) == limits.shards):
                windows.append(tuple(held))
                held = []
                continue
            size = left if left - free < free // 2 else free
            held.append(Part(shard, start, start + size))
            start += size
            if not shard.size:
                break
    return [*windows, tuple(held)] if held else windows
