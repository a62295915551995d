"""Run the service until it is stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..commands.search import SearchableIndex
from ..types import UserError
from .access import Access
from .app import create_app
from .connections import BACKLOG, BoundedServer

DRAIN = 10
"""Seconds that requests have to end in when the service is stopped."""


def serve(
    collection: SearchableIndex, access: Access, fetch: bool = False, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Answer until SIGTERM or Ctrl-C; ``ready`` is called with the address once the service is warm.

    Raises :class:`UserError` when the port is taken.
    """
    listener = _listen(access)
    app = create_app(collection, access, fetch=fetch)
    server = BoundedServer(app, timeout_keep_alive=20, timeout_graceful_shutdown=DRAIN)
    ready(_address(access, listener.getsockname()[1]))
    with _stoppable():
        server.run([listener])


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
