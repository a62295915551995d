"""Nearest neighbours on the server: by a graph (HNSW) where a modality has one, exactly where few items are meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import Condition
from ._server import Connection, fetched, library
from ._tables import ALIVE, KINDS, Seen, admitted, clauses, graph_of

GRAPH_ROWS = 20_000
"""From so many items of a modality on they are linked by a graph: reading fewer takes the server some 20 ms."""
FEW = 10_000
"""Where no more items satisfy the conditions, they are all read instead of asking the graph."""
MOST_EFFORT = 1000
"""Items kept in sight that pgvector allows."""
VISITED = 20_000
"""Items that a search with conditions may look at before all are read, at least; pgvector's own default."""
MEMORY_MB = 2048
"""The most that building a graph asks the server for; what does not fit is built far more slowly."""
LINK_BYTES = 400
"""What a row of a graph takes beside its vector."""


class Search:
    """A search for several queries in one transaction, under the same conditions."""

    def __init__(self, connection: Connection, seen: Seen, where: Sequence[Condition], k: int, effort: int) -> None:
        from pgvector import HalfVector, Vector

        self._connection, self._seen, self._k = connection, seen, k
        self._exact, self._kind = Vector, Vector if KINDS[seen.precision] == "vector" else HalfVector
        modalities, rest = admitted(sorted(seen.counts), where)
        text, values = clauses(rest)
        # A single modality has to stand there as one value: then the server sees that its graph may be used.
        self._from = f"FROM items WHERE modality = %s AND {ALIVE}{text}"
        self._values = {modality: [modality, *seen.alive, *values] for modality in modalities}
        self._by_graph = {modality: self._suits_graph(modality, bool(rest)) for modality in modalities}
        settings = {
            "hnsw.ef_search": min(max(effort, k), MOST_EFFORT),
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": max(VISITED, 4 * k),
        }
        for name, value in settings.items():
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


def make_graph(connection: Connection, modality: str, width: int, rows: int, kind: str) -> None:
    """Link the items of a modality, with as much memory as that takes where the server gives it."""
    from psycopg import sql

    (given,) = connection.execute(
        "SELECT setting::bigint / 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'"
    ).fetchone()
    wanted = min(MEMORY_MB, 1 + rows * (4 * width + LINK_BYTES) // (1 << 20))
    connection.execute("SELECT set_config('maintenance_work_mem', %s, true)", [f"{max(given, wanted)}MB"])
    # A definition takes no parameters; this quotes them.
    make = sql.SQL("CREATE INDEX {} ON items USING hnsw (embedding {}) WHERE modality = {}").format(
        sql.Identifier(graph_of(modality)), sql.Identifier(f"{kind}_ip_ops"), sql.Literal(modality)
    )
    psycopg = library()
    try:
        with connection.transaction():
            connection.execute(make)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
        # Several workers share that memory through /dev/shm, which in a container is often small; one does not.
        connection.execute("SET LOCAL max_parallel_maintenance_workers = 0")
        connection.execute(make)
