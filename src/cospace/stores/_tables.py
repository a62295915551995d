"""The tables of a schema, and conditions in its language: every value, and every name of an extra, as a parameter."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import StorageError, UserError
from . import NUMBER, SEVERAL, Condition, Item
from ._columns import APPEARANCE, own_field
from ._server import Connection, Server, fetched, register
from ._units import check_format
from .ann import Measured

FORMAT = 2
"""As that of a folder: see ``_versions.py``."""
KINDS = {"float32": "vector", "float16": "halfvec"}
"""Column types by the precision of an index."""
WIDEST = {"float32": 2000, "float16": 4000}
"""Widths that pgvector can link by a graph."""
INLINE = 4000
"""Vectors of at most so many bytes lie in the row itself; longer ones beside the table, where a scan is slower."""
PGVECTOR = (0, 8)
"""The first version that goes on looking in a graph when conditions refuse what it proposes."""

COPIED = ("id", "modality", "path", "text", "hash", "width", "height", "rgb", "extras", "embedding")
"""Columns of an item, in the order of :func:`row_of`, and its vector."""

SHARED = """
CREATE TABLE IF NOT EXISTS model (name text, part int, bytes bytea NOT NULL, PRIMARY KEY (name, part));
CREATE TABLE IF NOT EXISTS thumbnails (hash text, size int, webp bytea NOT NULL, PRIMARY KEY (hash, size));
ALTER TABLE thumbnails ALTER COLUMN webp SET STORAGE EXTERNAL;
"""
ITEMS = """
CREATE TABLE meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), format int NOT NULL, fingerprint text NOT NULL,
    width int NOT NULL, precision text NOT NULL, version bigint NOT NULL, counts jsonb NOT NULL);
CREATE TABLE items (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL, modality text NOT NULL,
    path text NOT NULL, text text NOT NULL, hash text NOT NULL, width int NOT NULL, height int NOT NULL,
    rgb int NOT NULL, extras jsonb NOT NULL, embedding {kind}({width}) NOT NULL,
    born bigint NOT NULL, died bigint, UNIQUE (id, born));
ALTER TABLE items ALTER COLUMN embedding SET STORAGE {storage};
"""
ALIVE = "born <= %s AND (died IS NULL OR died > %s)"
"""Of a version, given twice: a row is never changed, it is born with one version and dies with another."""

UNBORN = 1 << 62
"""The version with which what belongs to an unfinished update is born, or dies; readers open smaller ones."""
GROWING = "growing"
"""The fact that an index was made and its first update not finished: it has one until then."""
MADE = "made"
"""The fact that distinguishes an index from others at the same address."""
DRAFT = "draft"
"""The fact that names the unfinished update, with the counts of items that it has come to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store object knows of the version it reads."""

    fingerprint: str
    width: int
    precision: str
    version: int
    counts: dict[str, int]
    graphs: frozenset[str]
    ann: str
    measured: dict[str, Measured]
    growing: bool
    made: str
    """What this index alone has; nothing in one of before."""

    @property
    def alive(self) -> list[int]:
        """Parameters of :data:`ALIVE`."""
        return [self.version, self.version]


def make_shared(server: Server, connection: Connection) -> None:
    """The schema and the tables that need no width, where they are missing."""
    from psycopg import sql

    named = server.address.schema
    if connection.execute("SELECT to_regnamespace(%s)", [named]).fetchone()[0] is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(named)))
    if connection.execute("SELECT to_regclass(%s)", [f"{named}.thumbnails"]).fetchone()[0] is None:
        connection.execute(SHARED)


def make_items(server: Server, connection: Connection, width: int, precision: str) -> None:
    """The tables of vectors, and the extension that they need."""
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    register(connection, server.address.schema)
    (version,) = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if tuple(int(part) for part in version.split(".")[:2]) < PGVECTOR:
        raise UserError(f"{server.address.shown} has pgvector {version}; 0.8 or newer is needed")
    size = width * (4 if precision == "float32" else 2)
    storage = "PLAIN" if size <= INLINE else "EXTERNAL"
    connection.execute(ITEMS.format(kind=KINDS[precision], width=int(width), storage=storage))


def meta_of(connection: Connection, server: Server) -> Any:
    """The one row of a schema's ``meta``; none where there is no index."""
    named = f"{server.address.schema}.meta"
    if connection.execute("SELECT to_regclass(%s)", [named]).fetchone()[0] is None:
        return None
    asked = 'SELECT format, fingerprint, width, "precision", version, counts FROM meta'
    return connection.execute(asked).fetchone()


def look(server: Server, connection: Connection) -> Seen:
    """The newest version; refuses a schema without an index."""
    row = meta_of(connection, server)
    if row is None:
        raise StorageError(
            f"{server.address.shown} is not an index; make one with: cospace index RUN INPUT --out ADDRESS"
        )
    check_format(server.address.shown, row[0], FORMAT)
    asked = """SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass(%s) AND i.indisvalid"""
    names = {name for (name,) in fetched(connection, asked, [f"{server.address.schema}.items"])}
    graphs = frozenset(modality for modality in row[5] if graph_of(modality) in names)
    _, fingerprint, width, precision, version, counts = row
    kept = facts_in(connection, server, ANN)
    measured = {name: Measured.from_plain(found) for name, found in kept.get("measured", {}).items() if name in counts}
    growing, made = bool(facts_in(connection, server, GROWING)), facts_in(connection, server, MADE).get("token", "")
    return Seen(fingerprint, width, precision, version, counts, graphs, kept.get("ann", ""), measured, growing, made)


FACTS = "CREATE TABLE IF NOT EXISTS facts (name text PRIMARY KEY, value jsonb NOT NULL)"
ANN = "ann"
"""The fact that says which vector indexes are built, and what was measured of them."""


def facts_in(connection: Connection, server: Server, name: str) -> dict[str, Any]:
    """A JSON object that a schema keeps under a name; empty where there is none."""
    if fetched(connection, "SELECT to_regclass(%s)", [f"{server.address.schema}.facts"])[0][0] is None:
        return {}
    rows = fetched(connection, "SELECT value FROM facts WHERE name = %s", [name])
    return dict(rows[0][0]) if rows else {}


def keep_fact(connection: Connection, name: str, value: Mapping[str, Any]) -> None:
    """Keep a JSON object under a name, in place of the one that was there."""
    from psycopg.types.json import Jsonb

    connection.execute(FACTS)
    insert = "INSERT INTO facts VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    connection.execute(insert, [name, Jsonb(dict(value))])


def forget_fact(connection: Connection, name: str) -> None:
    """Keep nothing under a name; there is a table of facts, as in every index that has any."""
    connection.execute(FACTS)
    connection.execute("DELETE FROM facts WHERE name = %s", [name])


def graph_of(modality: str) -> str:
    """The name of the index that links the items of a modality."""
    return f"graph_{hashlib.blake2b(modality.encode(), digest_size=8).hexdigest()}"


def admitted(modalities: Sequence[str], where: Sequence[Condition]) -> tuple[list[str], list[Condition]]:
    """The modalities that conditions on the modality allow, and the other conditions."""
    mine = [condition for condition in where if condition.column == "@modality" and condition.relation in ("=", "!=")]
    allowed = [name for name in modalities if all((name in each.values) == (each.relation == "=") for each in mine)]
    return allowed, [condition for condition in where if condition not in mine]


def clauses(where: Sequence[Condition]) -> tuple[str, list[Any]]:
    """``AND ...`` for every condition, and the parameters."""
    parts = [_clause(condition) for condition in where]
    return "".join(f" AND ({text})" for text, _ in parts), [value for _, values in parts for value in values]


def _clause(condition: Condition) -> tuple[str, list[Any]]:
    from psycopg.types.json import Jsonb

    own = own_field(condition.column)
    name = own or condition.column
    column = "(extras ->> %s)" if own is None else f"{name}::text" if name in APPEARANCE else name
    key: list[Any] = [] if own else [name]
    values = [value for value in condition.values if storable(value)]
    if condition.relation in (">=", "<="):
        compared = f"CASE WHEN {column} ~ %s THEN ({column})::numeric {condition.relation} %s::numeric ELSE false END"
        return compared, [*key, f"^({NUMBER.pattern})$", *key, condition.values[0]]
    if own or not values:
        text, parameters = f"{column} = ANY(%s)", [*key, values]
    else:  # Containment can use the index over extras, equality of what is taken out of them cannot.
        text = " OR ".join(["extras @> %s OR extras @> %s"] * len(values))
        parameters = [Jsonb({name: one}) for value in values for one in (value, [value])]
    return (f"({text}) IS NOT TRUE" if condition.relation == "!=" else text), parameters


def storable(text: str) -> bool:
    """True of what a column of text can hold: Unicode without NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def changed(counts: Mapping[str, int], more: Mapping[str, int], less: Mapping[str, int]) -> dict[str, int]:
    """Items by modality after some came and some went."""
    names = sorted({*counts, *more})
    after = {name: counts.get(name, 0) + more.get(name, 0) - less.get(name, 0) for name in names}
    return {name: count for name, count in after.items() if count}


def row_of(item: Item) -> list[Any]:
    """What is stored of an item, refused where PostgreSQL cannot hold it."""
    from psycopg.types.json import Jsonb

    texts = [item.id, item.modality, item.path, item.text, item.hash]
    for text in [*texts, *item.extras, *item.extras.values()]:
        if not storable(text):
            raise UserError(f"{text!r} is not valid Unicode or holds a NUL; rename that file or mend that text")
    return [
        *texts,
        item.width,
        item.height,
        item.rgb,
        Jsonb({name: _parted(value) for name, value in item.extras.items()}),
    ]


def _parted(value: str) -> str | list[str]:
    """Several values as a list, which is what an index over columns of JSON can find one of."""
    return value.split(SEVERAL) if SEVERAL in value else value


def joined(extras: Mapping[str, Any]) -> dict[str, str]:
    """The extras of an item as :func:`row_of` was given them."""
    return {name: SEVERAL.join(value) if isinstance(value, list) else value for name, value in extras.items()}


def stage(connection: Connection, rows: Sequence[list[Any]], units_NE: np.ndarray, kind: str) -> None:
    """Copy rows into a table that ends with the transaction."""
    from pgvector import HalfVector, Vector

    like = f"SELECT number AS place, {', '.join(COPIED)} FROM items"
    connection.execute(f"CREATE TEMP TABLE staged ON COMMIT DROP AS {like} WITH NO DATA")
    wrap = Vector if kind == "vector" else HalfVector
    with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", *["text"] * 5, *["int4"] * 3, "jsonb", kind])
        for place, (row, unit_E) in enumerate(zip(rows, units_NE, strict=True)):
            copy.write_row([place, *row, wrap(unit_E)])
    connection.execute("ANALYZE staged")


def buried(connection: Connection, which: str, values: Sequence[Any], version: int) -> Counter[str]:
    """Let living rows die with a version, and those that nobody has seen yet go; how many of each modality."""
    alive = f"{which} AND died IS NULL RETURNING modality"
    gone = connection.execute(f"DELETE FROM items WHERE born = {UNBORN} AND {alive}", values).fetchall()
    dead = connection.execute(f"UPDATE items SET died = %s WHERE {alive}", [version, *values]).fetchall()
    return Counter(name for (name,) in [*gone, *dead])


def keep_counts(connection: Connection, counts: Mapping[str, int], update: str | None) -> None:
    """The next version has these counts; or an update of this name has come to them."""
    from psycopg.types.json import Jsonb

    if update is not None:
        keep_fact(connection, DRAFT, {"update": update, "counts": counts})
    else:
        connection.execute("UPDATE meta SET version = version + 1, counts = %s", [Jsonb(counts)])


def bring_back(connection: Connection, then: Seen) -> None:
    """Make what lived at a version the next one."""
    connection.execute("DELETE FROM items WHERE born > %s", [then.version])
    connection.execute("UPDATE items SET died = NULL WHERE died > %s", [then.version])
    keep_counts(connection, then.counts, None)


def publish_draft(server: Server, connection: Connection) -> None:
    """Make what an unfinished update has changed the next version; nothing where there is none."""
    from psycopg.types.json import Jsonb

    draft = facts_in(connection, server, DRAFT)
    if draft:
        with server.writing(connection):
            (version,) = connection.execute("UPDATE meta SET version = version + 1 RETURNING version").fetchone()
            connection.execute("UPDATE items SET born = %s WHERE born = %s", [version, UNBORN])
            connection.execute("UPDATE items SET died = %s WHERE died = %s", [version, UNBORN])
            connection.execute("UPDATE meta SET counts = %s", [Jsonb(draft["counts"])])
            forget_fact(connection, DRAFT)


def drop_draft(server: Server, connection: Connection) -> None:
    """Take back what an unfinished update has changed."""
    if facts_in(connection, server, DRAFT):
        with server.writing(connection):
            connection.execute("DELETE FROM items WHERE born = %s", [UNBORN])
            connection.execute("UPDATE items SET died = NULL WHERE died = %s", [UNBORN])
            forget_fact(connection, DRAFT)
