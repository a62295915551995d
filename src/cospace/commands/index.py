"""Bring an index up to date with an input: what is new or changed is embedded, what is gone is forgotten.

Whether an item has changed is decided by the hash of its content, and nothing else. A file's size and time would be
quicker to ask for, but a restored backup or a copying tool keeps both, and then a changed file would never be seen;
and every file is read anyway, to know which ones show the same. Hashing runs at about a gigabyte a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from ..data.contents import digest
from ..data.counting import Counts
from ..data.pairs import Pairs
from ..data.prepared import without_encoder
from ..modalities import Preview, Processor, is_text, modality
from ..models.space import Space, chunks
from ..models.truncation import describe_untrained
from ..prefetch import prefetch
from ..runs.run import Run
from ..stopping import current
from ..stores import Index, Item
from ..stores.entries import SOURCE, Entry, Input, count_entries, entries, read_input
from ..stores.locations import IndexLocation, location_of
from ..stores.thumbnails import Thumbnails, keep_only
from ..types import BadItem, Problem, Progress, StorageError, UserError, silent
from .ann import recall_sentences
from .index_sources import PART, is_missing, items_of_source, marked_entries, name_of, sources_of
from .search import SearchableIndex

T = TypeVar("T")

MOVED = 0.5
"""Share of a missing input's contents that another holds for it to be the same one, moved or renamed."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What was done. ``changed`` counts items with other content and those with another caption, path or label."""

    index: SearchableIndex
    added: int
    changed: int
    removed: int
    unchanged: int
    problems: list[Problem]
    counts: Counts
    """What was read, and what became of it."""
    summary: Sequence[str]
    """The same for people, with how the input was understood."""

    def sentence(self) -> str:
        """``1,204 items: 3 added, 1 changed, 2 removed, 1,198 unchanged``."""
        return (
            f"{len(self.index.store):,} items: {self.added:,} added, {self.changed:,} changed, "
            f"{self.removed:,} removed, {self.unchanged:,} unchanged"
        )


def build_index(
    run: Run,
    source: str | Path | Pairs | Input,
    out: str | Path | IndexLocation,
    *,
    precision: str | None = None,
    keep_missing: bool = False,
    max_bad_fraction: float = 0.01,
    progress: Progress = silent,
) -> Indexed:
    """Bring the index ``out`` up to date with ``source``; it is made where there is none.

    ``out`` is a folder, an address, or a place from :func:`~cospace.stores.locations.location_of`. Items of ``source``
    that it no longer holds are removed, unless ``keep_missing``; those of other inputs stay. ``precision`` (float32,
    bfloat16 or int8 in a folder; float32 or float16 elsewhere) and the length of the vectors, that of a run which may
    be truncated, are chosen when it is made. The same call again goes on where a killed one stopped; one that is
    refused leaves all as it was. Raises :class:`UserError` where another process writes the index, where another run
    made it, and where more than ``max_bad_fraction`` of the rows cannot be used.
    """
    location, fingerprint = out if isinstance(out, IndexLocation) else location_of(out), str(run.space.fingerprint)
    with ExitStack() as opened:
        opened.enter_context(location.reserved())
        held = _held(location, run.space, precision, name_of(source)) if location.there() else None
        if held is not None:
            opened.callback(held.close)
            run = run.truncated(held.width)
        pairs = read_input(source, progress).stop_above(max_bad_fraction)
        found = _searchable(pairs, run.space.modalities)
        if (store := held) is None:
            store = location.create(run.folder, fingerprint, run.space.width, precision or "float32")
            opened.callback(store.close)
        work = _Work(run, store, location.thumbnails(), name_of(source), progress)
        with _undone_if_refused(location, work, fresh=held is None), current().finishing():
            work.run(pairs, found, keep_missing, max_bad_fraction)
            work.finish(location)
    index = SearchableIndex(location, location.open(fingerprint), run.space, run.generator)
    listed = [*pairs.problems, *without_encoder(pairs, run.space.modalities)]
    counts = count_entries(pairs, found, listed, work.problems)
    said = [*work.said, *(describe_untrained(run.space) if held is None else ())]
    return work.done(index, listed, counts, [*pairs.summary(counts), *said, *recall_sentences(index.store)])


def add_items(run: Run, pairs: Pairs, location: IndexLocation, progress: Progress = silent) -> None:
    """Store the items of ``pairs`` under their ids, in place of those that are there; everything else stays.

    What is wrong with one of them is a :class:`UserError`, and leaves the index as it was.
    """
    store = location.open(run.space.fingerprint)
    store.checkpoint()
    work = _Work(run, store, location.thumbnails(), pairs.name, progress)
    try:
        with _undone_if_refused(location, work, fresh=False):
            work.put(pairs, _searchable(pairs, run.space.modalities))
    finally:
        store.close()


def _searchable(pairs: Pairs, modalities: Sequence[str]) -> dict[str, list[Entry]]:
    """What an index holds of an input: an item for each id of a file, and one for each different text."""
    found = entries(pairs, modalities)
    if not any(found.values()):
        raise UserError(f"{pairs.name} holds nothing that this model can embed ({', '.join(modalities)})")
    return {name: [replace(e, copies=()) for e in group] if is_text(name) else group for name, group in found.items()}


def _held(location: IndexLocation, space: Space, precision: str | None, source: str) -> Index:
    """The index that is there, with the right to write it: whoever is second is refused before any work.

    A new index may be searched while it is made; what changes one that was made becomes visible at once.
    """
    store = location.open(str(space.fingerprint))
    made = getattr(store, "precision", "float32")
    if precision not in (None, made):
        raise UserError(
            f"{location.name} stores {made}, not {precision}: that is chosen when an index is made; leave it out"
        )
    if space.truncated_from is not None and space.width != store.width:
        raise UserError(
            f"{location.name} stores vectors of {store.width} numbers, not {space.width}: that is chosen when an index "
            "is made; leave it out"
        )
    store.checkpoint(None if store.growing else source)
    return store


@contextmanager
def _undone_if_refused(location: IndexLocation, work: _Work, fresh: bool) -> Iterator[None]:
    """After a refusal everything is as it was before; what was interrupted keeps its work, if there is any.

    A ``fresh`` index that holds nothing is removed in any case: it would answer every search with nothing.
    """
    done = refused = False
    try:
        yield
        done = True
    except UserError as error:
        refused = not isinstance(error, StorageError)
        raise
    finally:
        if not done and fresh and (refused or not len(work.store)):
            work.store.close()
            location.remove()
        elif refused:
            work.undo()


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An item that was read: all that is known of it, what the model reads, its previews."""

    item: Item
    prepared: Tensor
    small: Mapping[int, bytes]


class _Work:
    """One run over an input: sort its items, store what is new, forget what is gone."""

    def __init__(self, run: Run, store: Index, thumbnails: Thumbnails, source: str, progress: Progress) -> None:
        self.space, self.store, self.thumbnails = run.space, store, thumbnails
        self.source, self.progress = source, progress
        self.there = store.hashes()
        self.mine = items_of_source(store, source)
        self.added = self.changed = self.unchanged = self.removed = 0
        self.problems: list[Problem] = []
        self.said: list[str] = []
        self.stopping = current()
        self.kept = "in the index" if store.growing else "in the index, which is searched as it was until all are"
        self.staged: list[tuple[Sequence[Item], np.ndarray]] | None = None
        """What is not stored yet, where all of it is to become visible at once."""

    def run(
        self, pairs: Pairs, found: Mapping[str, Sequence[Entry]], keep_missing: bool, max_bad_fraction: float
    ) -> None:
        """All of it; what has been stored when this is interrupted stays."""
        listed = [entry for group in found.values() for entry in group]
        self._adopt({entry.item.hash for entry in listed})
        listed = marked_entries(listed, self.mine.keys(), self.there.keys() - self.mine.keys(), self.source)
        self._store(listed, pairs, max_bad_fraction)
        if len(self.problems) == len(listed):
            pairs.without(self.problems).stop_above(0)
        lost = {problem.id: problem for problem in self.problems}
        for entry in (entry for entry in listed if entry.item.id in lost):
            self.problems += [replace(lost[entry.item.id], id=copy.id) for copy in entry.copies]
        copies = [Entry(copy, entry.raw) for entry in listed if entry.item.id not in lost for copy in entry.copies]
        if copies:
            self.there = self.store.hashes()
            self._store(copies, pairs, max_bad_fraction)
        self._forget({item.id for entry in listed for item in entry.items}, keep_missing)

    def finish(self, location: IndexLocation) -> None:
        """What makes searches quick; cut short by a signal, since searches are right without it."""
        self.stopping.reached("with every item stored")
        with self.stopping.interruptible():
            self.store.finish(self.progress)
        location.lexicon(self.store, self.progress)

    def done(
        self, index: SearchableIndex, listed: Sequence[Problem], counts: Counts, summary: Sequence[str]
    ) -> Indexed:
        """What this run has done to an index, and what it could not use."""
        changes = self.added, self.changed, self.removed, self.unchanged
        return Indexed(index, *changes, [*listed, *self.problems], counts, summary)

    def put(self, pairs: Pairs, found: Mapping[str, Sequence[Entry]]) -> None:
        """Store all entries at once, under the very ids that they have, whichever input held these before."""
        listed = [entry for group in found.values() for entry in group]
        named = [item.id for entry in listed for item in entry.items]
        numbers = self.store.numbers(named)
        held = self.store.items(numbers[numbers >= 0].tolist())
        self.mine = {item.id: item for item in held}
        listed = [replace(e, item=self._own(e.item), copies=[self._own(copy) for copy in e.copies]) for e in listed]
        self.staged = []
        self._store(listed, pairs, 0.0)
        if self.problems:
            raise UserError(f"nothing was added: {self.problems[0].id}: {self.problems[0].reason}")
        items = [item for some, _ in self.staged or () for item in some]
        vectors = [row for _, rows in self.staged or () for row in rows]
        place = {item.hash: number for number, item in enumerate(items)}
        for entry in (entry for entry in listed if entry.copies and entry.item.hash not in place):  # it is unchanged
            number = self.store.numbers([entry.item.id])
            place[entry.item.hash] = len(vectors)
            items, vectors = [*items, *self.store.items(number.tolist())], [*vectors, *self.store.vectors(number)]
        copies = [copy for entry in listed for copy in entry.copies]
        sources = [place[copy.hash] for copy in copies]
        items += [_with_appearance(copy, items[number]) for copy, number in zip(copies, sources, strict=True)]
        vectors += [vectors[number] for number in sources]
        self.staged = None
        if items:
            self._add(items, np.stack(vectors))
        self._forget(set(named), keep_missing=True)

    def _own(self, item: Item) -> Item:
        return replace(item, extras={**item.extras, SOURCE: self.source})

    def _store(self, listed: Sequence[Entry], pairs: Pairs, max_bad_fraction: float) -> None:
        """Embed what is new, and carry over what the index holds the vector of."""
        fresh, carried = self._sorted(listed)
        fresh += self._carry(carried)
        for name in self.space.modalities:
            self._embed(name, [entry for entry in fresh if entry.item.modality == name], pairs, max_bad_fraction)

    def _adopt(self, hashes: AbstractSet[str]) -> None:
        """Take over what came from an input that is no longer there and had the same content: it was moved."""
        if self.mine or SOURCE not in self.store.columns():
            return
        for name, items in sources_of(self.store).items():
            if is_missing(name) and sum(item.hash in hashes for item in items.values()) >= MOVED * len(items):
                self.mine |= items
                self.said.append(f"{name} is no longer there, and this input holds what it held: its items are adopted")

    def undo(self) -> None:
        """Take back what was stored, with its previews."""
        self.store.revert()
        keep_only(self.thumbnails, self.store.hashes().values())

    def _sorted(self, listed: Sequence[Entry]) -> tuple[list[Entry], list[tuple[Entry, str]]]:
        """What has to be embedded, and what the index holds the vector of already, with the id under which it does."""
        id_of = {content: id_ for id_, content in self.there.items()}
        shown = {entry.item.hash for entry in listed if modality(entry.item.modality).has_preview}
        lacking = shown - self.thumbnails.known(sorted(shown))
        fresh: list[Entry] = []
        carried: list[tuple[Entry, str]] = []
        for entry in listed:
            item, before = entry.item, self.mine.get(entry.item.id)
            if item.hash not in id_of or item.hash in lacking:
                fresh.append(entry)
            elif before is None or before.hash != item.hash:
                carried.append((entry, id_of[item.hash]))
            elif _with_appearance(item, before) != before:
                carried.append((entry, item.id))
            else:
                self.unchanged += 1
        return fresh, carried

    def _carry(self, carried: Sequence[tuple[Entry, str]]) -> list[Entry]:
        """Store known content under another id, or with other words, with the vector that it has.

        Returns what must be embedded after all, because its content was replaced meanwhile.
        """
        lost: list[Entry] = []
        for part in chunks(iter(carried), PART):
            numbers = self.store.numbers([id_ for _, id_ in part])
            held = self.store.items(numbers.tolist())
            kept = [place for place, (entry, _) in enumerate(part) if held[place].hash == entry.item.hash]
            items = [_with_appearance(part[place][0].item, held[place]) for place in kept]
            self._add(items, self.store.vectors(numbers[kept]))
            self._stop_if_asked()
            lost += [entry for place, (entry, _) in enumerate(part) if place not in set(kept)]
        return lost

    def _embed(self, name: str, fresh: Sequence[Entry], pairs: Pairs, max_bad_fraction: float) -> None:
        """Prepare items, embed and store them part by part; the next are prepared while the model computes."""
        processor, done = self.space.processors[name], 0
        made = prefetch(fresh, lambda entry: _prepared(entry, processor))
        for part in chunks(self._while_unasked(zip(fresh, made, strict=True)), PART):
            seen = [one for _, one in part if not isinstance(one, BadItem)]
            bad = [(entry.item.id, one) for entry, one in part if isinstance(one, BadItem)]
            self.problems += [Problem(id_, error.kind, error.reason) for id_, error in bad]
            if len(self.problems) > max(1.0, max_bad_fraction * len(pairs)):
                pairs.without(self.problems).stop_above(max_bad_fraction)
            if seen:
                vectors_NE = np.concatenate(list(self.space.embed_prepared(name, (one.prepared for one in seen))))
                self.thumbnails.add([(one.item.hash, *row) for one in seen for row in one.small.items()])
                self._add([one.item for one in seen], vectors_NE)
            done += len(part)
            self.progress(f"embedding {modality(name).plural}", done, len(fresh))
            self._stop_if_asked()

    def _while_unasked(self, prepared: Iterable[T]) -> Iterator[T]:
        """Items until a signal asks for the end; the part that they are in is then a short one."""
        for one in prepared:
            yield one
            if self.stopping.asked and self.staged is None:
                return

    def _stop_if_asked(self) -> None:
        if self.staged is None:  # otherwise nothing is kept before everything is
            self.stopping.reached(f"with {len(self.store):,} items {self.kept}")
            self.stopping.check()

    def _add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        if self.staged is not None:
            self.staged.append((items, vectors_NE))
            return
        self.store.add(items, vectors_NE)
        known = sum(item.id in self.mine for item in items)
        self.changed += known
        self.added += len(items) - known

    def _forget(self, listed: AbstractSet[str], keep_missing: bool) -> None:
        """Remove what the input no longer holds, and what it holds can no longer be read; then previews of nothing."""
        if not keep_missing:
            kept = listed - {problem.id for problem in self.problems}
            self.removed = self.store.delete(sorted(self.mine.keys() - kept))
        self.store.publish()
        keep_only(self.thumbnails, self.store.hashes().values())


def _with_appearance(item: Item, seen: Item) -> Item:
    return replace(item, width=seen.width, height=seen.height, rgb=seen.rgb)


def _prepared(entry: Entry, processor: Processor) -> _Prepared:
    """Read once, for the model and for the preview, and hash what was read. Raises :class:`BadItem`."""
    made = modality(entry.item.modality).prepare_with_preview(entry.raw, processor)
    content = entry.item.hash if made.data is None else digest([made.data])
    item = replace(entry.item, hash=content)
    if made.preview is None:
        return _Prepared(item, made.prepared, {})
    shown: Preview = made.preview
    item = replace(item, width=shown.width, height=shown.height, rgb=shown.rgb)
    return _Prepared(item, made.prepared, shown.webp)
