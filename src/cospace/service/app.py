"""The application: the interface and the page, behind the middleware that checks every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from .. import __version__
from ..commands.search import SearchableIndex
from . import media, problems, routes
from .access import Access, AccessMiddleware
from .engine import Engine
from .fetching import Fetcher
from .limits import Limits
from .recent import Recent
from .request_metrics import RequestMetrics
from .uploads import upload_types


def create_app(
    collection: SearchableIndex, access: Access | None = None, limits: Limits | None = None, fetch: bool = False
) -> ASGIApp:
    """An ASGI application for an open index; its models are warm when this returns.

    ``fetch`` lets queries name items by address. The interface describes itself under ``/openapi.json``.
    """
    access, limits = access or Access(), limits or Limits()
    engine = Engine(collection, limits)
    engine.warm()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(engine.close)

    app = FastAPI(
        title="cospace", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=life
    )
    app.state.engine, app.state.access = engine, access
    app.state.fetcher = Fetcher(limits.upload, tuple(upload_types(engine.modalities))) if fetch else None
    app.state.request_metrics, app.state.maps = RequestMetrics(), media.Maps(engine)
    app.state.health, app.state.health_lock = None, asyncio.Lock()
    app.state.large_previews, app.state.media = Recent(media.LARGE_PREVIEWS), Recent(media.PLAYED)
    app.state.sheets = Recent(media.SHEETS)
    problems.install(app)
    app.include_router(routes.router)
    app.include_router(media.router)
    return AccessMiddleware(app, access, limits, app.state.request_metrics)
