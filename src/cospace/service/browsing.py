"""Looking around without a query: everything in order, the values of columns, and what belongs to an item."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ..filenames import unescaped
from ..modalities import is_text, modality
from ..stores import NUMBER, SEVERAL, Condition, Index, Item, of_modality
from ..stores.entries import of_rows, row_keys
from . import asking
from .engine import UNKNOWN
from .mapping import framed
from .media import KEEP, indexed_files
from .problems import Refusal
from .routes import BINARY, TheEngine, known_items, numbers_in, shown, tile_columns
from .snapshot import Snapshot

router = APIRouter()
MOST_FREQUENT = 10
"""Values of a column that are named."""
READ_AT_ONCE = 10_000
"""Items whose columns are read together."""
FEW_NUMBERS = 12
"""A column of numbers with no more different values than this is a choice, not a range."""
SUMMARIES = 2
"""Versions of the index whose columns are remembered."""
PAIRED = 20
"""What belongs to one item, at most."""
SAFE_TYPES = {name: f"image/{name}" for name in ("jpeg", "png", "webp", "gif", "avif")}
"""Formats that a browser shows and that hold no program; any other file is only saved."""


@router.get("/api/browse", response_class=Response)
async def browse(
    engine: TheEngine,
    offset: asking.Number = 0,
    k: Annotated[int, Query(ge=1, le=asking.LIMITS.ranks)] = 1_000,
) -> Response:
    """Everything that has a preview, in the index's order, in the columns of ``/api/rank``; texts where nothing has."""
    snapshot = await asyncio.to_thread(engine.snapshot)
    return Response(await asyncio.to_thread(_browsed, snapshot, offset, k), media_type=BINARY)


def _browsed(snapshot: Snapshot, offset: int, k: int) -> bytes:
    held = [name for name, there in snapshot.counts.items() if there]
    seen = [name for name in held if modality(name).has_preview] or held
    parts = [snapshot.store.select([of_modality(name)]) for name in seen]
    numbers = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
    rows = numbers[offset : offset + k]
    header = {"version": snapshot.version, "n": len(rows), "total": len(numbers), "offset": offset}
    nothing_N = np.zeros(len(rows))
    return framed(header, tile_columns(snapshot, rows, nothing_N, np.full(len(rows), UNKNOWN, np.uint8)))


@router.get("/api/values")
async def values(engine: TheEngine, request: Request) -> dict[str, Any]:
    """The person's own columns: their most frequent values with counts, and of columns of numbers the range."""
    snapshot = await asyncio.to_thread(engine.snapshot)
    known = request.app.state.values
    found = known.get(snapshot.version)
    if found is None:
        found = known.put(snapshot.version, await asyncio.to_thread(_columns_of, snapshot))
    return {"version": snapshot.version, "columns": found}


def _columns_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Counted over files, where the index holds any: they are what a filter is mostly for."""
    files = [name for name, there in snapshot.counts.items() if there and not is_text(name)]
    where = [Condition("@modality", "=", tuple(files))] if files else []
    numbers = snapshot.store.select(where)
    counts: dict[str, Counter[str]] = {name: Counter() for name in snapshot.columns}
    for start in range(0, len(numbers), READ_AT_ONCE):
        for item in snapshot.store.items(numbers[start : start + READ_AT_ONCE].tolist()):
            for name in counts.keys() & item.extras.keys():
                counts[name].update(value for value in item.extras[name].split(SEVERAL) if value)
    return [column_summary(name, counted) for name, counted in counts.items() if counted]


def column_summary(name: str, counted: Counter[str]) -> dict[str, Any]:
    """A column in a few words; it is one of numbers where every value is a number and there are many of them."""
    plain = all(NUMBER.fullmatch(value) for value in counted)
    is_number = plain and len(counted) > FEW_NUMBERS
    as_numbers = [float(value) for value in counted] if plain else []
    frequent = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:MOST_FREQUENT]
    return {
        "name": name,
        "kind": "number" if is_number else "text",
        "distinct": len(counted),
        "values": [{"value": value, "count": count} for value, count in frequent],
        "least": min(as_numbers) if as_numbers else None,
        "most": max(as_numbers) if as_numbers else None,
    }


@router.get("/api/paired")
def paired(engine: TheEngine, version: asking.Version, n: Annotated[str, Query(max_length=2500)]) -> dict[str, Any]:
    """For each number what stands in the same rows of the table: a picture's captions, a caption's picture."""
    snapshot = engine.snapshot(version)
    found = paired_items(snapshot.store, known_items(snapshot, numbers_in(n, 100)))
    return {"version": version, "paired": [[shown(*one) for one in others] for others in found]}


def paired_items(store: Index, items: Sequence[tuple[int, Item]]) -> list[list[tuple[int, Item]]]:
    """In the order of ``items``, the others of their rows, in the order of the table."""
    numbers = of_rows(store, {key for _, item in items for key in row_keys(item)})
    by_row: dict[tuple[str, str], dict[int, Item]] = {}
    for number, item in zip(numbers, store.items(numbers), strict=True):
        for key in row_keys(item):
            by_row.setdefault(key, {})[number] = item
    return [_others(item, by_row) for _, item in items]


def _others(item: Item, by_row: dict[tuple[str, str], dict[int, Item]]) -> list[tuple[int, Item]]:
    """Of other kinds than the item itself: a caption is not paired with the picture's other captions."""
    found: dict[int, Item] = {}
    for key in row_keys(item):
        found |= by_row.get(key, {})
    return [(other, found[other]) for other in sorted(found) if found[other].modality != item.modality][:PAIRED]


@router.get("/api/path")
def path(engine: TheEngine, request: Request, id: asking.Name) -> dict[str, str]:
    """Where the file of an item lies, for a person at this machine; a service that others reach keeps it."""
    if request.app.state.access.token is not None:
        raise Refusal(403, "paths are given on the machine itself only, not by a service that others can reach")
    snapshot = engine.snapshot()
    item = snapshot.store.items(engine.numbers(snapshot, [id]).tolist())[0]
    if not item.path:
        raise Refusal(404, "this item has no file of its own", "id")
    return {"path": unescaped(item.path)}


@router.get("/o/{content}")
def the_original(content: str, engine: TheEngine) -> Response:
    """The indexed file itself, byte for byte; one that has changed since is not given."""
    found = next(iter(indexed_files(engine, content)), None)
    if found is None:
        raise Refusal(404, "the file of this item is not on this machine any more, or has changed")
    one, data = found
    _, suffix = one.export(data)
    kind = SAFE_TYPES.get(suffix.lower())
    headers = {"Cache-Control": KEEP, "Content-Disposition": "inline" if kind else "attachment"}
    return Response(data, media_type=kind or "application/octet-stream", headers=headers)
