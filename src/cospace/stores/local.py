"""The embedded store: a folder, exact search, no server.

Data is append-only. An ``add`` writes a segment, a ``delete`` the numbers of the dead rows, and then a *version*, a
small file that lists the segments with sizes and hashes; the newest version is the index. A crash leaves at worst
files that no version lists. A reader keeps the version it opened; one writer at a time holds the lock from its first
change until :meth:`LocalIndex.close`. Search reads every live vector once, in tiles, with memory that does not grow
with the index: exact, and the right answer up to some 10^5 vectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ..files import LOCK, Lock, read_sealed, write_sealed
from ..types import UserError
from . import Hit, Item
from ._segment import Segment, table_of

FORMAT = 1
MOST_SEGMENTS = 32
"""With more segments than this, the next change first merges small ones."""
TILE_QUERIES, TILE_ROWS = 256, 16_384
"""Scores held at a time: 16 MiB."""


class LocalIndex:
    """See the module; open one with :meth:`create` or :meth:`open`. Searches may run in several threads."""

    def __init__(self, folder: Path, version: Mapping[str, Any], segments: Sequence[Segment]) -> None:
        self._folder = folder
        self._lock = Lock(folder)
        self._version = version
        self._segments = tuple(segments)
        self._places: dict[str, tuple[str, int]] = {}

    @classmethod
    def create(cls, folder: Path, fingerprint: str, width: int) -> LocalIndex:
        """A new, empty index in a folder that is missing or empty."""
        if width < 1:
            raise UserError(f"an index needs vectors of width 1 or more, {width} was given")
        if _versions(folder) or (folder.exists() and not _is_blank(folder)):
            raise UserError(f"{folder} exists and is not empty; name a new folder, or open the index that is there")
        version = {"format": FORMAT, "version": 1, "fingerprint": fingerprint, "width": width, "segments": []}
        with Lock(folder):
            (folder / "segments").mkdir(exist_ok=True)
            (folder / "versions").mkdir(exist_ok=True)
            write_sealed(_version_path(folder, 1), version)
        return cls(folder, version, ())

    @classmethod
    def open(cls, folder: Path, fingerprint: str | None = None, thorough: bool = True) -> LocalIndex:
        """Open the newest version, refusing one made by another run than ``fingerprint``.

        ``thorough`` compares every file with its hash (about a second a gigabyte); without it only sizes are checked.
        """
        version, segments = _load(folder, thorough)
        if fingerprint is not None and fingerprint != version["fingerprint"]:
            raise UserError(
                f"{folder} was made with the run {version['fingerprint']}, but this run is {fingerprint}; "
                "search with the run that made the index, or index again with this one"
            )
        return cls(folder, version, segments)

    @property
    def fingerprint(self) -> str:
        """Of the run that made the vectors."""
        return str(self._version["fingerprint"])

    @property
    def width(self) -> int:
        """Of a vector."""
        return int(self._version["width"])

    def __len__(self) -> int:
        return sum(int(segment.live_N.sum()) for segment in self._segments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let another process write; this object can still search the version it has."""
        self._lock.release()

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; an id that is already there is replaced, in the same step."""
        if len(items) != len(vectors_NE):
            raise UserError(f"{len(items)} items came with {len(vectors_NE)} vectors; give one vector for each item")
        units_NE = self._units(vectors_NE, [item.id for item in items])
        twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
        if twice:
            raise UserError(f"the id {twice[0]!r} occurs more than once in what is added; ids must be different")
        if not items:
            return
        self._begin()
        number = self._version["version"] + 1
        table = table_of(items)
        segments = self._bury({item.id for item in items}, number)
        added = Segment.write(self._store, f"{number:08d}", table, units_NE)
        self._commit([*segments, added])
        self._places.update((item.id, (added.name, row)) for row, item in enumerate(items))

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""
        self._begin()
        known = {name for name in ids if name in self._places}
        if known:
            self._commit(self._bury(known, self._version["version"] + 1))
            for name in known:
                del self._places[name]
        return len(known)

    def compact(self) -> None:
        """Rewrite the live rows as one segment and drop the dead."""
        self._begin()
        self._merge(self._segments)

    def search(self, query_E: np.ndarray, k: int, where: Mapping[str, str] | None = None) -> list[Hit]:
        """The ``k`` nearest live items, best first; fewer when fewer satisfy ``where``."""
        return self.search_batch(np.asarray(query_E)[None], k, where)[0]

    def search_batch(self, queries_QE: np.ndarray, k: int, where: Mapping[str, str] | None = None) -> list[list[Hit]]:
        """:meth:`search` for many queries in one pass over the vectors."""
        if k < 1:
            raise UserError(f"k must be 1 or more, {k} was given")
        segments = self._segments
        queries_QE = np.asarray(queries_QE)
        queries_QE = self._units(queries_QE, [f"query {row}" for row in range(len(queries_QE))])
        chosen = [segment.selected(where or {}) for segment in segments]
        hits: list[list[Hit]] = []
        for start in range(0, len(queries_QE), TILE_QUERIES):
            scores_QK, places_QK = _scan(segments, chosen, queries_QE[start : start + TILE_QUERIES], k)
            hits += [_hits(segments, *row) for row in zip(scores_QK, places_QK, strict=True)]
        return hits

    @property
    def _store(self) -> Path:
        return self._folder / "segments"

    def _units(self, vectors_NE: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Rows scaled to length one in float32; refuses a wrong width, and a row without a direction by its name."""
        vectors_NE = np.asarray(vectors_NE, dtype=np.float64)
        if vectors_NE.ndim != 2 or vectors_NE.shape[1] != self.width:
            raise UserError(f"vectors of shape (n, {self.width}) are expected, {vectors_NE.shape} was given")
        norms_N1 = np.linalg.norm(vectors_NE, axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(norms_N1) & (norms_N1 > 0)))
        if len(bad):
            kind = "is zero" if norms_N1[bad[0]] == 0 else "is not finite"
            raise UserError(f"the vector of {names[bad[0]]!r} {kind}, so it has no direction; embed that item again")
        units_NE: np.ndarray = (vectors_NE / norms_N1).astype(np.float32)
        return units_NE

    def _begin(self) -> None:
        """Become the writer: take the lock, catch up with the newest version, clear what crashes left."""
        behind = not self._lock.held or _versions(self._folder)[-1] != self._version["version"]
        if not self._lock.held:
            self._lock.acquire()
        if behind:  # of another writer, or of a change of our own that reached the disk and then failed
            self._version, segments = _load(self._folder, thorough=False)
            self._segments = tuple(segments)
            self._places = _places(segments)
        self._sweep()
        small = _recent(self._segments)
        if len(self._segments) > MOST_SEGMENTS and len(small) > 1:
            self._merge(small)

    def _bury(self, ids: set[str], number: int) -> list[Segment]:
        """The segments with ``ids`` dead in them."""
        rows: dict[str, list[int]] = {}
        for name, row in (self._places[known] for known in ids & self._places.keys()):
            rows.setdefault(name, []).append(row)
        return [
            segment.without(self._store, number, rows[segment.name]) if segment.name in rows else segment
            for segment in self._segments
        ]

    def _merge(self, last: Sequence[Segment]) -> None:
        """Replace the ``last`` segments by one that holds their live rows."""
        vectors_NE = np.concatenate([segment.vectors_NE[segment.live_N] for segment in last] or [np.empty((0, 1))])
        kept = list(self._segments[: len(self._segments) - len(last)])
        if len(vectors_NE):
            items = pa.concat_tables([segment.survivors() for segment in last])
            kept.append(Segment.write(self._store, f"{self._version['version'] + 1:08d}", items, vectors_NE))
        self._commit(kept)
        self._places = _places(self._segments)

    def _commit(self, segments: Sequence[Segment]) -> None:
        """Make ``segments`` the index: when this returns, they are."""
        alive = tuple(segment for segment in segments if segment.live_N.any())
        number = self._version["version"] + 1
        version = {**self._version, "version": number, "segments": [segment.files for segment in alive]}
        write_sealed(_version_path(self._folder, number), version)
        self._version, self._segments = version, alive

    def _sweep(self) -> None:
        """Remove versions before the last two, and files that neither of these lists."""
        numbers = _versions(self._folder)
        for number in numbers[:-2]:
            _version_path(self._folder, number).unlink()
        recent = [read_sealed(_version_path(self._folder, number)) for number in numbers[-2:]]
        listed = {file["name"] for version in recent for files in version["segments"] for file in files.values()}
        for path in self._store.iterdir():
            if path.name not in listed:
                path.unlink()


def _is_blank(folder: Path) -> bool:
    """True of an empty folder, and of one where :meth:`LocalIndex.create` was killed."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, "segments", "versions"}


def _places(segments: Sequence[Segment]) -> dict[str, tuple[str, int]]:
    """Segment and row of every live id."""
    return {
        name: (segment.name, row)
        for segment in segments
        for row, name in enumerate(segment.ids())
        if segment.live_N[row]
    }


def _recent(segments: Sequence[Segment]) -> list[Segment]:
    """The last segments, as far back as each is no larger than twice all newer ones.

    So a row is rewritten a logarithmic number of times, however small the steps in which an index grows.
    """
    count, rows = 0, 0
    for segment in reversed(segments):
        size = int(segment.live_N.sum())
        if count and size > 2 * rows:
            break
        count, rows = count + 1, rows + size
    return list(segments[len(segments) - count :])


def _version_path(folder: Path, number: int) -> Path:
    return folder / "versions" / f"{number:08d}.json"


def _versions(folder: Path) -> list[int]:
    """Numbers of the versions in a folder, ascending."""
    return sorted(int(path.stem) for path in (folder / "versions").glob("*.json") if path.stem.isdigit())


def _load(folder: Path, thorough: bool) -> tuple[dict[str, Any], list[Segment]]:
    """The newest version and its segments; looks again when a writer's clean-up overtook the reading."""
    while True:
        numbers = _versions(folder)
        if not numbers:
            raise UserError(f"{folder} is not an index; make one with: cospace index RUN INPUT --out {folder}")
        try:
            version = read_sealed(_version_path(folder, numbers[-1]))
            if version["format"] != FORMAT:
                raise UserError(f"{folder} has format {version['format']}, this cospace reads {FORMAT}; update cospace")
            return version, [Segment.open(folder / "segments", files, thorough) for files in version["segments"]]
        except (FileNotFoundError, UserError):
            if _versions(folder)[-1:] == numbers[-1:]:
                raise


def _scan(
    segments: Sequence[Segment], chosen: Sequence[np.ndarray], queries_QE: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Best scores ``(Q, K)``, descending, and their places: row numbers over all segments, counted through."""
    best_QK: np.ndarray = np.empty((len(queries_QE), 0), dtype=np.float32)
    place_QK: np.ndarray = np.empty((len(queries_QE), 0), dtype=np.int64)
    offset = 0
    for segment, chosen_N in zip(segments, chosen, strict=True):
        for start in range(0, len(chosen_N), TILE_ROWS):
            rows = np.flatnonzero(chosen_N[start : start + TILE_ROWS]) + start
            whole = len(rows) == min(TILE_ROWS, len(chosen_N) - start)
            tile_RE = segment.vectors_NE[start : start + TILE_ROWS] if whole else segment.vectors_NE[rows]
            scores_QR = queries_QE @ tile_RE.T
            columns_QK = _largest(scores_QR, k)
            best_QK = np.concatenate([best_QK, np.take_along_axis(scores_QR, columns_QK, axis=1)], axis=1)
            place_QK = np.concatenate([place_QK, rows[columns_QK] + offset], axis=1)
            kept_QK = _largest(best_QK, k)
            best_QK, place_QK = (np.take_along_axis(values, kept_QK, axis=1) for values in (best_QK, place_QK))
        offset += len(chosen_N)
    order_QK = np.lexsort((place_QK, -best_QK), axis=1)
    return np.take_along_axis(best_QK, order_QK, axis=1), np.take_along_axis(place_QK, order_QK, axis=1)


def _largest(scores_QR: np.ndarray, k: int) -> np.ndarray:
    """Columns of the ``k`` largest of each row, in no order."""
    if scores_QR.shape[1] <= k:
        return np.broadcast_to(np.arange(scores_QR.shape[1]), scores_QR.shape)
    return np.argpartition(scores_QR, -k, axis=1)[:, -k:]


def _hits(segments: Sequence[Segment], scores_K: np.ndarray, places_K: np.ndarray) -> list[Hit]:
    """Scores and places of one query, joined with what is known of the items."""
    starts = np.cumsum([0, *(len(segment.live_N) for segment in segments)])
    hits = []
    for score, place in zip(scores_K.tolist(), places_K.tolist(), strict=True):
        at = int(np.searchsorted(starts, place, side="right")) - 1
        row = segments[at].items.slice(place - starts[at], 1).to_pylist()[0]
        hits.append(Hit(score=max(-1.0, min(1.0, score)), **row))
    return hits
