"""The answer to a request that fails: one sentence as problem JSON (RFC 9457), never a trace."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ..types import StorageError, UserError

TITLES = {
    400: "bad request",
    401: "not signed in",
    403: "not allowed",
    404: "not found",
    405: "method not allowed",
    408: "too slow",
    409: "cannot be done here",
    413: "too large",
    415: "unsupported format",
    416: "no such range",
    422: "cannot be understood",
    429: "too many requests",
    500: "a fault of the service",
    503: "not available now",
}
MEDIA_TYPE = "application/problem+json"
_HEADERS = {503: {"Retry-After": "1"}, 429: {"Retry-After": "1"}} | {
    status: {"Connection": "close"} for status in (408, 413)
}
"""When to come back; and that what is still being sent will not be read."""


log = logging.getLogger(__name__)


def sentence_of(error: Exception) -> str:
    """An error in one line; of the operating system's what it refuses, without the path, which is not everyone's."""
    if isinstance(error, OSError) and error.strerror:
        return f"a file of the index cannot be used: {error.strerror.lower()}"
    return " ".join(str(error).split())


class Refusal(Exception):
    """A request that is refused: an HTTP status, one sentence, and the field that it is about."""

    def __init__(self, status: int, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.field = status, detail, field

    def response(self) -> Response:
        """As it is sent."""
        problem: dict[str, Any] = {"title": TITLES[self.status], "status": self.status, "detail": self.detail}
        if self.field is not None:
            problem["field"] = self.field
        # Escaped to ASCII: a lone surrogate from the request would have no UTF-8.
        return Response(json.dumps(problem), self.status, _HEADERS.get(self.status), MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self.response()(scope, receive, send)


def install(app: FastAPI) -> None:
    """Every way in which a request can fail, answered in the same form."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(UserError)
    async def _user(request: Request, error: UserError) -> Response:
        return Refusal(422, sentence_of(error)).response()

    @app.exception_handler(StorageError)
    @app.exception_handler(OSError)
    async def _storage(request: Request, error: Exception) -> Response:
        """Nothing that the sender could ask otherwise: what the index lies on cannot be read."""
        log.error("%s %s: %s", request.method, request.url.path, sentence_of(error))
        return Refusal(503, sentence_of(error)).response()

    @app.exception_handler(Exception)
    async def _failed(request: Request, error: Exception) -> Response:
        """Our own mistake: the server writes its trace to the log, and the sender is spared it."""
        return Refusal(500, "the service failed at this request; its log says why").response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return Refusal(422, str(first["msg"]), field or None).response()

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in TITLES else 400
        return Refusal(status, str(error.detail).lower()).response()
