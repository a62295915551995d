"""What lies beside the vectors of an index in LanceDB, in tables of its own: previews, model, saved files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..files import MANIFEST, as_json, write_folder
from ..reading import opened, understood
from ..types import UserError
from ._lance_tables import FACTS, NAMED, Database, Kept, Table, among, quoted, storable
from .saved import check_name

PART = 1 << 24
"""Bytes of a model's file in one row."""
MOST_PIECES = 64
"""With more pieces of a table of previews than this they are joined, and the hashes indexed."""
INDEXED_ROWS = 10_000
HASHES = "hashes"
"""The index over the hashes of previews, and from how many rows on it is made."""
AT_A_TIME = 500
"""Hashes in one condition in SQL."""

MODEL, THUMBNAILS, SAVED = "model", "thumbnails", "saved"
REMADE = (MODEL, THUMBNAILS, FACTS)
"""Those that an index makes by itself: what people saved is theirs."""

_MODEL = pa.schema([("name", pa.string()), ("part", pa.int32()), ("bytes", pa.large_binary())])
_THUMBNAILS = pa.schema([("hash", pa.string()), ("size", pa.int32()), ("webp", pa.binary())])


class LanceThumbnails:
    """Previews by content hash, in the database of an index."""

    def __init__(self, target: str) -> None:
        self._database = Database(target)
        self._kept = Kept(self._database, THUMBNAILS, _THUMBNAILS)

    def add(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep ``(hash, size, WebP)``, all of them or none; one that is there already is replaced."""
        different = {(name, size): webp for name, size, webp in rows}
        if different:
            columns = {"hash": [name for name, _ in different], "size": [size for _, size in different]}
            table = pa.table({**columns, "webp": list(different.values())})
            _tidy(self._database, self._kept.put(table, ["hash", "size"]))

    def get(self, hash: str, size: int) -> bytes | None:
        """The preview of one size, if it is there."""
        rows = self._kept.rows(["webp"], f"hash = {quoted(hash)} AND size = {int(size)}") if storable(hash) else []
        return bytes(rows[0]["webp"]) if rows else None

    def known(self, hashes: Sequence[str]) -> set[str]:
        """Those of ``hashes`` that have a preview of any size."""
        return {row["hash"] for some in _parts(hashes) for row in self._kept.rows(["hash"], among("hash", some))}

    def hashes(self) -> set[str]:
        """All contents that have a preview."""
        return {row["hash"] for row in self._kept.rows(["hash"], "true")}

    def remove(self, hashes: Sequence[str]) -> None:
        """Forget the previews of some contents, of every size."""
        for some in _parts(hashes):
            self._kept.remove(among("hash", some))

    def close(self) -> None:
        """Nothing is held open."""


class LanceSaved:
    """Small named files that people save beside an index."""

    def __init__(self, target: str) -> None:
        self._kept = Kept(Database(target), SAVED, NAMED)

    def names(self) -> list[str]:
        """In order; none where nothing was saved."""
        return sorted(row["name"] for row in self._kept.rows(["name"]))

    def get(self, name: str) -> bytes | None:
        """What was saved under a name, or nothing."""
        rows = self._kept.rows(["content"], f"name = {quoted(check_name(name))}")
        return bytes(rows[0]["content"]) if rows else None

    def put(self, name: str, content: bytes) -> None:
        """Save, or replace, all or nothing."""
        self._kept.put(pa.table({"name": [check_name(name)], "content": [content]}), ["name"])

    def remove(self, name: str) -> bool:
        """Forget one; whether it was there."""
        there = self.get(name) is not None
        self._kept.remove(f"name = {quoted(check_name(name))}")
        return there


def _tidy(database: Database, table: Table) -> None:
    """Join small pieces of the previews once there are many, and index the hashes of many rows."""
    with database.translated_errors():
        if table.stats()["fragment_stats"]["num_fragments"] <= MOST_PIECES:
            return
        if table.count_rows() >= INDEXED_ROWS and not table.list_indices():
            from lancedb.index import BTree

            table.create_index("hash", config=BTree(), name=HASHES)
        table.optimize()


def write_facts(target: str, name: str, value: Mapping[str, Any]) -> None:
    """Keep a JSON object under a name, in place of the one that was there."""
    Kept(Database(target), FACTS, NAMED).put(pa.table({"name": [name], "content": [as_json(dict(value))]}), ["name"])


def read_facts(target: str, name: str) -> dict[str, Any]:
    """What :func:`write_facts` kept; empty where nothing was."""
    rows = Kept(Database(target), FACTS, NAMED).rows(["content"], f"name = {quoted(name)}")
    with understood(Path(Database(target).shown) / name):
        return dict(json.loads(rows[0]["content"])) if rows else {}


def write_model(target: str, folder: Path) -> None:
    """Keep the files of a model's folder, in place of those that were there."""
    database = Database(target)
    table = database.create(MODEL, _MODEL)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        for part, content in enumerate(_pieces(path)):
            row = {"name": [path.relative_to(folder).as_posix()], "part": [part], "bytes": [content]}
            with database.translated_errors():
                table.add(pa.table(row, schema=_MODEL))


def read_model(target: str, folder: Path) -> None:
    """Write the files that :func:`write_model` kept to ``folder``, whole or not at all."""
    database = Database(target)
    if MODEL not in database.names():
        raise UserError(f"{database.shown} holds no model; make an index with: cospace index")
    table = database.open(MODEL)
    names = sorted(set(database.read(table, ["name"])["name"].to_pylist()))
    write_folder(folder, {name: partial(_fetch_file, database, table, name) for name in names})


def _fetch_file(database: Database, table: Table, name: str, path: Path) -> None:
    found = database.read(table, ["part", "bytes"], f"name = {quoted(name)}").sort_by("part")
    with path.open("wb") as file:
        for content in found["bytes"]:
            file.write(content.as_buffer())


def _pieces(path: Path) -> Iterator[bytes]:
    """The content of a file, of which an empty one has one piece."""
    if not path.stat().st_size:
        yield b""
        return
    with opened(path) as file:
        yield from iter(partial(file.read, PART), b"")


def _parts(hashes: Iterable[str]) -> Iterator[list[str]]:
    """Different hashes that a column of text can hold, some at a time."""
    names = sorted({name for name in hashes if storable(name)})
    yield from (names[start : start + AT_A_TIME] for start in range(0, len(names), AT_A_TIME))
