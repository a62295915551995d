"""The items of one modality in one version of a LanceDB index: a Lance table that stays as it is.

Rows are counted in the order of the table. Lance knows a row by its address, which means the same row as long as the
version is open. Conditions are judged here and not by Lance, so that they mean the same in every store.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ..types import StorageError, UserError
from . import Condition, Item
from ._columns import APPEARANCE, OWN, own_field, passing, resolved
from ._lance_tables import Database, among, storable
from ._scan import TILE_ROWS, Best
from .ann import Measured

ANN_ROWS = 50_000
"""From so many items of a modality on a vector index is built; the vectors of fewer are kept in memory and all read."""
FEW = 10_000
"""Where no more rows satisfy the conditions, their vectors are all read instead of asking the vector index."""
COST = 8
"""Vectors in one straight run that cost as much as one here and there."""
AT_A_TIME = 1 << 23
"""Coordinates of candidates held at a time: 32 MiB."""
REMEMBERED = 16
"""Conditions whose rows are kept, a byte a row each."""
IDS_AT_A_TIME = 1000
"""In one condition in SQL."""
STORED = {"float32": pa.float32(), "float16": pa.float16()}
"""How a coordinate lies in a table, by the precision of the index."""
ADDRESS, DISTANCE = "_rowid", "_distance"
TEXTS = tuple(name for name in OWN if name not in (*APPEARANCE, "modality"))
"""Own fields that are columns of text; the modality is the table's."""


def schema(width: int, precision: str) -> pa.Schema:
    """Of a table of items."""
    pair = pa.struct([("name", pa.string()), ("value", pa.string())])
    return pa.schema(
        [
            *((name, pa.string()) for name in TEXTS),
            *((name, pa.int32()) for name in APPEARANCE),
            ("extras", pa.list_(pair)),
            ("vector", pa.list_(STORED[precision], width)),
        ]
    )


def rows_of(items: Sequence[Item], units_NE: np.ndarray, precision: str) -> pa.Table:
    """Items and their vectors as a table; text that is not Unicode is refused."""
    shape = schema(units_NE.shape[1], precision)
    stored = pa.array(units_NE.astype(np.float16 if precision == "float16" else np.float32).ravel())
    try:
        columns: dict[str, Any] = {name: [getattr(item, name) for item in items] for name in (*TEXTS, *APPEARANCE)}
        columns["extras"] = [[{"name": k, "value": v} for k, v in item.extras.items()] for item in items]
        columns["vector"] = pa.FixedSizeListArray.from_arrays(stored, units_NE.shape[1])
        return pa.table(columns, schema=shape)
    except UnicodeEncodeError as error:
        raise UserError(f"{error.object!r} is not valid Unicode; rename that file or mend that text") from error


class Part:
    """See the module. Threads may share one object."""

    def __init__(self, database: Database, modality: str, entry: Mapping[str, Any], width: int) -> None:
        self.modality, self.entry, self.width = modality, entry, width
        self._database = database
        self._table = database.open(entry["name"], entry["version"])
        with database.translated_errors():
            if self._table.count_rows() != entry["rows"]:
                raise StorageError(
                    f"{database.shown} has another number of {modality} items than its newest version says; "
                    "restore it from a copy or index again"
                )
        self.measured = Measured.from_plain(entry["measured"]) if entry.get("measured") else None
        self._guard = threading.RLock()
        self._passing: dict[Condition, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.entry["rows"])

    @cached_property
    def addresses_N(self) -> np.ndarray:
        """int64 ``(N,)``: what Lance calls each row."""
        return np.asarray(self._read([]).column(ADDRESS).to_numpy(), dtype=np.int64)

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, np.ndarray]:
        """Addresses in ascending order, and their rows."""
        order_N = np.argsort(self.addresses_N, kind="stable")
        return self.addresses_N[order_N], order_N

    def rows(self, addresses_R: np.ndarray) -> np.ndarray:
        """Rows by addresses."""
        ordered_N, order_N = self._ordered
        return np.asarray(order_N[np.searchsorted(ordered_N, addresses_R)])

    def rows_of_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """The row of each id that is here."""
        found: dict[str, int] = {}
        names = [name for name in ids if storable(name)]
        for start in range(0, len(names), IDS_AT_A_TIME):
            some = self._read(["id"], among("id", names[start : start + IDS_AT_A_TIME]))
            rows = self.rows(some.column(ADDRESS).to_numpy().astype(np.int64)) if some.num_rows else ()
            found.update(zip(some.column("id").to_pylist(), (int(row) for row in rows), strict=True))
        return found

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows, read anew each time."""
        table = self._read([name])
        addresses_N = np.asarray(table.column(ADDRESS).to_numpy(), dtype=np.int64)
        if np.array_equal(addresses_N, self.addresses_N):
            return table.column(name)
        return table.column(name).take(pa.array(np.argsort(self.rows(addresses_N))))

    def extras(self) -> dict[str, int]:
        """Names of extras with the number of items that have them."""
        named = pc.struct_field(pc.list_flatten(self.column("extras")), "name")
        return {str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(named).to_pylist()}

    def chosen(self, where: Sequence[Condition]) -> np.ndarray | None:
        """Bool ``(N,)``, true for rows that satisfy all conditions; ``None`` where every row does."""
        chosen_N: np.ndarray | None = None
        for condition in where:
            passes_N = self._passes(condition)
            if not passes_N.all():
                chosen_N = passes_N if chosen_N is None else chosen_N & passes_N
        return chosen_N

    def items(self, rows: np.ndarray) -> list[Item]:
        """The items of ``rows``, in their order."""
        return [
            Item(
                modality=self.modality,
                extras={pair["name"]: pair["value"] for pair in row["extras"]},
                **{name: row[name] for name in (*TEXTS, *APPEARANCE)},
            )
            for row in self._taken(rows, (*TEXTS, *APPEARANCE, "extras")).to_pylist()
        ]

    def appearance(self, rows: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height, mean colour."""
        taken = self._taken(rows, APPEARANCE)
        return np.stack([taken.column(name).to_numpy() for name in APPEARANCE], axis=1).astype(np.int32)

    def floats(self, rows: np.ndarray) -> torch.Tensor:
        """Some vectors as float32 ``(R, E)``."""
        if self._in_memory:
            return self._vectors_NE[torch.from_numpy(np.asarray(rows, dtype=np.int64))]
        return _floats(self._taken(rows, ("vector",)).column("vector"), self.width)

    def search(
        self, chosen_N: np.ndarray | None, queries_QE: torch.Tensor, offset: int, best: Best, effort: int
    ) -> None:
        """Offer the nearest of the chosen rows to ``best``, as numbers from ``offset`` on.

        The vector index is asked where there is one and that is cheaper than reading every vector that is meant; where
        it proposes too few chosen rows, for more, and in the end all are read: nothing that exists is left out.
        """
        alive = len(self) if chosen_N is None else int(np.count_nonzero(chosen_N))
        wanted, measured = min(best.k, alive), self.measured
        if not wanted:
            return
        if measured is None or not measured.used or (chosen_N is not None and alive <= FEW):
            self.scan(chosen_N, queries_QE, offset, best)
            return
        search = measured.search if not effort else _by_effort(effort, measured.search)
        fetch = math.ceil(max(search["refine"] * wanted, effort) * len(self) / alive)
        left = torch.arange(len(queries_QE))
        scores_QK = torch.full((len(queries_QE), wanted), -torch.inf)
        rows_QK = torch.full((len(queries_QE), wanted), -1)
        while len(left) and fetch * COST < len(self):
            scores_LK, rows_LK = self.near(queries_QE[left], wanted, fetch, search, chosen_N)
            enough = ~torch.isneginf(scores_LK[:, -1])
            scores_QK[left[enough]], rows_QK[left[enough]] = scores_LK[enough], rows_LK[enough]
            left, fetch = left[~enough], 4 * fetch
        if len(left):
            rest = Best(len(left), wanted)
            self.scan(chosen_N, queries_QE[left], 0, rest)
            scores_QK[left], rows_QK[left] = (torch.from_numpy(part) for part in rest.ranked())
        best.add(scores_QK, rows_QK + offset)

    def scan(self, chosen_N: np.ndarray | None, queries_QE: torch.Tensor, offset: int, best: Best) -> None:
        """Score every chosen row and offer it to ``best``."""
        if chosen_N is not None and np.count_nonzero(chosen_N) <= FEW:
            rows = np.flatnonzero(chosen_N)
            best.add(queries_QE @ self.floats(rows).T, torch.from_numpy(rows + offset)[None])
            return
        for rows_R, vectors_RE in self._tiles():
            scores_QR = queries_QE @ vectors_RE.T
            if chosen_N is not None:
                scores_QR.masked_fill_(torch.from_numpy(~chosen_N[rows_R]), -torch.inf)
            best.add(scores_QR, torch.from_numpy(rows_R + offset)[None])

    def near(
        self, queries_QE: torch.Tensor, wanted: int, fetch: int, search: Mapping[str, int], chosen_N: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact scores and rows ``(Q, wanted)`` of the best among ``fetch`` rows that the vector index proposes.

        Scores are computed from the stored vectors, and end in ``-inf`` where fewer rows are chosen. What was added
        after the build is read by Lance beside the index.
        """
        best = Best(len(queries_QE), wanted)
        step = max(1, AT_A_TIME // (fetch * self.width))
        parts = [
            self._near(queries_QE[start : start + step], wanted, fetch, search, chosen_N)
            for start in range(0, len(queries_QE), step)
        ]
        best.add(torch.cat([scores for scores, _ in parts]), torch.cat([rows for _, rows in parts]))
        scores_QK, rows_QK = best.ranked()
        return torch.from_numpy(scores_QK), torch.from_numpy(rows_QK)

    def _near(
        self, queries_QE: torch.Tensor, wanted: int, fetch: int, search: Mapping[str, int], chosen_N: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        asked = self._table.search([*queries_QE.numpy()], vector_column_name="vector").distance_type("dot").limit(fetch)
        asked = asked.select([ADDRESS, DISTANCE, "vector"]).nprobes(search["nprobes"])
        if "ef" in search:
            asked = asked.ef(max(search["ef"], fetch))
        with self._database.translated_errors():
            found = asked.to_arrow()
        scores_QK = torch.full((len(queries_QE), wanted), -torch.inf)
        rows_QK = torch.full((len(queries_QE), wanted), -1)
        vectors_FE = _floats(found.column("vector"), self.width)
        rows_F = self.rows(found.column(ADDRESS).to_numpy().astype(np.int64))
        many = "query_index" in found.column_names
        query_F = found.column("query_index").to_numpy() if many else np.zeros(len(rows_F), dtype=np.int64)
        for query in range(len(queries_QE)):
            mine_F = query_F == query if chosen_N is None else (query_F == query) & chosen_N[rows_F]
            scores_M = vectors_FE[torch.from_numpy(mine_F)] @ queries_QE[query]
            top = scores_M.topk(min(wanted, len(scores_M)))
            scores_QK[query, : len(top.values)] = top.values
            rows_QK[query, : len(top.values)] = torch.from_numpy(rows_F[mine_F])[top.indices]
        return scores_QK, rows_QK

    @property
    def _in_memory(self) -> bool:
        return len(self) < ANN_ROWS

    @cached_property
    def _vectors_NE(self) -> torch.Tensor:
        """All vectors, where they are few."""
        with self._guard:
            return _floats(self.column("vector"), self.width)

    def _tiles(self) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Rows with their vectors, all of them, some at a time."""
        if self._in_memory:
            for start in range(0, len(self), TILE_ROWS):
                stop = min(start + TILE_ROWS, len(self))
                yield np.arange(start, stop), self._vectors_NE[start:stop]
            return
        with self._database.translated_errors():
            asked = self._table.search().select([ADDRESS, "vector"]).limit(None)
            for batch in asked.to_batches(batch_size=TILE_ROWS):
                addresses_R = batch.column(ADDRESS).to_numpy().astype(np.int64)
                yield self.rows(addresses_R), _floats(batch.column("vector"), self.width)

    def _passes(self, condition: Condition) -> np.ndarray:
        """Bool ``(N,)`` of one condition, remembered for a while."""
        passes_N = self._passing.get(condition)
        if passes_N is None:
            passes_N = self._judged(condition)
            with self._guard:
                if len(self._passing) >= REMEMBERED:
                    self._passing.clear()
                self._passing[condition] = passes_N
        return passes_N

    def _judged(self, condition: Condition) -> np.ndarray:
        own = own_field(condition.column)
        if own == "modality":
            one = passing(pa.chunked_array([[self.modality]]), condition, several=False)
            return np.repeat(one, len(self))
        column = self.column(own) if own else _extra(self.column("extras"), condition.column)
        return passing(column, condition, several=own is None)

    def _read(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        return self._database.read(self._table, [*columns, ADDRESS], where)

    def _taken(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Some columns of some rows, in their order; Lance gives each once, in an order of its own."""
        wanted_R, place_R = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        asked = self._table.take_row_ids(self.addresses_N[wanted_R].tolist()).select([*columns, ADDRESS])
        with self._database.translated_errors():
            found = asked.to_arrow()
        order = np.argsort(self.rows(found.column(ADDRESS).to_numpy().astype(np.int64)))
        if len(order) != len(wanted_R):
            raise StorageError(f"{self._database.shown} lacks rows that its newest version has; open it again")
        return found.take(pa.array(order[place_R]))


@dataclass(frozen=True, eq=False)
class State:
    """A version of the index: what a search reads, whatever changes meanwhile."""

    record: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.record["version"])

    @cached_property
    def starts(self) -> np.ndarray:
        """The number of each part's first row, and one past the last row of all."""
        return np.cumsum([0, *map(len, self.parts)])

    @cached_property
    def extras(self) -> dict[str, int]:
        """Names of extras with the number of items that have them."""
        counts: dict[str, int] = {}
        for part in self.parts:
            for name, count in part.extras().items():
                counts[name] = counts.get(name, 0) + count
        return dict(sorted(counts.items()))

    def unmeasured(self) -> list[tuple[Part, int]]:
        """Parts whose vector index was not measured as it is, with the number of their first row."""
        parts = zip(self.parts, self.starts.tolist(), strict=False)
        return [(part, first) for part, first in parts if part.entry.get("built") and part.entry.get("stale")]

    def by_part(self, numbers: np.ndarray) -> list[tuple[Part, np.ndarray, np.ndarray]]:
        """Parts with the places in ``numbers`` that are theirs, and the rows these are in them."""
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.starts[-1]):
            raise UserError(f"numbers of this version are 0 to {self.starts[-1] - 1}; search again")
        at = np.searchsorted(self.starts, numbers, side="right") - 1
        return [(self.parts[n], np.flatnonzero(at == n), numbers[at == n] - self.starts[n]) for n in np.unique(at)]

    def chosen(self, where: Sequence[Condition]) -> list[np.ndarray | None]:
        """For each part the rows to look at, see :meth:`Part.chosen`."""
        if any(own_field(condition.column) is None for condition in where):
            where = resolved(where, self.extras)
        return [part.chosen(where) for part in self.parts]


def loaded(database: Database, record: Mapping[str, Any], known: Sequence[Part] = ()) -> State:
    """A version with its tables, those that are open already as they are."""
    parts = []
    for modality, entry in sorted(record["tables"].items()):
        if entry["rows"]:
            same = [part for part in known if (part.modality, part.entry) == (modality, entry)]
            parts.append(same[0] if same else Part(database, modality, entry, int(record["width"])))
    return State(record, tuple(parts))


def _by_effort(effort: int, search: Mapping[str, int]) -> dict[str, int]:
    """Parameters for a search that keeps ``effort`` rows in sight, whatever was measured."""
    return {**search, "refine": 1, "nprobes": max(1, effort // 16), **({"ef": effort} if "ef" in search else {})}


def _floats(column: pa.ChunkedArray | pa.Array, width: int) -> torch.Tensor:
    """float32 ``(R, E)`` of a column of vectors."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return torch.from_numpy(np.array(whole.flatten().to_numpy(), dtype=np.float32).reshape(-1, width))


def _extra(extras: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The values of one extra, null where an item has none."""
    whole = extras.combine_chunks()
    pairs = pc.list_flatten(whole)
    here = pc.equal(pc.struct_field(pairs, "name"), pa.scalar(name, pa.string())).to_numpy(zero_copy_only=False)
    place_N = np.full(len(whole), -1)
    place_N[pc.list_parent_indices(whole).to_numpy()[here]] = np.flatnonzero(here)
    return pa.chunked_array([pc.struct_field(pairs, "value").take(pa.array(place_N, mask=place_N < 0))])
