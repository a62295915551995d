"""The answer to a request that fails: one sentence as problem JSON (RFC 9457), never a trace."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from ..reading import read_text
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
_HEADERS = {503: {"Retry-After": "1"}, 429: {"Retry-After": "1"}}
"""When to come back."""
_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
"""What OpenAI's interface calls them."""

MISSING = Path(__file__).with_name("page") / "missing.html"

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

    def response(self, path: str = "") -> Response:
        """As it is sent; below ``/v1/`` in the form of OpenAI's interface, which knows 400 and no 422."""
        if path.startswith("/v1/"):
            status = 400 if self.status == 422 else self.status
            kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
            error = {"message": self.detail, "type": kind if status < 500 else "server_error"}
            body = {"error": {**error, "param": self.field, "code": _CODES.get(status)}}
            return Response(json.dumps(body), status, _HEADERS.get(status), "application/json")
        problem: dict[str, Any] = {"title": TITLES[self.status], "status": self.status, "detail": self.detail}
        if self.field is not None:
            problem["field"] = self.field
        # Escaped to ASCII: a lone surrogate from the request would have no UTF-8.
        return Response(json.dumps(problem), self.status, _HEADERS.get(self.status), MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await self.response(scope["path"])(scope, receive, send)


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Raises :class:`Refusal` (503) where the folder of the index cannot be written."""
    try:
        yield
    except OSError as error:
        why = str(error.strerror or error).lower()
        raise Refusal(503, f"{what}: the folder of the index cannot be written ({why})") from error


def install(app: FastAPI) -> None:
    """Every way in which a request can fail, answered in the same form."""

    @app.exception_handler(Refusal)
    async def _refused(request: Request, error: Refusal) -> Response:
        return error.response(request.url.path)

    @app.exception_handler(UserError)
    async def _user(request: Request, error: UserError) -> Response:
        return Refusal(422, sentence_of(error)).response(request.url.path)

    @app.exception_handler(StorageError)
    @app.exception_handler(OSError)
    async def _storage(request: Request, error: Exception) -> Response:
        """Nothing that the sender could ask otherwise: what the index lies on cannot be read."""
        log.error("%s %s: %s", request.method, request.url.path, sentence_of(error))
        return Refusal(503, sentence_of(error)).response(request.url.path)

    @app.exception_handler(Exception)
    async def _failed(request: Request, error: Exception) -> Response:
        """Our own mistake: the server writes its trace to the log, and the sender is spared it."""
        return Refusal(500, "the service failed at this request; its log says why").response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return Refusal(422, str(first["msg"]), field or None).response(request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = error.status_code if error.status_code in TITLES else 400
        if status == 404 and "text/html" in request.headers.get("accept", ""):  # a person with a browser
            root = "../" * (request.url.path.count("/") - 1) or "./"  # so that it works below a path of a proxy
            return HTMLResponse(read_text(MISSING).replace("ROOT", root), 404)
        return Refusal(status, str(error.detail).lower()).response(request.url.path)
