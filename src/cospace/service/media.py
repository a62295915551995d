"""Previews and files of the index, the page's own files, the map, the health, and what monitoring asks for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ..data.contents import digest
from ..filenames import unescaped
from ..modalities import PREVIEW_SIZES, Media, Modality, modality
from ..reading import whole
from ..stores import Condition
from ..types import UserError, attempted
from . import asking
from .engine import Engine
from .health import space_health
from .mapping import FlatMap, kept_map, sheet
from .problems import Refusal
from .ranges import in_parts
from .recent import Recent
from .routes import BINARY, TheEngine

router = APIRouter()
PAGE = Path(__file__).with_name("page")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
LARGE_SIZES = (512, 1280)
"""Previews that no index keeps: they are made from an item's own file when somebody opens it."""
KEEP = "private, max-age=31536000, immutable"
LARGE_PREVIEWS, PLAYED = 64, 4
"""Larger previews, and files that are being played, that are kept in memory."""
COPIES = 4
"""Items of equal content of which one must still have its file."""
SHEETS = 16


class Maps:
    """The map of the newest version: laid out once, kept beside the index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made: tuple[int, FlatMap] | None = None
        self._ended = threading.Event()
        self._background: threading.Thread | None = None

    def get(self) -> FlatMap:
        """The map; the first call lays it out, which takes seconds."""
        version = self._engine.snapshot().version
        with self._lock:
            if self._made is None or self._made[0] != version:
                collection = self._engine.collection.at(self._engine.snapshot(version).store)
                folder = collection.folder or collection.model_folder
                self._made = (version, kept_map(collection, folder, self._check))
            return self._made[1]

    def begin(self) -> None:
        """Lay it out in the background, so that it is there when somebody opens the map."""
        if self._background is None or not self._background.is_alive():
            self._background = threading.Thread(target=self._in_background, name="map", daemon=True)
            self._background.start()

    def close(self) -> None:
        """Stop laying out; a process that ended with this thread at work would be aborted."""
        self._ended.set()
        if self._background is not None:
            self._background.join()

    def ready(self) -> FlatMap | None:
        """The map if it is there; if not, it is laid out in the background."""
        made = self._made
        if made is not None and made[0] == self._engine.snapshot().version:
            return made[1]
        if not self._lock.locked() and not self._ended.is_set():
            self.begin()
        return None

    def _in_background(self) -> None:
        """What goes wrong here goes wrong again, and is said, where somebody asks for the map."""
        with suppress(UserError, OSError, _Ended):
            self.get()

    def _check(self) -> None:
        if self._ended.is_set():
            raise _Ended


class _Ended(Exception):
    """The service ends, and with it the drawing of its map."""


@router.get("/")
def index() -> Response:
    """The page."""
    return _page_file(PAGE / "index.html")


@router.get("/page/{name}")
def page(name: str, engine: TheEngine) -> Response:
    """A file of the page: only those that are there, and the modules that modalities bring."""
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}
    for each in engine.modalities:
        module = modality(each).page_module()
        if module is not None:
            files[f"modality-{each}.js"] = module
    if name not in files:
        raise Refusal(404, "the page has no such file")
    return _page_file(files[name])


def _page_file(path: Path) -> Response:
    return Response(whole(path), media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


@router.get("/t/{size}/{content}")
def preview(size: str, content: str, request: Request, engine: TheEngine) -> Response:
    """The preview of an item by the hash of its content, at most ``size`` pixels a side."""
    if not size.isdecimal() or int(size[:9]) not in (*PREVIEW_SIZES, *LARGE_SIZES) or not _is_hash(content):
        raise Refusal(404, "there is no such preview")
    data = engine.collection.thumbnails.get(content, int(size)) if int(size) in PREVIEW_SIZES else None
    if data is None:
        data = _larger(request.app.state.large_previews, engine, content, int(size))
    return Response(data, media_type="image/webp", headers={"Cache-Control": KEEP})


@router.get("/m/{content}")
def media(content: str, request: Request, engine: TheEngine) -> Response:
    """An item's own file by the hash of its content, as a browser shows or plays it, whole or in parts."""
    known: Recent[str, Media] = request.app.state.media
    found = known.get(content)
    if found is None:
        made = _media(engine, content, max(LARGE_SIZES)) if _is_hash(content) else None
        if made is None:
            raise Refusal(404, "the file of this item is not on this machine any more, or has changed")
        found = known.put(content, made)
    return in_parts(found.data, found.type, request.headers, content, {"Cache-Control": KEEP})


def _is_hash(content: str) -> bool:
    return len(content) == 32 and all(letter in "0123456789abcdef" for letter in content)


def _larger(known: Recent[tuple[str, int], bytes], engine: Engine, content: str, size: int) -> bytes:
    """From the file that was indexed, if its modality makes an image of that content; else what the index keeps."""
    key = (content, size)
    ready = known.get(key)
    if ready is not None:
        return ready
    made = _media(engine, content, size)
    if made is not None and made.type == "image/webp":
        return known.put(key, made.data)
    kept = engine.collection.thumbnails.get(content, max(PREVIEW_SIZES))
    if kept is None:
        raise Refusal(404, "there is no such preview")
    return known.put(key, kept)


def _media(engine: Engine, content: str, size: int) -> Media | None:
    """An item's file as its modality shows it, made anew from bytes that still have this hash."""
    for one, data in indexed_files(engine, content):
        made = attempted(lambda data, one=one: one.media(data, size), data)  # type: ignore[misc]
        if isinstance(made, Media):
            return made
    return None


def indexed_files(engine: Engine, content: str) -> Iterator[tuple[Modality, bytes]]:
    """Bytes of indexed files with this content; a file that changed since is somebody else's, and is left alone."""
    if not _is_hash(content):
        return
    store = engine.snapshot().store
    for item in store.items(store.select([Condition("@hash", "=", (content,))], most=COPIES).tolist()):
        try:
            path = Path(unescaped(item.path))
            if not item.path or not path.is_file() or path.stat().st_size > engine.limits.media:
                continue
            data = whole(path, engine.limits.media)
        except (OSError, ValueError):
            continue
        if digest([data]) == content:
            yield modality(item.modality), data


@router.get("/u/{name}")
def upload_preview(name: str, engine: TheEngine) -> Response:
    """The preview of an upload, as long as it is remembered; never the bytes that came."""
    return Response(engine.uploads.preview(name), media_type="image/webp", headers={"Cache-Control": "no-store"})


@router.get("/api/map", response_class=Response)
def the_map(request: Request) -> Response:
    """The space laid out flat."""
    return Response(request.app.state.maps.get().framed(), media_type=BINARY)


@router.get("/s/64/{number}")
def the_sheet(
    number: Annotated[int, asking.Field(ge=0, lt=100_000)],
    request: Request,
    engine: TheEngine,
    version: Annotated[asking.Version | None, Query()] = None,
) -> Response:
    """A sheet of 1,024 previews, in the order of the map."""
    flat = request.app.state.maps.get()
    key = (flat.header["version"], number)
    data = request.app.state.sheets.get(key)
    if data is None:
        data = request.app.state.sheets.put(key, sheet(engine.collection, flat, number))
    return Response(data, media_type="image/webp", headers={"Cache-Control": KEEP})


@router.get("/api/health")
async def the_health(request: Request, engine: TheEngine) -> dict[str, Any]:
    """How well the space is: figures with what they mean."""
    snapshot = await asyncio.to_thread(engine.snapshot)
    state = request.app.state
    async with state.health_lock:
        if state.health is None or state.health[0] != snapshot.version:
            collection = engine.collection.at(snapshot.store)
            state.health = (snapshot.version, await asyncio.to_thread(space_health, collection))
    return {**state.health[1], "service": state.request_metrics.latency()}


@router.get("/healthz")
def healthz(engine: TheEngine) -> Response:
    """For a supervisor: 503 and ``degraded``, with the reason, while the index cannot be read as it was opened."""
    fault = engine.versions.fault()
    if fault is None:
        return JSONResponse({"ok": True, "warm": True})
    return JSONResponse({"ok": False, "warm": True, "status": "degraded", "detail": fault}, 503)


@router.get("/metrics")
def metrics(request: Request, engine: TheEngine) -> Response:
    """Counts and times in Prometheus' text form."""
    gauges = {
        "items": float(sum(engine.snapshot().counts.values())),
        "waiting": float(engine.waiting),
        "uploads": float(len(engine.uploads)),
    }
    return Response(
        request.app.state.request_metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8"
    )


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Browsers ask for it; the page names its own."""
    return JSONResponse(None, 404)
