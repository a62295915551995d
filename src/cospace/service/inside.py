"""Ask the application from within its own process: the same answers as over HTTP, without a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message

from ..types import UserError

HOST = "localhost"


class Inside:
    """An application of :func:`~cospace.service.app.create_app`, asked by coroutines of one event loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def get(self, path: str) -> Any:
        """A JSON answer."""
        return json.loads(await self.bytes("GET", path))

    async def post(self, path: str, body: Any) -> Any:
        """A JSON answer; ``body`` is sent as JSON, or as it is where it is bytes."""
        if isinstance(body, bytes):
            return json.loads(await self.bytes("POST", path, body, "application/octet-stream"))
        return json.loads(await self.bytes("POST", path, json.dumps(body).encode(), "application/json"))

    async def bytes(self, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
        """The body of an answer. Raises :class:`UserError` with the sentence of a problem."""
        sent: list[Message] = []
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            await asyncio.Event().wait()
            raise AssertionError("never set")

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(_scope(method, path, body, kind), receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        if sent[0]["status"] >= 400:
            raise UserError(str(json.loads(content)["detail"]))
        return content

    async def close(self) -> None:
        """End it, as a server does."""
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> Message:
            return next(messages)

        async def send(message: Message) -> None:
            return None

        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


def _scope(method: str, target: str, body: bytes, kind: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    headers = {"host": HOST, "content-length": str(len(body)), "content-type": kind}
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
        "client": ("127.0.0.1", 0),
        "server": (HOST, 0),
        "root_path": "",
    }
