"""The store in LanceDB: a folder or object storage (``s3://``, ``gs://``, ``az://``), no server; an extra.

An index is a database of Lance tables: one of items for each modality, and a small one of *versions*
(:mod:`._lance_versions`), whose newest record says which version of each table the index is. A change writes the
tables first and then one record, so a reader, which keeps the versions that it opened until :meth:`LanceIndex.refresh`,
sees all of it or none, and a killed writer leaves at worst rows that no record lists; the next writer takes them back.
An update that is to become visible at once keeps its versions of the tables as a *draft*, and ends with a record.
In a folder one writer at a time holds a lock from its first change until :meth:`LanceIndex.close`. Object storage has
no locks: of two writers there one is refused as soon as it meets a version that it has not written.

Search is exact until :meth:`LanceIndex.finish` has built the vector index of a modality with many items. The recall of
each is measured then, and one that does not keep the promise of :mod:`.ann` is not used.

The number of an item is its row, counted through the tables of the open version.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..locks import LOCK, Lock
from ..types import StorageError, UserError
from . import Condition, Found, Item, Progress, _lance_ann, silent
from ._described import Described
from ._lance_blobs import REMADE
from ._lance_change import Change, addresses
from ._lance_part import STORED, Part, State, loaded, rows_of, schema
from ._lance_tables import SUFFIX, Database, library
from ._lance_versions import DRAFT, FORMAT, TABLE, Drafts, Record, Records
from ._scan import TILE_QUERIES, Best
from ._units import check_fingerprint, check_items, replaced, sample, units
from .ann import QUERIES, Ann, Measured, measure

ANN_KINDS = _lance_ann.KINDS
"""What :meth:`LanceIndex.choose_ann` may choose, with options."""
ITEMS = "items_"
"""What the names of the tables of items begin with."""
MAKING = f"{LOCK}-index"
"""The lock of whoever makes an index in a folder, or brings it up to date, beside that of its writer."""
KEPT = timedelta(days=1)
"""How long :meth:`LanceIndex.finish` leaves what only older versions need."""


class LanceIndex(Described):
    """See the module; open one with :meth:`create` or :meth:`open`. Searches may run in several threads."""

    def __init__(self, database: Database, records: Records, state: State) -> None:
        self._database, self._records, self._state = database, records, state
        self._lock = None if database.folder is None else Lock(database.folder)
        self._drafts = Drafts(database)
        self._writing = False
        self._update: str | None = None
        self._checkpoint: Record | None = None
        self._ann: Ann | None = None
        self.queries = QUERIES
        self.effort = 0
        """Rows that an approximate search keeps in sight; 0: as many as its measurement asks for."""

    @classmethod
    def create(cls, target: str, fingerprint: str, width: int, precision: str = "float32") -> LanceIndex:
        """A new, empty index; ``target`` is a folder or an address, ``precision`` is ``float32`` or ``float16``."""
        check_settings(width, precision)
        database = Database(target)
        records = Records(database)
        made = {"format": FORMAT, "version": 1, "fingerprint": fingerprint, "width": width, "precision": precision}
        made |= {"growing": True, "made": uuid.uuid4().hex}
        index = cls(database, records, State({}, ()))
        if index._lock is not None:
            index._lock.acquire()
        try:
            if records.newest() is not None:
                raise UserError(f"{database.shown} holds an index; name another place, or open this one")
            records.create()
            index._state = State(records.append({**made, "tables": {}, "ann": str(_lance_ann.default(width))}), ())
        finally:
            index.close()
        return index

    @classmethod
    def open(cls, target: str, fingerprint: str | None = None) -> LanceIndex:
        """Open the newest version, refusing one made by another run than ``fingerprint``."""
        database = Database(target)
        records = Records(database)
        record = records.there()
        check_fingerprint(database.shown, str(record["fingerprint"]), fingerprint)
        return cls(database, records, loaded(database, record))

    @property
    def _facts(self) -> Mapping[str, Any]:
        return self._state.record

    @property
    def version(self) -> int:
        """Grows with every change that this object has seen."""
        return self._state.number

    @property
    def measured(self) -> dict[str, Measured]:
        """By modality, the recall of its vector index; nothing where every vector is read."""
        return {part.modality: part.measured for part in self._state.parts if part.measured is not None}

    def __len__(self) -> int:
        return sum(map(len, self._state.parts))

    def close(self) -> None:
        """Let another process write; this object can still search the version it has."""
        self._checkpoint, self._writing, self._update = None, False, None
        if self._lock is not None:
            self._lock.release()

    def refresh(self) -> bool:
        """Move to the newest version; true if there is a newer one, and numbers then mean other items."""
        record = self._records.there()
        if record["version"] == self._state.number and record["token"] == self._state.record["token"]:
            return False
        self._state = loaded(self._database, record, self._state.parts)
        return True

    def check_unchanged(self) -> None:
        """Refuse an index that is gone, or replaced by another or by an older copy, since it was opened."""
        now, then = self._records.newest(), self._state.record
        if now is None:
            raise StorageError(f"{self._database.shown} is gone since it was opened; put it back, or open another")
        same = now["token"] == then["token"] or now["version"] > then["version"]
        if not same or any(now.get(name) != then.get(name) for name in ("made", "fingerprint", "width")):
            raise StorageError(replaced(self._database.shown))

    def checkpoint(self, update: str | None = None) -> None:
        """Remember the version that is there; the tables keep it until :meth:`finish`, and a day longer."""
        self._begin(update)
        self._checkpoint, self._update = dict(self._state.record), update

    @property
    def growing(self) -> bool:
        """From :meth:`create` until the first :meth:`publish`."""
        return bool(self._state.record.get("growing", False))

    def publish(self) -> None:
        """Make the versions of the tables that the update has come to the next record."""
        if self._update is not None or self.growing:
            self._begin()
            self._update = None
            if self.growing or self._drafts.of(self._state.record) is not None:
                self._commit(self._tables, growing=False)

    def revert(self) -> None:
        """Make the versions of the tables that the checkpoint lists the index again; an update is dropped."""
        assert self._checkpoint is not None, "nothing to go back to"
        self._begin()
        if self._update is None:
            self._commit(self._checkpoint["tables"])
        else:
            self._drafts.drop()
            self._state = loaded(self._database, self._records.there(), self._state.parts)

    def choose_ann(self, written: str) -> None:
        """Choose the vector index that :meth:`finish` builds, such as ``ivf_hnsw_sq:m=32``; the index remembers it."""
        self._ann = Ann.parse(written, ANN_KINDS)

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; an id that is already there is replaced, in the same step."""
        check_items(items, vectors_NE)
        units_NE = units(vectors_NE, self.width, [item.id for item in items])
        if not items:
            return
        fresh = {}
        for modality in sorted({item.modality for item in items}):
            rows = [row for row, item in enumerate(items) if item.modality == modality]
            fresh[modality] = rows_of([items[row] for row in rows], units_NE[rows], self.precision)
        self._begin()
        changes = self._without([item.id for item in items])
        for modality, added in fresh.items():
            if modality not in changes:
                changes[modality] = self._change(modality)
            changes[modality].add(added)
        self._commit_changes(changes)

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""
        self._begin()
        before, changes = len(self), self._without(sorted(set(ids)))
        if changes:
            self._commit_changes(changes)
        return before - len(self)

    def finish(self, progress: Progress = silent) -> None:
        """Join small pieces, build and measure vector indexes, and remove what only versions of days ago need."""
        self._begin()
        ann, before, changes = self._ann or self._remembered(), self._tables, {}
        for modality, entry in before.items():
            changes[modality] = Change(self._database, entry)
            changes[modality].tidy()
            changes[modality].index_vectors(ann, self.width, progress, modality)
        tables = {modality: change.entry for modality, change in changes.items()}
        if tables != before or ann != self._remembered():
            self._commit(tables, ann=str(ann))
        measured = {part.modality: self._measure(part, first) for part, first in self._state.unmeasured()}
        if measured:
            renewed = {name: {"measured": found.plain(), "stale": False} for name, found in measured.items()}
            self._commit({name: {**entry, **renewed.get(name, {})} for name, entry in self._tables.items()})
        for change in changes.values():
            change.forget(KEPT)
        self._records.tidy(KEPT)

    def hashes(self) -> dict[str, str]:
        """The content hash of every item by id."""
        found: dict[str, str] = {}
        for part in self._state.parts:
            found.update(zip(part.column("id").to_pylist(), part.column("hash").to_pylist(), strict=True))
        return found

    def nearest(self, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> Found:
        """The ``k`` nearest items of each query among those that satisfy all conditions."""
        if k < 1:
            raise UserError(f"k must be 1 or more, {k} was given")
        state, queries_QE = self._state, np.asarray(queries_QE)
        queries_QE = units(queries_QE, self.width, [f"query {row}" for row in range(len(queries_QE))])
        chosen, k, found = state.chosen(where), min(k, int(state.starts[-1])), []
        for start in range(0, max(1, len(queries_QE)), TILE_QUERIES):
            some_QE = torch.from_numpy(queries_QE[start : start + TILE_QUERIES])
            best = Best(len(some_QE), k)
            for part, chosen_N, first in zip(state.parts, chosen, state.starts.tolist(), strict=False):
                part.search(chosen_N, some_QE, first, best, self.effort)
            found.append(best.ranked())
        return Found(np.concatenate([row[1] for row in found]), np.concatenate([row[0] for row in found]))

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        """int64 ``(n,)``; -1 for an id that is not there."""
        state, names, found = self._state, sorted(set(ids)), {}
        for part, start in zip(state.parts, state.starts.tolist(), strict=False):
            found.update({name: row + start for name, row in part.rows_of_ids(names).items()})
        return np.array([found.get(name, -1) for name in ids], dtype=np.int64)

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of the items that satisfy all conditions, ascending; a seeded sample where there are more."""
        state = self._state
        rows = [
            (np.arange(len(part)) if chosen_N is None else np.flatnonzero(chosen_N)) + start
            for part, start, chosen_N in zip(state.parts, state.starts, state.chosen(where), strict=False)
        ]
        numbers = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        return numbers if most is None else sample(numbers, most, seed)

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """What is remembered of them, in the given order."""
        found: dict[int, Item] = {}
        for part, places, rows in self._state.by_part(np.asarray(numbers, dtype=np.int64)):
            found.update(zip(places.tolist(), part.items(rows), strict=True))
        return [found[place] for place in range(len(found))]

    def appearance(self, numbers: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height and mean colour of each."""
        numbers = np.asarray(numbers, dtype=np.int64)
        appearance = np.empty((len(numbers), 3), dtype=np.int32)
        for part, places, rows in self._state.by_part(numbers):
            appearance[places] = part.appearance(rows)
        return appearance

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """float32 ``(n, width)``."""
        numbers = np.asarray(numbers, dtype=np.int64)
        vectors_NE = np.empty((len(numbers), self.width), dtype=np.float32)
        for part, places, rows in self._state.by_part(numbers):
            vectors_NE[places] = part.floats(rows).numpy()
        return vectors_NE

    def columns(self) -> dict[str, int]:
        """Names of the extras that items have, with the number of items that have them."""
        return dict(self._state.extras)

    @property
    def _tables(self) -> dict[str, Any]:
        """What the open version says of each modality's table."""
        return dict(self._state.record["tables"])

    def _begin(self, update: str | None = None) -> None:
        """Become the writer, and catch up with the newest version; later on nobody else may have written one.

        What an unfinished update has come to is gone on with, or becomes visible where this is not that update.
        """
        if self._lock is not None and not self._lock.held:
            self._lock.acquire()
        record = self._records.there()
        draft = self._drafts.of(record)
        wanted = record if draft is None else {**record, "tables": draft["tables"], DRAFT: draft[DRAFT]}
        before = self._state.record
        if self._writing and any(wanted.get(name) != before.get(name) for name in ("token", DRAFT)):
            raise self._records.refused(record)
        if wanted != before:
            self._state = loaded(self._database, wanted, self._state.parts)
        self._writing = True
        if draft is not None and draft["update"] != (update or self._update):
            self._commit(draft["tables"])

    def _commit(self, tables: Mapping[str, Any], **settings: Any) -> None:
        """Make these versions of the tables the index, or what its update has come to, when this returns."""
        if self._update is not None:
            record = {**self._state.record, "tables": dict(tables)}
            self._state = loaded(self._database, self._drafts.keep(record, self._update), self._state.parts)
            return
        record = {**self._state.record, **settings, "version": self._state.number + 1, "tables": dict(tables)}
        record.pop(DRAFT, None)
        self._state = loaded(self._database, self._records.append(record), self._state.parts)
        self._drafts.drop()

    def _commit_changes(self, changes: Mapping[str, Change]) -> None:
        self._commit({**self._tables, **{modality: change.entry for modality, change in changes.items()}})

    def _change(self, modality: str) -> Change:
        """A change of a modality's table, which is made where there is none."""
        entry = self._tables.get(modality)
        if entry is not None:
            return Change(self._database, entry)
        plain = modality if re.fullmatch("[a-z0-9_]+", modality) else hashlib.sha256(modality.encode()).hexdigest()[:16]
        return Change.new(self._database, f"{ITEMS}{plain}", schema(self.width, self.precision))

    def _without(self, ids: Sequence[str]) -> dict[str, Change]:
        """Changes that remove some ids, of the tables that have any of them."""
        changes = {}
        for part in self._state.parts:
            if gone := addresses(part, ids):
                changes[part.modality] = self._change(part.modality)
                changes[part.modality].remove(gone)
        return changes

    def _remembered(self) -> Ann:
        return Ann.parse(self._state.record["ann"], ANN_KINDS)

    def _measure(self, part: Part, first: int) -> Measured:
        """Search with a sample of the vectors, exactly and approximately."""

        def answer(queries_QE: np.ndarray, k: int, search: Mapping[str, int] | None) -> Found:
            some_QE, best = torch.from_numpy(queries_QE), Best(len(queries_QE), min(k, len(part)))
            if search is None:
                part.scan(None, some_QE, first, best)
            else:
                scores_QK, rows_QK = part.near(some_QE, best.k, search["refine"] * best.k, search, None)
                best.add(scores_QK, rows_QK + first)
            scores, numbers = best.ranked()
            return Found(numbers, scores)

        ann = Ann.parse(part.entry["built"]["ann"], ANN_KINDS)
        modalities = [each.modality for each in self._state.parts]
        search, recall, queries = measure(self, part.modality, modalities, answer, _lance_ann.tried(ann, len(part)))
        return Measured(str(ann), len(part), recall, queries, search)


def check_settings(width: int, precision: str) -> None:
    """Refuse vectors that no index in LanceDB holds, and a missing library."""
    if width < 1:
        raise UserError(f"an index needs vectors of width 1 or more, {width} was given")
    if precision not in STORED:
        raise UserError(f"LanceDB cannot store {precision!r}; choose one of {', '.join(STORED)}")
    library()


def is_blank(folder: Path) -> bool:
    """True of a folder that holds nothing but what an index in LanceDB may leave, and people keep beside one."""
    ours = {LOCK, MAKING, "feedback.jsonl", "shelf.jsonl"}
    return folder.is_dir() and all(path.suffix == SUFFIX or path.name in ours for path in folder.iterdir())


def folder(target: str) -> Path | None:
    """Where an index lies on this machine; none for object storage."""
    return Database(target).folder


def exists(target: str) -> bool:
    """True where a folder or address holds an index."""
    return Records(Database(target)).newest() is not None


def remove(target: str) -> None:
    """Remove the tables of an index."""
    database = Database(target)
    names = database.names()
    # The versions first: what they list is no index without them.
    database.drop([TABLE])
    database.drop([name for name in names if name.startswith(ITEMS) or name in REMADE])
    if database.folder is not None:
        for name in (LOCK, MAKING):
            (database.folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else lies there
            database.folder.rmdir()


def shown(target: str) -> str:
    """An address as people may see it."""
    return Database(target).shown
