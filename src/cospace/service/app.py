"""The application: the interface and the page, behind the middleware that checks every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from .. import __version__
from ..commands.search import SearchableIndex
from . import browsing, classes, describing, groups, heat, media, openai, problems, questions, routes, shelf
from .access import Access, AccessMiddleware
from .admission import Guesses
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
        app.state.maps.begin()
        yield
        await asyncio.to_thread(app.state.maps.close)
        await asyncio.to_thread(engine.close)

    app = describing.DescribedApp(
        title="cospace", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=life,
        generate_unique_id_function=_operation,
    )  # fmt: skip
    app.state.engine, app.state.access = engine, access
    app.state.fetcher = Fetcher(limits.upload, tuple(upload_types(engine.modalities))) if fetch else None
    app.state.request_metrics, app.state.maps = RequestMetrics(), media.Maps(engine)
    app.state.health, app.state.health_lock = None, asyncio.Lock()
    app.state.large_previews, app.state.media = Recent(media.LARGE_PREVIEWS), Recent(media.PLAYED)
    app.state.sheets, app.state.groups = Recent(media.SHEETS), {}
    app.state.values, app.state.shelf = Recent(browsing.SUMMARIES), shelf.Shelf(engine)
    problems.install(app)
    app.include_router(routes.router)
    app.include_router(classes.router)
    app.include_router(media.router)
    for part in (openai, browsing, shelf, groups, heat, questions, describing):
        app.include_router(part.router)
    app.state.guesses = Guesses()
    return AccessMiddleware(app, access, limits, app.state.request_metrics, app.state.guesses)


def _operation(route: APIRoute) -> str:
    """What a request is called in generated clients: its function."""
    return route.name
