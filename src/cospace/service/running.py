"""Run the service until it is stopped."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..commands.search import SearchableIndex
from ..types import UserError
from .access import Access
from .app import create_app

BACKLOG = 1_024
"""Connections that wait to be accepted."""
DRAIN = 10
"""Seconds that requests have to end in when the service is stopped."""
HEADER = 10.0
"""Seconds in which a request's header must have arrived."""


class HeaderTimeout(H11Protocol):
    """A connection that is closed when a request's header does not arrive in time."""

    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start waiting for the first header."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A header is either complete now, or has until the time that began with its first byte."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._slow is None and self.conn.trailing_data[0]:
            self._wait()

    def on_response_complete(self) -> None:
        """Afterwards the connection may be used again, or is closed by the server's own rule."""
        super().on_response_complete()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._slow = self.loop.call_later(HEADER, self._close)

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _close(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


def serve(
    collection: SearchableIndex, access: Access, fetch: bool = False, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Answer until SIGTERM or Ctrl-C; ``ready`` is called with the address once the service is warm.

    Raises :class:`UserError` when the port is taken.
    """
    listener = _listen(access)
    app = create_app(collection, access, fetch=fetch)
    config = uvicorn.Config(
        app,
        http=HeaderTimeout,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=DRAIN,
    )
    ready(_address(access, listener.getsockname()[1]))
    with _stoppable():
        uvicorn.Server(config).run([listener])


@contextmanager
def _stoppable() -> Iterator[None]:
    """The server ends by these signals and raises them again when it has; that is no failure."""
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _listen(access: Access) -> socket.socket:
    """The port is taken before the model is warm, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    # Named as TCP, or the event loop would leave small packets waiting for each other: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((access.host, access.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UserError(
            f"port {access.port} of {access.host} cannot be used ({str(error.strerror).lower()}); choose another --port"
        ) from error
    return listener


def _address(access: Access, port: int) -> str:
    host = f"[{access.host}]" if ":" in access.host else access.host
    return f"http://{host}:{port}/" + ("" if access.token is None else f"#token={access.token}")
