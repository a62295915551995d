"""Saved classes of the stand-in: what is kept is who belongs to each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from service.stand_in import StandIn


class ClassRoutes:
    """``/api/classes``."""

    def __init__(self, stand_in: StandIn) -> None:
        self.it = stand_in

    def _described(self, name: str) -> dict[str, Any]:
        return {"name": name, "modality": "image", "version": 1, "asked": "", "count": len(self.it.classes[name])}

    async def listed(self, request: Request) -> Response:
        return JSONResponse({"classes": [self._described(name) for name in sorted(self.it.classes)]})

    async def save(self, request: Request) -> Response:
        """The members are the twelve best of the query with its marks."""
        asked = await request.json()
        self.it.classes[asked["name"]] = self.it.rank(asked)[0][:12].tolist()
        return JSONResponse(self._described(asked["name"]))

    async def forget(self, request: Request) -> Response:
        return JSONResponse({"ok": self.it.classes.pop(request.path_params["name"], None) is not None})

    def __iter__(self) -> Iterator[Route]:
        yield Route("/api/classes", self.listed)
        yield Route("/api/classes", self.save, methods=["POST"])
        yield Route("/api/classes/{name}", self.forget, methods=["DELETE"])
