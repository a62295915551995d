"""The items that a run's decoder writes about, from whatever a person names: files, folders, tables, tar shards.

One that cannot be read costs itself alone: it is set aside with its reason, and the others are written about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from ..data.counting import Counts, describe_left_alone
from ..data.pairs import Pairs, is_source, open_pairs
from ..data.sources import ReadOptions, modality_of_file
from ..modalities import is_text, modality
from ..prefetch import prefetch
from ..runs.run import Run
from ..stores import Item
from ..stores.entries import AS_ITEMS, Entry, entries
from ..types import BadItem, Problem, Progress, UserError, silent

T = TypeVar("T")


@dataclass(slots=True)
class DecoderInputs:
    """Items of one modality with their ids; :meth:`prepared` says which of them can be read."""

    modality: str
    entries: list[Entry] = field(default_factory=list)
    rows: int = 0
    """Files named, and rows of sources that have an item."""
    listed: list[Problem] = field(default_factory=list)
    """What was set aside before anything was decoded."""
    failed: list[Problem] = field(default_factory=list)
    """What could not be decoded."""
    sources: list[Pairs] = field(default_factory=list)
    """The inputs that are no single files."""
    read: list[Entry] = field(default_factory=list)
    """What :meth:`prepared` has given, in order."""

    @property
    def problems(self) -> list[Problem]:
        """All that was set aside."""
        return [*self.listed, *self.failed]

    def prepared(self, run: Run) -> Iterator[Tensor]:
        """Every item that can be read, as the decoder's encoder reads it; the others are set aside.

        Raises :class:`UserError` where none can.
        """
        made = prefetch(self.entries, lambda entry: run.space.processors[self.modality].prepare(entry.raw))
        for entry, one in zip(self.entries, made, strict=True):
            if isinstance(one, BadItem):
                self.failed += [Problem(item.id, one.kind, one.reason) for item in entry.items]
            else:
                self.read.append(entry)
                yield one
        if not self.read:
            first = "".join(f"; the first: {one.id}: {one.reason}" for one in self.problems[:1])
            raise UserError(f"there is no {modality(self.modality).noun} that can be read{first}")

    def by_id(self, written: Iterable[T]) -> list[tuple[str, T]]:
        """What was written about each item that was read, by every id that it has."""
        return [(item.id, one) for entry, one in zip(self.read, written, strict=True) for item in entry.items]

    def counts(self) -> Counts:
        """What was read, and what became of it."""
        left_alone = sum(len(source.left_alone) for source in self.sources)
        used = len(self.read)
        return Counts(used, self.rows - used - len(self.failed), len(self.problems), left_alone)

    def summary(self) -> list[str]:
        """How the inputs were read and what became of them, in lines for people; nothing of files that were named."""
        if not self.sources:
            return []
        read = [f"{source.name}: {source.understood}" for source in self.sources if source.understood]
        left_alone = [left for source in self.sources for left in source.left_alone]
        return [*read, self.counts().sentence(), *describe_left_alone(left_alone)]


def read_inputs(
    run: Run, what: str, inputs: Sequence[str | Path], options: ReadOptions = AS_ITEMS, progress: Progress = silent
) -> DecoderInputs:
    """What the run's decoder describes of some inputs: every file named, and every different item of a source.

    ``what`` the decoder shall give names it in the refusal of a run that has none.
    """
    found = DecoderInputs(run.need_generator(what).modality)
    names = [str(one) for one in inputs]
    sources = [name for name in names if not _is_file(name)]
    if not sources:
        options.only(names[0])
    for name in names:
        if name in sources:
            _add(found, name, open_pairs(name, progress=progress, options=replace(options, pairs=False)))
        else:
            found.entries.append(Entry(Item(name, found.modality, name), Path(name)))
            found.rows += 1
    return found


def _is_file(name: str) -> bool:
    """Whether an input is one item by itself: a file of a modality, or of no kind that is known, there or not."""
    if Path(name).is_dir():
        return False
    return modality_of_file(name) is not None or not is_source(name)


def _add(found: DecoderInputs, name: str, pairs: Pairs) -> None:
    """The different items of a source; what the decoder does not describe is set aside, texts are no items here.

    Ids are those of an index of the same source; one that an earlier input has too gets this input's name before it.
    """
    taken = {item.id for entry in found.entries for item in entry.items} | {problem.id for problem in found.problems}

    def free(id_: str) -> str:
        return f"{name.rstrip('/')}/{id_}" if id_ in taken else id_

    for entry in entries(pairs, [found.modality]).get(found.modality, ()):
        first, *copies = [replace(item, id=free(item.id)) for item in entry.items]
        found.entries.append(Entry(first, entry.raw, copies))
    found.rows += int(np.sum(pairs.keys[found.modality] >= 0)) if found.modality in pairs.keys else 0
    found.listed += [replace(problem, id=free(problem.id)) for problem in pairs.problems]
    for other in (one for one in pairs.modalities if one != found.modality and not is_text(one)):
        reason = f"the decoder describes {modality(found.modality).plural}, not {modality(other).plural}"
        rows = np.flatnonzero(pairs.keys[other] >= 0).tolist()
        found.listed += [Problem(free(pairs.place(row)), "not described", reason) for row in rows]
    found.sources.append(pairs)
