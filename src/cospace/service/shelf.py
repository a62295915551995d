"""The shelf: items that people put aside, with notes, kept beside the index, and taken along as a list, csv or zip.

``shelf.jsonl`` has a line for everything that was put there, changed or taken away; the last line about an item holds.
Nothing of the index is changed, so that a shelf outlives indexing again: it names items by their ids.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, Strict

from ..filenames import unescaped
from ..modalities import PREVIEW_SIZES, is_text, modality, text_modality
from ..reading import lines, read_text
from ..stores import Item
from . import asking
from .browsing import paired_items
from .engine import Engine
from .media import indexed_files
from .problems import Refusal, writing
from .routes import TheEngine, shown

router = APIRouter(prefix="/api/shelf")
FILE = "shelf.jsonl"
MOST = 1_000
"""Items on the shelf."""
ARCHIVE = 256_000_000
"""Bytes of files in one archive: it is made in memory."""
NOTE = 2_000
"""Letters of a note."""


class Shelved(asking.Form):
    """Items to put on the shelf or take off it; with ``note``, what to write beside them."""

    ids: Annotated[list[asking.Name], Field(min_length=1, max_length=MOST)]
    kept: Annotated[bool, Strict()] = True
    note: Annotated[asking.Words, Field(max_length=NOTE)] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One item on the shelf: its number in the newest version of the index, what is known of it, and its note."""

    number: int
    item: Item
    note: str


class Shelf:
    """What lies beside one index; threads may share one object."""

    def __init__(self, engine: Engine) -> None:
        collection = engine.collection
        self._engine = engine
        self._path = (collection.folder or collection.model_folder) / FILE
        self._lock = threading.Lock()

    def notes(self) -> dict[str, str]:
        """Ids with their notes, in the order in which they were put there."""
        found: dict[str, str] = {}
        for row in self._rows():
            name = str(row.get("id", ""))
            if row.get("kept"):
                found[name] = str(row["note"]) if row.get("note") is not None else found.get(name, "")
            else:
                found.pop(name, None)
        return found

    def change(self, asked: Shelved) -> dict[str, str]:
        """Keep a change, durably, and give what the shelf holds then."""
        with self._lock:
            known = self.notes()
            if asked.kept and len(known.keys() | set(asked.ids)) > MOST:
                raise Refusal(409, f"the shelf is full: it holds at most {MOST:,} items; take some off first", "ids")
            at = round(time.time())
            rows = [{"id": name, "kept": asked.kept, "note": asked.note, "at": at} for name in asked.ids]
            cut = self._path.is_file() and not read_text(self._path).endswith("\n")  # the end of a line, by a crash
            with writing("the shelf cannot be kept"), self._path.open("a", encoding="utf-8") as file:
                file.write("\n" * cut + "".join(json.dumps(row) + "\n" for row in rows))
            return self.notes()

    def items(self) -> tuple[list[Kept], list[str]]:
        """What is on the shelf, and the ids that are in the index no more."""
        notes = self.notes()
        store = self._engine.snapshot().store
        numbers = store.numbers(list(notes)).tolist()
        there = [(number, name) for number, name in zip(numbers, notes, strict=True) if number >= 0]
        items = store.items([number for number, _ in there])
        kept = [Kept(number, item, notes[name]) for (number, name), item in zip(there, items, strict=True)]
        return kept, [name for number, name in zip(numbers, notes, strict=True) if number < 0]

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Lines that can be read; one that was cut short by a crash is none."""
        if not self._path.is_file():
            return
        for line in lines(read_text(self._path)):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def the_shelf(request: Request) -> Shelf:
    """The one shelf of the application."""
    shelf: Shelf = request.app.state.shelf
    return shelf


@router.get("")
def shelf(request: Request) -> dict[str, Any]:
    """What is on the shelf, with notes; ``gone`` are ids that the index holds no more."""
    kept, gone = the_shelf(request).items()
    return {"items": [shown(one.number, one.item) | {"note": one.note} for one in kept], "gone": gone}


@router.post("")
async def change(asked: Shelved, request: Request, engine: TheEngine) -> dict[str, int]:
    """Put items on the shelf, take them off, or note something beside them."""
    if asked.kept:
        engine.numbers(await asyncio.to_thread(engine.snapshot), asked.ids)
    return {"count": len(await asyncio.to_thread(the_shelf(request).change, asked))}


@router.get("/export", response_class=Response)
def export(request: Request, engine: TheEngine, form: Literal["list", "csv", "zip"] = "list") -> Response:
    """The shelf as a file: names, pairs that ``cospace train`` takes, or both with the files themselves."""
    kept, _ = the_shelf(request).items()
    if not kept:
        raise Refusal(404, "the shelf is empty")
    local = request.app.state.access.token is None
    if form == "list":
        listed = [(unescaped(one.item.path) if local else _name(one.item)) or one.item.text for one in kept]
        return _attached("\n".join(listed).encode(errors="replace") + b"\n", "shelf.txt", "text/plain; charset=utf-8")
    if form == "csv":
        named = {one.number: unescaped(one.item.path) if local else _name(one.item) for one in kept}
        return _attached(pairs_table(engine, kept, named), "shelf.csv", "text/csv; charset=utf-8")
    return _attached(_archive(engine, kept), "shelf.zip", "application/zip")


def _attached(data: bytes, name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(data, media_type=kind, headers=headers)


def _name(item: Item) -> str:
    """The name of an item's file, without its folder."""
    return PurePosixPath(unescaped(item.path).replace("\\", "/")).name


def pairs_table(engine: Engine, kept: Sequence[Kept], named: dict[int, str]) -> bytes:
    """A csv of pairs: a column of file names for each modality, ``text``, and ``note``; a row for every caption.

    ``named`` gives the file name of an item by its number; an item without one has no row.
    """
    snapshot = engine.snapshot()
    files = [one for one in kept if named.get(one.number)]
    columns = sorted({one.item.modality for one in files}) or ["image"]
    rows = []
    paired = paired_items(snapshot.store, [(one.number, one.item) for one in files])
    for one, others in zip(files, paired, strict=True):
        own = [other.text for _, other in others if is_text(other.modality)]
        texts = dict.fromkeys(filter(None, [one.item.text, *own]))
        shared = {one.item.modality: named[one.number], "note": one.note}
        rows += [shared | {text_modality(): text} for text in texts]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*columns, text_modality(), "note"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode(errors="replace")


def _archive(engine: Engine, kept: Sequence[Kept]) -> bytes:
    """A zip of the files as they were indexed, a preview where one is gone, with ``pairs.csv`` that names them.

    ``left_out.txt`` names the items that have neither; texts are in ``texts.txt``.
    """
    buffer = io.BytesIO()
    named: dict[int, str] = {}
    gone: list[str] = []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for one in kept:
            found = _content(engine, one.item)
            if found is None:
                gone += [] if is_text(one.item.modality) else [one.item.id]
                continue
            data, suffix = found
            if buffer.tell() + len(data) > ARCHIVE:
                raise Refusal(
                    413, f"the files on the shelf have more than {ARCHIVE // 1_000_000} MB; export the list or the csv"
                )
            named[one.number] = f"files/{len(named) + 1:04d}-{PurePosixPath(_name(one.item)).stem[:80]}.{suffix}"
            archive.writestr(named[one.number], data)
        archive.writestr("pairs.csv", pairs_table(engine, kept, named), zipfile.ZIP_DEFLATED)
        texts = [one.item.text for one in kept if is_text(one.item.modality)]
        if texts:
            archive.writestr("texts.txt", "\n".join(texts) + "\n", zipfile.ZIP_DEFLATED)
        if gone:
            archive.writestr("left_out.txt", "".join(f"{name}: neither file nor preview\n" for name in gone))
    return buffer.getvalue()


def _content(engine: Engine, item: Item) -> tuple[bytes, str] | None:
    """An item's bytes and their suffix: its file's, or else its largest preview's."""
    found = next(iter(indexed_files(engine, item.hash)), None)
    if found is not None:
        return found[0].export(found[1])
    preview = engine.collection.thumbnails.get(item.hash, max(PREVIEW_SIZES))
    return None if preview is None or not modality(item.modality).has_preview else (preview, "webp")
