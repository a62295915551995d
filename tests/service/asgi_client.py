"""Requests to an ASGI application in process, one after the other, thousands a second."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp

HOST = "127.0.0.1:8000"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class AsgiClient:
    """An application and the loop it runs in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.loop = app, asyncio.new_event_loop()

    def close(self) -> None:
        """Also ends the application, as a server does."""
        self.loop.run_until_complete(self._shut())
        self.loop.close()

    def get(self, target: str, **headers: str) -> Answer:
        return self.ask("GET", target, headers)

    def post(self, target: str, body: Any, **headers: str) -> Answer:
        """``body`` is bytes as they are, or anything else as JSON."""
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", target, {"content-type": kind, **headers}, data)

    def ask(self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        return self.loop.run_until_complete(self._ask(method, target, headers or {}, body))

    async def _ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        raw, _, query = target.partition("?")
        shown = {"host": HOST, "content-length": str(len(body)), **headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(raw.encode("utf-8", "surrogatepass")).decode("utf-8", "replace"),
            "raw_path": raw.encode("utf-8", "surrogatepass"),
            "query_string": query.encode("utf-8", "surrogatepass"),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in shown.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "root_path": "",
        }
        sent: list[dict[str, Any]] = []
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.sleep(3600)
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))

    async def _shut(self) -> None:
        queue = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive() -> dict[str, Any]:
            return next(queue)

        async def send(message: Any) -> None:
            assert "failed" not in message["type"], message

        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
