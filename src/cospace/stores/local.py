"""The embedded store: a folder, no server.

Data is append-only. An ``add`` writes a segment for each modality, a ``delete`` the numbers of the dead rows, and then
a *version*, a small file that lists the segments with sizes and hashes; the newest version is the index. A crash leaves
at worst files that no version lists. A reader keeps the version it opened until :meth:`LocalIndex.refresh`; one writer
at a time holds the lock from its first change until :meth:`LocalIndex.close`. An update that is to become visible at
once writes a *draft* in place of versions: a file that only writers read.

Search is exact until :meth:`LocalIndex.finish` has linked a large segment by a graph; what is added afterwards is
searched exactly beside it.

The number of an item is its row, counted through the segments of the open version, dead rows included.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from ..files import read_sealed
from ..locks import LOCK, Lock
from ..types import UserError
from . import Condition, Found, Item, Progress, _graph, silent
from ._columns import table_of
from ._described import Described
from ._recall import with_effort
from ._scan import TILE_QUERIES, nearest
from ._segment import Content, Part, Precision, Segment, encoded, recent, to_merge
from ._units import check_fingerprint, check_items, sample, units
from ._versions import (
    DRAFT,
    FORMAT,
    NEWEST,
    State,
    check_unchanged,
    load,
    load_draft,
    read_draft,
    version_path,
    versions,
    write_draft,
    write_version,
)

MOST_SEGMENTS = 32
"""With more segments of a modality than this, the next change first merges small ones."""


class LocalIndex(Described):
    """See the module; open one with :meth:`create` or :meth:`open`. Searches may run in several threads."""

    def __init__(self, folder: Path, state: State) -> None:
        self._folder = folder
        self._lock = Lock(folder)
        self._state = state
        self._checkpoint: State | None = None
        self._update: str | None = None
        self.effort: int | None = None
        """Rows that graphs keep in sight at least: more find more of the nearest, and take longer. ``None``: what was
        measured to be enough when each was made."""

    @classmethod
    def create(cls, folder: Path, fingerprint: str, width: int, precision: Precision = "float32") -> LocalIndex:
        """A new, empty index in a folder that is missing or empty; ``precision`` is that of the stored vectors."""
        check_settings(width, precision)
        if versions(folder) or (folder.exists() and not _is_blank(folder)):
            raise UserError(f"{folder} exists and is not empty; name a new folder, or open the index that is there")
        version = {"format": FORMAT, "version": 1, "fingerprint": fingerprint, "width": width, "precision": precision}
        version |= {"growing": True, "made": uuid.uuid4().hex}
        with Lock(folder):
            (folder / "segments").mkdir(exist_ok=True)
            (folder / "versions").mkdir(exist_ok=True)
            write_version(folder, {**version, "segments": []})
        return cls(folder, State({**version, "segments": []}, ()))

    @classmethod
    def open(cls, folder: Path, fingerprint: str | None = None, thorough: bool = True) -> LocalIndex:
        """Open the newest version, refusing one made by another run than ``fingerprint``.

        ``thorough`` compares every file with its hash (about a second a gigabyte); without it only sizes are checked,
        and large files are read only as they are needed.
        """
        state = load(folder, thorough)
        check_fingerprint(str(folder), str(state.version["fingerprint"]), fingerprint)
        return cls(folder, state)

    @property
    def _facts(self) -> Mapping[str, Any]:
        return self._state.version

    @property
    def recall(self) -> dict[str, float]:
        """Of the ten nearest the share that graphs found when they were made, the least of each modality."""
        recall: dict[str, float] = {}
        for segment in self._state.segments:
            if segment.graph is not None:
                measured = float(segment.entry["graph"]["recall"])
                recall[segment.modality] = min(recall.get(segment.modality, 1.0), measured)
        return recall

    @property
    def version(self) -> int:
        """Grows with every change that this object has seen."""
        return self._state.number

    def __len__(self) -> int:
        return self._state.alive

    def close(self) -> None:
        """Let another process write; this object can still search the version it has.

        What was removed is gone from the disk then, its words too, unless an update is left unfinished.
        """
        self._checkpoint = None
        try:
            if self._lock.held:
                if self._update is None and not all(segment.without_words for segment in self._state.segments):
                    self._begin()
                    self._clear_words()
                self._sweep(1)
        finally:
            self._update = None
            self._lock.release()

    def refresh(self) -> bool:
        """Move to the newest version; true if there is a newer one, and numbers then mean other items."""
        if versions(self._folder)[-1:] == [self._state.number]:
            return False
        self._state = load(self._folder, thorough=False, known=self._state.segments)
        return True

    def check_unchanged(self) -> None:
        """Refuse an index that is gone, cut short, or replaced by another or by an older copy since it was opened.

        Vectors are mapped into memory, and reading past the end of a file that was cut ends the process.
        """
        check_unchanged(self._folder, self._state)

    def checkpoint(self, update: str | None = None) -> None:
        """Keep the version that is there, and its files, for :meth:`revert`; what follows may be an ``update``."""
        self._begin(update)
        self._checkpoint, self._update = self._state, update

    @property
    def growing(self) -> bool:
        """From :meth:`create` until the first :meth:`publish`."""
        return bool(self._state.version.get("growing", False))

    def publish(self) -> None:
        """Make what the update has come to the next version."""
        if self._update is not None or self.growing:
            self._begin()
            self._update = None
            if self.growing or read_draft(self._folder) is not None:
                self._state = State({**self._state.version, "growing": False}, self._state.segments)
                self._commit(self._state.segments)

    def revert(self) -> None:
        """Make the segments of the checkpoint the index again; an update is dropped."""
        assert self._checkpoint is not None, "nothing to go back to"
        if self._update is None:
            self._commit(self._checkpoint.segments)
        else:
            (self._folder / DRAFT).unlink(missing_ok=True)
            self._state = load(self._folder, thorough=False, known=self._checkpoint.segments)

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; an id that is already there is replaced, in the same step."""
        check_items(items, vectors_NE)
        units_NE = units(vectors_NE, self.width, [item.id for item in items])
        if not items:
            return
        tables = {}
        for modality in sorted({item.modality for item in items}):
            rows = [row for row, item in enumerate(items) if item.modality == modality]
            tables[modality] = rows, table_of([items[row] for row in rows])
        self._begin()
        number = self._state.number + 1
        segments = self._bury([item.id for item in items], number)
        for place, (modality, (rows, table)) in enumerate(tables.items()):
            part = Part(*encoded(units_NE[rows], self._state.version["precision"]), np.arange(len(rows)))
            segments.append(Segment.write(self._store, f"{number:08d}-{place}", Content(modality, table, [part])))
        self._commit(segments)

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""
        self._begin()
        names = sorted(set(ids))
        known = int((self.numbers(names) >= 0).sum())
        if known:
            self._commit(self._bury(names, self._state.number + 1))
        return known

    def finish(self, progress: Progress = silent) -> None:
        """Merge small segments, drop dead rows, and link the rows of every segment that is large enough for a graph.

        A graph is made anew when a third of its rows is dead, or when what was added since is half as much. Rows that
        are dead in a segment which stays lose their words, names and hashes.
        """
        self._begin()
        for modality in self._modalities():
            group = to_merge([segment for segment in self._state.segments if segment.modality == modality])
            if len(group) > 1 or (group and group[0].alive < len(group[0])):
                self._merge(group)
        for segment in self._state.segments:
            if segment.graph is None and len(segment) >= _graph.GRAPH_ROWS and _graph.AVAILABLE:
                self._replace(segment, with_effort(segment.with_graph(self._store, progress)))
        self._clear_words()

    def _clear_words(self) -> None:
        """Write the items of segments with dead rows anew, without what these were called and said."""
        for segment in self._state.segments:
            if not segment.without_words:
                self._replace(segment, segment.wordless(self._store, self._state.number + 1))

    def _replace(self, segment: Segment, by: Segment) -> None:
        self._commit([by if other is segment else other for other in self._state.segments])

    def hashes(self) -> dict[str, str]:
        """The content hash of every item by id."""
        found: dict[str, str] = {}
        for segment in self._state.segments:
            live = pa.array(segment.live_N)
            ids, hashes = (segment.items.column(name).filter(live).to_pylist() for name in ("id", "hash"))
            found.update(zip(ids, hashes, strict=True))
        return found

    def nearest(self, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> Found:
        """The ``k`` nearest items of each query among those that satisfy all conditions."""
        if k < 1:
            raise UserError(f"k must be 1 or more, {k} was given")
        state, queries_QE = self._state, np.asarray(queries_QE)
        queries_QE = units(queries_QE, self.width, [f"query {row}" for row in range(len(queries_QE))])
        chosen = state.chosen(where)
        k = min(k, state.alive)
        if len(queries_QE) <= TILE_QUERIES:
            return Found(*nearest(state, chosen, queries_QE, k, self.effort)[::-1])
        found = [
            nearest(state, chosen, queries_QE[start : start + TILE_QUERIES], k, self.effort)
            for start in range(0, len(queries_QE), TILE_QUERIES)
        ]
        return Found(np.concatenate([row[1] for row in found]), np.concatenate([row[0] for row in found]))

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        """int64 ``(n,)``; -1 for an id that is not there."""
        state, numbers = self._state, np.full(len(ids), -1, dtype=np.int64)
        for segment, start in zip(state.segments, state.starts, strict=False):
            rows = segment.live_rows(ids)
            numbers[rows >= 0] = rows[rows >= 0] + start
        return numbers

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of the items that satisfy all conditions, ascending; a seeded sample where there are more."""
        state = self._state
        rows = [
            (np.arange(len(segment)) if chosen_N is None else np.flatnonzero(chosen_N)) + start
            for segment, start, chosen_N in zip(state.segments, state.starts, state.chosen(where), strict=False)
        ]
        numbers = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        return numbers if most is None else sample(numbers, most, seed)

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """What is remembered of them, in the given order."""
        found: dict[int, Item] = {}
        for segment, places, rows in self._state.by_segment(np.asarray(numbers, dtype=np.int64)):
            found.update(zip(places.tolist(), segment.items.items(rows), strict=True))
        return [found[place] for place in range(len(found))]

    def appearance(self, numbers: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height and mean colour of each."""
        numbers = np.asarray(numbers, dtype=np.int64)
        appearance = np.empty((len(numbers), 3), dtype=np.int32)
        for segment, places, rows in self._state.by_segment(numbers):
            appearance[places] = segment.items.appearance(rows)
        return appearance

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """float32 ``(n, width)``."""
        numbers = np.asarray(numbers, dtype=np.int64)
        vectors_NE = np.empty((len(numbers), self.width), dtype=np.float32)
        for segment, places, rows in self._state.by_segment(numbers):
            vectors_NE[places] = segment.taken(rows)
        return vectors_NE

    def columns(self) -> dict[str, int]:
        """Names of the extras that items have, with the number of items that have them."""
        return dict(self._state.extras)

    @property
    def _store(self) -> Path:
        return self._folder / "segments"

    def _begin(self, update: str | None = None) -> None:
        """Become the writer: take the lock, catch up with the newest version, clear what crashes left."""
        if not self._lock.held:
            self._lock.acquire()
        self._catch_up(update or self._update)
        self._sweep()
        for modality in self._modalities():
            loose = [segment for segment in self._state.segments if segment.graph is None]
            mine = [segment for segment in loose if segment.modality == modality]
            small = recent(mine)
            if len(mine) > MOST_SEGMENTS and len(small) > 1:
                self._merge(small)

    def _catch_up(self, update: str | None) -> None:
        """Move to what another wrote, or a change of our own that reached the disk and then failed.

        What an unfinished update has come to is gone on with, or becomes visible where this is not that update.
        """
        draft = read_draft(self._folder)
        if draft is None:
            self.refresh()
            return
        if draft[1]["version"] != self._state.number:
            left = load_draft(self._folder, draft[1], self._state.segments)
            if left is None:
                (self._folder / DRAFT).unlink()
                self.refresh()
                return
            self._state = left
        if draft[0] != update:
            self._commit(self._state.segments)

    def _modalities(self) -> list[str]:
        return sorted({segment.modality for segment in self._state.segments})

    def _bury(self, ids: Sequence[str], number: int) -> list[Segment]:
        """The segments with ``ids`` dead in them."""
        segments = []
        for segment in self._state.segments:
            rows = segment.live_rows(ids)
            rows = rows[rows >= 0]
            segments.append(segment.without(self._store, number, rows.tolist()) if len(rows) else segment)
        return segments

    def _merge(self, group: Sequence[Segment]) -> None:
        """Replace segments of one modality by one that holds their live rows."""
        kept = [segment for segment in self._state.segments if segment not in group]
        alive = [segment.survivors() for segment in group if segment.alive]
        if alive:
            items = pa.concat_tables([table for table, _ in alive], promote_options="default")
            content = Content(group[0].modality, items, [part for _, parts in alive for part in parts])
            kept.append(Segment.write(self._store, f"{self._state.number + 1:08d}-0", content))
        self._commit(kept)

    def _commit(self, segments: Sequence[Segment]) -> None:
        """Make ``segments`` the index: when this returns, they are."""
        alive = tuple(segment for segment in segments if segment.alive)
        number = self._state.number + 1
        version = {**self._state.version, "version": number, "segments": [segment.entry for segment in alive]}
        version["format"] = FORMAT
        if self._update is None:
            write_version(self._folder, version)
            (self._folder / DRAFT).unlink(missing_ok=True)
        else:
            write_draft(self._folder, version, self._update)
        self._state = State(version, alive)

    def _sweep(self, kept: int = 2) -> None:
        """Remove versions before the last ones, and files that neither these nor the checkpoint list."""
        numbers = versions(self._folder)
        for number in numbers[:-kept]:
            version_path(self._folder, number).unlink()
        recent = [read_sealed(version_path(self._folder, number)) for number in numbers[-kept:]]
        recent += [] if self._checkpoint is None else [dict(self._checkpoint.version)]
        recent += [] if (draft := read_draft(self._folder)) is None else [draft[1]]
        files = [file for version in recent for segment in version["segments"] for file in segment["files"].values()]
        listed = {file["name"] for file in files}
        for path in self._store.iterdir():
            if path.name not in listed:
                path.unlink()


def check_settings(width: int, precision: str) -> None:
    """Refuse vectors that no local index holds."""
    if width < 1:
        raise UserError(f"an index needs vectors of width 1 or more, {width} was given")
    if precision not in get_args(Precision):
        raise UserError(f"an index cannot store {precision!r}; choose one of {', '.join(get_args(Precision))}")


def _is_blank(folder: Path) -> bool:
    """True of an empty folder, and of one where :meth:`LocalIndex.create` was killed."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, NEWEST, "segments", "versions"}
