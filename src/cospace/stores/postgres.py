"""The store on a PostgreSQL server with pgvector: many readers, one writer, on any number of machines.

An index is a schema, named after the ``#`` of its address. A row is never changed: it is born with one version and
dies with another, so a reader keeps the version that it opened until :meth:`PostgresIndex.refresh`. Dead rows are
removed by :meth:`PostgresIndex.finish`; a reader of an older version then no longer finds them. The one writer holds an
advisory lock from its first change until :meth:`PostgresIndex.close`. What an update that is to become visible at once
has changed is born, or dies, with a version that no reader opens, until all of it gets the next one.
``docs/postgres.md`` says how to go on when one machine is outgrown.

Search is exact until ``finish`` has linked the items of a modality by a graph; from then on the server keeps it up.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..types import StorageError, UserError
from . import Condition, Found, Item, Progress, _links, of_modality, silent
from ._blobs import PostgresThumbnails, exists, read_facts, read_model, remove, write_facts, write_model
from ._columns import OWN, own_field, resolved
from ._described import Described
from ._links import ANN_KINDS, Search, by_effort, drop_graph, make_graph, still_true, tried
from ._server import Address, Connection, Server, fetched
from ._tables import (
    ALIVE,
    ANN,
    COPIED,
    DRAFT,
    FORMAT,
    GROWING,
    KINDS,
    MADE,
    UNBORN,
    WIDEST,
    Seen,
    bring_back,
    buried,
    changed,
    clauses,
    drop_draft,
    facts_in,
    forget_fact,
    joined,
    keep_counts,
    keep_fact,
    look,
    make_items,
    make_shared,
    meta_of,
    publish_draft,
    row_of,
    stage,
    storable,
)  # fmt: skip
from ._units import check_fingerprint, check_items, replaced, sample, units
from .ann import EXACT, Ann, Measured, measure

__all__ = [
    "ANN_KINDS", "PostgresIndex", "PostgresThumbnails", "exists", "read_facts", "read_model", "remove", "shown",
    "write_facts", "write_model",
]  # fmt: skip

QUERIES = 50
"""Each is answered exactly too, which makes the server read every vector."""


class PostgresIndex(Described):
    """See the module; open one with :meth:`create` or :meth:`open`. Searches may run in several threads."""

    def __init__(self, server: Server, seen: Seen) -> None:
        self._server, self._seen = server, seen
        self._writer: Connection | None = None
        self._checkpoint: Seen | None = None
        self._update: str | None = None
        self._columns: tuple[int, dict[str, int]] | None = None
        self._ann: Ann | None = None
        self.queries = QUERIES
        """Stored vectors of each modality that are searched for in a measurement."""
        self.effort = 0
        """Items that a graph keeps in sight; a search with more finds more of the nearest, and takes longer. 0: as many
        as its measurement asks for."""

    @classmethod
    def create(cls, url: str, fingerprint: str, width: int, precision: str = "float32") -> PostgresIndex:
        """A new, empty index in a schema that has none; ``precision`` is ``float32`` or ``float16``."""
        if precision not in KINDS:
            raise UserError(f"PostgreSQL cannot store {precision!r}; choose one of {', '.join(KINDS)}")
        if not 1 <= width <= WIDEST[precision]:
            raise UserError(f"an index of {precision} holds widths from 1 to {WIDEST[precision]}, {width} was given")
        server = Server(url)
        with server.locked() as connection, server.writing(connection):
            if meta_of(connection, server) is not None:
                raise UserError(f"{server.address.shown} holds an index; name another schema, or open this one")
            make_shared(server, connection)
            make_items(server, connection, width, precision)
            row = [FORMAT, fingerprint, width, precision]
            connection.execute("INSERT INTO meta VALUES (true, %s, %s, %s, %s, 1, '{}')", row)
            keep_fact(connection, GROWING, {"process": os.getpid()})
            keep_fact(connection, MADE, {"token": uuid.uuid4().hex})
        return cls(server, server.read(partial(look, server)))

    @classmethod
    def open(cls, url: str, fingerprint: str | None = None) -> PostgresIndex:
        """Open the newest version, refusing one made by another run than ``fingerprint``."""
        server = Server(url)
        seen = server.read(partial(look, server))
        check_fingerprint(server.address.shown, seen.fingerprint, fingerprint)
        return cls(server, seen)

    @property
    def _facts(self) -> Mapping[str, Any]:
        seen = self._seen
        return {"fingerprint": seen.fingerprint, "width": seen.width, "precision": seen.precision}

    @property
    def version(self) -> int:
        """Grows with every change that this object has seen."""
        return self._seen.version

    @property
    def measured(self) -> dict[str, Measured]:
        """By modality, the recall of its vector index; nothing where every vector is read."""
        return dict(self._seen.measured)

    def choose_ann(self, written: str) -> None:
        """Choose the vector index that :meth:`finish` builds, such as ``hnsw:m=32``; the index remembers it."""
        self._ann = Ann.parse(written, ANN_KINDS)

    def __len__(self) -> int:
        return sum(self._seen.counts.values())

    def close(self) -> None:
        """Let another process write; this object can still search, with new connections."""
        self._update = None
        if self._writer is not None:
            self._server.release(self._writer)
            self._writer = None
        self._server.close()

    def refresh(self) -> bool:
        """Move to the newest version; true if there is a newer one, and numbers then mean other items."""
        before = self._seen
        self._seen = self._server.read(partial(look, self._server))
        return self._seen.version != before.version

    def check_unchanged(self) -> None:
        """Refuse an index that is gone, or replaced by another or by an older copy, since it was opened."""
        now, then = self._server.read(partial(look, self._server)), self._seen
        same = [(seen.made, seen.fingerprint, seen.width) for seen in (now, then)]
        if now.version < then.version or same[0] != same[1]:
            raise StorageError(replaced(self._server.address.shown))

    def checkpoint(self, update: str | None = None) -> None:
        """Remember the version that is there; its rows stay until :meth:`finish`."""
        connection = self._begin(update)
        self._update = update
        self._look_again(connection)
        self._checkpoint = self._seen

    @property
    def growing(self) -> bool:
        """From :meth:`create` until the first :meth:`publish`."""
        return self._seen.growing

    def publish(self) -> None:
        """Give what the update has changed the next version."""
        if self._update is not None or self.growing:
            connection = self._begin()
            self._update = None
            publish_draft(self._server, connection)
            with self._server.writing(connection):
                forget_fact(connection, GROWING)
            self._look_again(connection)

    def revert(self) -> None:
        """Bring the rows of the checkpoint back to life, and remove those born since; an update is dropped."""
        assert self._checkpoint is not None, "nothing to go back to"
        then, connection = self._checkpoint, self._begin()
        if self._update is not None:
            self._update = None
            drop_draft(self._server, connection)
        else:
            with self._server.writing(connection):
                bring_back(connection, then)
        self._look_again(connection)

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; an id that is already there is replaced, in the same step."""
        check_items(items, vectors_NE)
        units_NE = units(vectors_NE, self.width, [item.id for item in items])
        rows = [row_of(item) for item in items]
        if not items:
            return
        connection = self._begin()
        with self._server.writing(connection):
            stage(connection, rows, units_NE, KINDS[self.precision])
            dead = buried(connection, "id IN (SELECT id FROM staged)", [], self._next)
            names = ", ".join(COPIED)
            connection.execute(
                f"INSERT INTO items ({names}, born) SELECT {names}, %s FROM staged ORDER BY place", [self._next]
            )
            self._commit(connection, Counter(item.modality for item in items), dead)
        self._look_again(connection)

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""
        names = sorted({name for name in ids if storable(name)})
        connection = self._begin()
        with self._server.writing(connection):
            dead = buried(connection, "id = ANY(%s)", [names], self._next)
            if dead:
                self._commit(connection, {}, dead)
        self._look_again(connection)
        return dead.total()

    def finish(self, progress: Progress = silent) -> None:
        """Remove dead rows, and link the items of each modality that has many by a graph."""
        connection = self._begin()
        with self._server.writing(connection):
            connection.execute(f"DELETE FROM items WHERE died < {UNBORN}")  # others are seen until their update is
            connection.execute("CREATE INDEX IF NOT EXISTS extras ON items USING gin (extras jsonb_path_ops)")
        ann, measured = self._ann or Ann.parse(self._seen.ann or str(_links.DEFAULT), ANN_KINDS), self.measured
        for modality, count in sorted(self._seen.counts.items()):
            known = measured.get(modality)
            if count < _links.GRAPH_ROWS or ann.kind == EXACT:
                with self._server.writing(connection):
                    drop_graph(connection, modality)
                measured.pop(modality, None)
            elif not still_true(known, self._seen, modality, ann):
                progress(f"linking {modality}s", 0, count)
                measured[modality] = self._linked(connection, modality, ann)
                progress(f"linking {modality}s", count, count)
        with self._server.writing(connection):
            plain = {modality: found.plain() for modality, found in measured.items()}
            keep_fact(connection, ANN, {"ann": str(ann), "measured": plain})
        with self._server.translated_errors():
            connection.execute("VACUUM (ANALYZE) items")
        self._look_again(connection)

    def _linked(self, connection: Connection, modality: str, ann: Ann) -> Measured:
        """Build a vector index, and search with a sample of the vectors, exactly and by it; drop one that fails."""
        known = self.measured.get(modality)
        same = ann.kind == "hnsw" and (known is None or known.ann == str(ann))  # lists belong to what was there
        if modality not in self._seen.graphs or not same:
            with self._server.writing(connection):
                make_graph(connection, self._seen, modality, ann)
            self._look_again(connection)
        count = self._seen.counts[modality]

        def answer(queries_QE: np.ndarray, k: int, options: Mapping[str, int] | None) -> Found:
            return self._found(queries_QE, min(k, count), [of_modality(modality)], options)

        search, recall, queries = measure(self, modality, self._seen.counts, answer, tried(ann, count))
        found = Measured(str(ann), count, recall, queries, search)
        if not found.used:
            with self._server.writing(connection):
                drop_graph(connection, modality)
        return found

    def hashes(self) -> dict[str, str]:
        """The content hash of every item by id."""
        return dict(self._ask(f"SELECT id, hash FROM items WHERE {ALIVE}", self._seen.alive))

    def nearest(self, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> Found:
        """The ``k`` nearest items of each query among those that satisfy all conditions."""
        if k < 1:
            raise UserError(f"k must be 1 or more, {k} was given")
        queries_QE = np.asarray(queries_QE)
        queries_QE = units(queries_QE, self._seen.width, [f"query {row}" for row in range(len(queries_QE))])
        measured: dict[str, int] = {}
        for found in self._seen.measured.values():
            measured |= {name: max(value, measured.get(name, 0)) for name, value in found.search.items()}
        options = by_effort(self.effort) if self.effort else measured
        return self._found(queries_QE, min(k, len(self)), self._resolved(where), options)

    def _found(
        self, queries_QE: np.ndarray, k: int, where: Sequence[Condition], options: Mapping[str, int] | None
    ) -> Found:
        """What :meth:`nearest` finds with some parameters; exactly, without any."""
        seen = self._seen
        numbers_QK = np.full((len(queries_QE), k), -1, dtype=np.int64)
        scores_QK = np.full((len(queries_QE), k), -np.inf, dtype=np.float32)

        def work(connection: Connection) -> None:
            search = Search(connection, seen, where, k, options)
            for row, query_E in enumerate(queries_QE):
                scores, numbers = search.of(query_E)
                order = np.lexsort((numbers, -scores))[:k]
                scores_QK[row, : len(order)], numbers_QK[row, : len(order)] = scores[order], numbers[order]

        if k:
            self._server.read(work)
        return Found(numbers_QK, scores_QK)

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        """int64 ``(n,)``; -1 for an id that is not there."""
        names = sorted({name for name in ids if storable(name)})
        found = dict(
            self._ask(f"SELECT id, number FROM items WHERE id = ANY(%s) AND {ALIVE}", [names, *self._seen.alive])
        )
        return np.array([found.get(name, -1) for name in ids], dtype=np.int64)

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of the items that satisfy all conditions, ascending; a seeded sample where there are more."""
        text, values = clauses(self._resolved(where))
        asked = f"SELECT number FROM items WHERE {ALIVE}{text} ORDER BY number"
        numbers = np.array([number for (number,) in self._ask(asked, [*self._seen.alive, *values])], dtype=np.int64)
        return numbers if most is None else sample(numbers, most, seed)

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """What is remembered of them, in the given order."""
        rows = self._of(numbers, ", ".join([*OWN, "extras"]))
        return [Item(**dict(zip(OWN, own, strict=True)), extras=joined(extras)) for *own, extras in rows]

    def appearance(self, numbers: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height and mean colour of each."""
        return np.array(self._of(numbers, "width, height, rgb"), dtype=np.int32).reshape(-1, 3)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """float32 ``(n, width)``."""
        rows = [vector.to_numpy() for (vector,) in self._of(numbers, "embedding")]
        return np.array(rows, dtype=np.float32).reshape(-1, self.width)

    def columns(self) -> dict[str, int]:
        """Names of the extras that items have, with the number of items that have them."""
        if self._columns is None or self._columns[0] != self._seen.version:
            asked = (
                f"SELECT name, count(*) FROM items, jsonb_object_keys(extras) name WHERE {ALIVE} GROUP BY 1 ORDER BY 1"
            )
            self._columns = self._seen.version, dict(self._ask(asked, self._seen.alive))
        return dict(self._columns[1])

    def _ask(self, asked: str, values: Sequence[Any]) -> list[Any]:
        """The rows of one query."""
        return self._server.read(lambda connection: fetched(connection, asked, values))

    def _of(self, numbers: Sequence[int] | np.ndarray, columns: str) -> list[Any]:
        """Some columns of the rows of ``numbers``, in their order."""
        wanted = np.asarray(numbers, dtype=np.int64).tolist()
        asked = f"SELECT number, {columns} FROM items WHERE number = ANY(%s) AND born <= %s"
        found = {row[0]: row[1:] for row in self._ask(asked, [sorted(set(wanted)), self._seen.version])}
        missing = [number for number in wanted if number not in found]
        if missing:
            raise UserError(f"this version has no item number {missing[0]}; search again")
        return [found[number] for number in wanted]

    def _resolved(self, where: Sequence[Condition]) -> list[Condition]:
        """See :func:`resolved`; nobody counts columns where all conditions are on fields."""
        plain = any(own_field(condition.column) is None for condition in where)
        return resolved(where, self.columns() if plain else {})

    def _begin(self, update: str | None = None) -> Connection:
        """Become the writer: take the lock, catch up with the newest version.

        What an unfinished update has changed becomes visible, unless this is that update.
        """
        if self._writer is None or self._writer.closed:
            self._writer = self._server.lock()
        with self._server.translated_errors():
            draft = facts_in(self._writer, self._server, DRAFT)
            if draft and draft["update"] != (update or self._update):
                publish_draft(self._server, self._writer)
        self._look_again(self._writer)
        return self._writer

    def _look_again(self, connection: Connection) -> None:
        with self._server.translated_errors():
            seen = look(self._server, connection)
            if self._update is not None:
                draft = facts_in(connection, self._server, DRAFT)
                seen = replace(seen, version=UNBORN, counts=draft.get("counts", seen.counts))
                self._columns = None
            self._seen = seen

    @property
    def _next(self) -> int:
        """The version with which what changes now is born, or dies."""
        return self._seen.version + 1 if self._update is None else UNBORN

    def _commit(self, connection: Connection, more: Mapping[str, int], less: Mapping[str, int]) -> None:
        """The next version, or what its update has come to, with the counts after a change."""
        keep_counts(connection, changed(self._seen.counts, more, less), self._update)


def shown(url: str) -> str:
    """An address as people may see it: without the secret."""
    return Address.parse(url).shown
