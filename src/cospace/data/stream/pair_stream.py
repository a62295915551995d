"""Pairs that are read window by window, and the sample that stands for all of them before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...modalities import is_text
from ...types import Problem, Progress, silent
from ..contents import digest
from ..pairs import Pairs, build
from ..sources import ReadOptions, Rows
from . import Part, Shard
from .remote import ShardCache
from .shards import Columns, part_of_rows, read_parts
from .windows import Place, Plan


@dataclass(frozen=True, slots=True)
class ReadWindow:
    """The pairs of a window, without those that are held out."""

    pairs: Pairs
    held_out: int
    """Rows that were left out since the run is validated on their files."""
    parts: Mapping[str, str]
    """By part, a hash of what its rows contain."""


@dataclass(frozen=True, slots=True)
class PairStream:
    """Shards and how they are read.

    ``held_out`` has, by modality, the contents of the files that the run is validated on: rows with one of them are
    left out, in whatever shard they stand. Copies of the shards in ``kept`` stay on this machine to the end of the run,
    since items of the sample and of the validation pairs are read from them.
    """

    name: str
    plan: Plan
    options: ReadOptions
    cache: ShardCache
    columns: Columns
    held_out: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kept: frozenset[Shard] = frozenset()

    def read(self, place: Place, progress: Progress = silent) -> ReadWindow:
        """The pairs of a window; those that cannot be used are among its problems."""
        rows = read_parts(place.window, self.local, self.options, self.columns)
        pairs = build(self.name, rows, progress)
        contents = [
            digest(text.encode("utf-8", "surrogateescape") for row in rows_ for text in _of_row(pairs, row))
            for rows_ in part_of_rows(pairs.ids, place.window)
        ]
        kept = pairs.select(np.flatnonzero(~self.is_held_out(pairs)))
        parts = {part.name: found for part, found in zip(place.window, contents, strict=True)}
        return ReadWindow(kept, len(pairs) - len(kept), parts)

    def local(self, shard: Shard) -> Path:
        """Where a shard lies on this machine, once it does."""
        return self.cache.local(shard)

    def is_held_out(self, pairs: Pairs) -> np.ndarray:
        """Which rows have a file that the run is validated on ``(N,)``, bool."""
        held_N = np.zeros(len(pairs), bool)
        for name, known in self.held_out.items():
            if name in pairs.contents:
                held_N |= np.fromiter((one in known for one in pairs.contents[name]), bool, len(pairs))
        return held_N


def read_some(name: str, parts: Sequence[Part], cache: ShardCache, options: ReadOptions) -> tuple[Pairs, Rows]:
    """The pairs of some parts, and their rows as they were listed."""
    cache.ask(part.shard for part in parts)
    rows = read_parts(parts, cache.local, options)
    return build(name, rows), rows


def files_of(pairs: Pairs) -> dict[str, frozenset[str]]:
    """By modality, the contents of the files of some pairs."""
    found = {}
    for name in (name for name in pairs.modalities if not is_text(name)):
        there = (pairs.keys[name] >= 0).tolist()
        found[name] = frozenset(text for text, here in zip(pairs.contents[name], there, strict=True) if here)
    return found


def without_problems(pairs: Pairs) -> Pairs:
    """The same, where what was set aside is counted elsewhere."""
    return replace(pairs, problems=list[Problem](), left_alone=())


def _of_row(pairs: Pairs, row: int) -> list[str]:
    return [pairs.ids[row], *(contents[row] for contents in pairs.contents.values())]
