"""Pictures of the index, the page's own files, the map, and what watches over a service asks for."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from ..pairs import digest
from ..preprocess import BadImage, decode
from ..stores import Condition
from ..stores.thumbnails import at_size
from . import asking
from .engine import Engine
from .health import space_health
from .mapping import FlatMap, kept_map, sheet
from .problems import Refusal
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
STORED, MADE = (64, 256), (512, 1280)
"""Sizes that an index keeps, and those that are made from the picture's own file when someone looks closer."""
KEEP = "private, max-age=31536000, immutable"
LARGE_ONES = 64
"""Larger pictures that are kept ready."""
SHEETS = 16


class Maps:
    """The map of the newest version: laid out once, kept beside the index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made: tuple[int, FlatMap] | None = None

    def get(self) -> FlatMap:
        """The map; the first call lays it out, which takes seconds."""
        version = self._engine.snapshot().version
        with self._lock:
            if self._made is None or self._made[0] != version:
                collection = self._engine.collection.at(self._engine.snapshot(version).store)
                self._made = (version, kept_map(collection, collection.folder or collection.model_folder))
            return self._made[1]


@router.get("/")
def index() -> Response:
    """The page."""
    return page("index.html")


@router.get("/page/{name}")
def page(name: str) -> Response:
    """A file of the page: only those that are there."""
    path = next((path for path in PAGE.iterdir() if path.name == name and path.suffix in TYPES), None)
    if path is None:
        raise Refusal(404, "the page has no such file")
    return Response(path.read_bytes(), media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


@router.get("/t/{size}/{content}")
def thumbnail(size: str, content: str, request: Request, engine: TheEngine) -> Response:
    """A picture of the index by the hash of its content, at most ``size`` pixels a side."""
    if not size.isdecimal() or int(size[:9]) not in (*STORED, *MADE) or not _is_hash(content):
        raise Refusal(404, "there is no such picture")
    data = engine.collection.thumbnails.get(content, int(size)) if int(size) in STORED else None
    if data is None:
        data = _larger(request.app.state.album, engine, content, int(size))
    return Response(data, media_type="image/webp", headers={"Cache-Control": KEEP})


def _is_hash(content: str) -> bool:
    return len(content) == 32 and all(letter in "0123456789abcdef" for letter in content)


def _larger(album: Recent[tuple[Any, ...], bytes], engine: Engine, content: str, size: int) -> bytes:
    """From the file that was indexed, if it still has the same content; otherwise what the index keeps."""
    key = (content, size)
    ready = album.get(key)
    if ready is not None:
        return ready
    store = engine.snapshot().store
    items = store.items(store.select([Condition("hash", "=", (content,))], most=1).tolist())
    for item in items:
        try:
            data = Path(item.path).read_bytes() if item.path else b""
            if digest([data]) == content:
                return album.put(key, at_size(decode(data, at_least=size), size))
        except (OSError, ValueError, BadImage):
            continue
    kept = engine.collection.thumbnails.get(content, max(STORED))
    if kept is None:
        raise Refusal(404, "there is no such picture")
    return kept


@router.get("/u/{name}")
def uploaded(name: str, engine: TheEngine) -> Response:
    """A picture that was sent, as long as it is remembered; made anew, never the bytes that came."""
    return Response(engine.uploads.small(name), media_type="image/webp", headers={"Cache-Control": "no-store"})


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
    """A sheet of 1,024 small pictures, in the order of the map."""
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
    return {**state.health[1], "service": state.meter.latency()}


@router.get("/healthz")
def healthz() -> dict[str, bool]:
    """For whoever restarts a service that does not answer."""
    return {"ok": True, "warm": True}


@router.get("/metrics")
def metrics(request: Request, engine: TheEngine) -> Response:
    """Counts and times in Prometheus' text form."""
    gauges = {
        "items": float(sum(engine.snapshot().counts.values())),
        "waiting": float(engine.waiting),
        "uploads": float(len(engine.uploads)),
    }
    return Response(request.app.state.meter.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Browsers ask for it; the page names its own."""
    return JSONResponse(None, 404)
