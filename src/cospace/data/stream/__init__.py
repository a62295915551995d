"""Pairs that are streamed: tar shards or parquet files, more than one should read before training.

A :class:`Shard` is a file of pairs, here or on object storage (``locating``, ``remote``). Each epoch has an order of
the shards, and runs of that order are windows (``windows``): as many pairs as are in memory together. A window is read
into :class:`~cospace.data.pairs.Pairs` (``shards``), and what was found in it is recorded (``manifest``), so that a run
goes on without reading what it has passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contents import digest

SUFFIXES = (".tar", ".parquet")
"""Of the files that are shards."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar or a parquet file: what it is called among the others, where it lies, and how large it is."""

    name: str
    address: str
    """A path, or an address such as ``s3://bucket/a.tar``."""
    size: int
    """Bytes."""
    version: str = ""
    """What changes when a remote file does: its ETag, or when it was modified."""

    @property
    def remote(self) -> bool:
        """Whether it has to be fetched."""
        return "://" in self.address


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a shard between two of its bytes: of ``N`` rows those from ``N * start // size`` on.

    A shard that is larger than a window is read in parts; where they are cut depends on its size alone.
    """

    shard: Shard
    start: int
    stop: int

    @property
    def name(self) -> str:
        """As records call it."""
        whole = self.start == 0 and self.stop == self.shard.size
        return self.shard.name if whole else f"{self.shard.name}#{self.start}-{self.stop}"

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start

    def rows(self, count: int) -> range:
        """Which rows these are of so many in the shard; parts that make up a shard have each row once."""
        if self.stop == self.shard.size:
            return range(count * self.start // max(1, self.shard.size), count)
        return range(count * self.start // self.shard.size, count * self.stop // self.shard.size)


def whole(shard: Shard) -> Part:
    """All of a shard."""
    return Part(shard, 0, shard.size)


def fingerprint(shards: Sequence[Shard]) -> str:
    """A hash of what the shards are called, how large they are, and their versions."""
    return digest(f"{shard.name}\n{shard.size}\n{shard.version}".encode() for shard in shards)
