"""Nearest neighbours on the server: by the vector index of a modality, exactly where few items are meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..types import UserError
from . import Condition
from ._server import Connection, fetched, library
from ._tables import ALIVE, KINDS, Seen, admitted, clauses, graph_of
from .ann import EXACT, Ann, Measured, Options

GRAPH_ROWS = 20_000
"""From so many items of a modality on they get a vector index: reading fewer takes the server some 20 ms."""
FEW = 10_000
"""Where no more items satisfy the conditions, they are all read instead of asking the vector index."""
MOST_EFFORT = 1000
"""Items kept in sight that pgvector allows."""
VISITED = 20_000
"""Items that a search with conditions may look at before all are read, at least; pgvector's own default."""
MEMORY_MB = 2048
"""The most that building a graph asks the server for; what does not fit is built far more slowly."""
LINK_BYTES = 400
"""What a row of a graph takes beside its vector."""
LIST_ROWS = 1000
"""Items of a list where no number of lists is asked for."""
EFFORT = 100
"""Items that a graph keeps in sight where nothing was measured."""
EFFORTS = (50, 100, 200, 400, 800, MOST_EFFORT)
"""The same, tried after a build."""
SHARES = (32, 16, 8, 4, 2, 1)
"""One list of so many is read: tried after a build."""

GROWN = 1.5
"""A vector index is measured anew when there are so many times the items of the last measurement."""

ANN_KINDS: dict[str, Options] = {
    EXACT: {},
    "hnsw": {"m": (2, 100), "ef_construction": (4, 1000)},
    "ivfflat": {"lists": (1, 32_768)},
}
"""Kinds of pgvector's indexes with their options."""
DEFAULT = Ann("hnsw")

SearchOptions = Mapping[str, int]
"""``ef_search`` of graphs and ``probes`` of lists; what is missing is pgvector's own choice."""


class Search:
    """A search for several queries in one transaction, under the same conditions; exact without ``options``."""

    def __init__(
        self, connection: Connection, seen: Seen, where: Sequence[Condition], k: int, options: SearchOptions | None
    ) -> None:
        from pgvector import HalfVector, Vector

        self._connection, self._seen, self._k = connection, seen, k
        self._exact, self._kind = Vector, Vector if KINDS[seen.precision] == "vector" else HalfVector
        modalities, rest = admitted(sorted(seen.counts), where)
        text, values = clauses(rest)
        # A single modality has to stand there as one value: then the server sees that its graph may be used.
        self._from = f"FROM items WHERE modality = %s AND {ALIVE}{text}"
        self._values = {modality: [modality, *seen.alive, *values] for modality in modalities}
        self._by_graph = {name: options is not None and self._suits_graph(name, bool(rest)) for name in modalities}
        for name, value in _settings(options or {}, k).items():
            connection.execute("SELECT set_config(%s, %s, true)", [name, str(value)])

    def of(self, query_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of the ``k`` nearest of each modality, in no order."""
        rows: list[Any] = []
        for modality, by_graph in self._by_graph.items():
            found = self._rows(modality, query_E, by_graph)
            if by_graph and len(found) < min(self._k, self._seen.counts[modality]):
                found = self._rows(modality, query_E, by_graph=False)
            rows += found
        numbers = np.array([number for number, _ in rows], dtype=np.int64)
        return np.array([score for _, score in rows], dtype=np.float32).clip(-1, 1), numbers

    def _rows(self, modality: str, query_E: np.ndarray, by_graph: bool) -> list[Any]:
        """Numbers and scores; the scores come from the stored vectors and the query as it is."""
        score, values = "-(embedding::vector <#> %s)", self._values[modality]
        if by_graph:
            asked = f"SELECT number, {score} {self._from} ORDER BY embedding <#> %s LIMIT %s"
            return fetched(self._connection, asked, [self._exact(query_E), *values, self._kind(query_E), self._k])
        # Ordered by the score and not by the distance, which no graph is of: every item is looked at.
        asked = f"SELECT number, {score} AS score {self._from} ORDER BY score DESC LIMIT %s"
        return fetched(self._connection, asked, [self._exact(query_E), *values, self._k])

    def _suits_graph(self, modality: str, conditions: bool) -> bool:
        if modality not in self._seen.graphs or not conditions:
            return modality in self._seen.graphs
        asked = f"SELECT count(*) FROM (SELECT 1 {self._from} LIMIT {FEW + 1}) counted"
        return bool(fetched(self._connection, asked, self._values[modality])[0][0] > FEW)


def _settings(options: SearchOptions, k: int) -> dict[str, object]:
    """Of the server, for one transaction."""
    settings: dict[str, object] = {
        "hnsw.ef_search": min(max(options.get("ef_search", EFFORT), k), MOST_EFFORT),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": max(VISITED, 4 * k),
    }
    if "probes" in options:
        settings |= {"ivfflat.probes": options["probes"], "ivfflat.iterative_scan": "relaxed_order"}
    return settings


def by_effort(effort: int) -> dict[str, int]:
    """Parameters for a search that keeps ``effort`` items in sight, whatever was measured."""
    return {"ef_search": effort, "probes": max(1, effort // 16)}


def tried(ann: Ann, rows: int) -> Iterator[dict[str, int]]:
    """Parameters of a search, the cheapest first."""
    if ann.kind == "hnsw":
        yield from ({"ef_search": effort} for effort in EFFORTS)
        return
    last = 0
    for share in SHARES:
        probes = -(-lists(ann, rows) // share)
        if probes != last:
            yield {"probes": probes}
        last = probes


def lists(ann: Ann, rows: int) -> int:
    """How many lists an ``ivfflat`` of ``rows`` items has."""
    return ann.options.get("lists") or max(1, round(rows / LIST_ROWS))


def make_graph(connection: Connection, seen: Seen, modality: str, ann: Ann) -> None:
    """Build the vector index of a modality in place of one that it has, with as much memory as the server gives."""
    from psycopg import sql

    rows, kind = seen.counts[modality], KINDS[seen.precision]
    (given,) = connection.execute(
        "SELECT setting::bigint / 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'"
    ).fetchone()
    wanted = min(MEMORY_MB, 1 + rows * (4 * seen.width + LINK_BYTES) // (1 << 20))
    connection.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{max(given, wanted)}MB"])
    options = {"lists": lists(ann, rows)} if ann.kind == "ivfflat" else ann.options
    # A definition takes no parameters; this quotes them.
    make = sql.SQL("CREATE INDEX {} ON items USING {} (embedding {}) {} WHERE modality = {}").format(
        sql.Identifier(graph_of(modality)), sql.Identifier(ann.kind), sql.Identifier(f"{kind}_ip_ops"),
        sql.SQL(f"WITH ({', '.join(f'{k} = {int(v)}' for k, v in options.items())})" if options else ""),
        sql.Literal(modality),
    )  # fmt: skip
    drop_graph(connection, modality)
    psycopg = library()
    try:
        with connection.transaction():
            connection.execute(make)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
        # Several workers share that memory through /dev/shm, which in a container is often small; one does not.
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        connection.execute(make)
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.ProgramLimitExceeded) as error:
        words = str(error).strip().partition("\n")[0]
        raise UserError(f"{ann} cannot be built: {words}") from None


def drop_graph(connection: Connection, modality: str) -> None:
    """Remove the vector index of a modality, if it has one."""
    from psycopg import sql

    connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(graph_of(modality))))


def still_true(known: Measured | None, seen: Seen, modality: str, ann: Ann) -> bool:
    """Whether a measurement is of the vector index that is asked for, and of nearly as many items."""
    if known is None or known.ann != str(ann) or seen.counts[modality] >= GROWN * known.rows:
        return False
    return not known.used or modality in seen.graphs
