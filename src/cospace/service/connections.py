"""Connections: how long each may keep its socket, and which one goes where there are more than the process can hold.

A client may send a byte a second for ever. So a header must arrive in time (a body's time is the application's affair,
see :mod:`access`), a connection whose request was answered before all of it was there is closed soon after the answer,
and above a number that follows from the process's file descriptors the one that has waited longest makes room. A
connection that is being answered never does.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER = 10.0
"""Seconds in which a request's header must have arrived."""
READING = 30.0
"""Seconds in which a client must take more of its answer."""
LINGER = 1.0
"""Seconds in which a client reads an answer that came before it had sent everything; what it still sends is ignored."""
IGNORED = 32_000_000
"""Bytes that it may still send meanwhile."""
MOST, LEAST = 1_000, 8
"""Connections at a time, however many descriptors there are, and however few."""
RESERVED = 48
"""Descriptors that are kept for files, and for connections that are being closed."""
BACKLOG = 1_024
"""Connections that wait to be accepted."""
ACCEPTED = 4
"""Connections that are accepted at a time, between which others are answered."""
SILENCE = 60.0
"""Seconds between two messages about the same trouble with sockets."""

log = logging.getLogger(__name__)


def most_connections() -> int:
    """How many connections there is room for beside the files that are open now."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return MOST
    taken = sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").is_dir() else 32
    return max(LEAST, min(MOST, allowed - taken - RESERVED))


class BoundedProtocol(H11Protocol):
    """A connection that cannot be kept open by sending slowly."""

    most = MOST
    """Connections at a time; set by :class:`BoundedServer`."""
    _timer: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _lingering = False
    _since, _ignored = 0.0, 0

    def connection_made(self, transport: Any) -> None:
        """Make room if there is none, and start waiting for the first header."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self.most:
            _make_room(self)
        self._close_in(HEADER)

    def data_received(self, data: bytes) -> None:
        """A header is either complete now, or has until the time that began with its first byte."""
        if self._lingering:
            self._ignored += len(data)
            if self._ignored > IGNORED:
                self.drop()
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.answering:
            self._stop_waiting()
        elif self._timer is None and self.conn.trailing_data[0]:
            self._close_in(HEADER)

    def on_response_complete(self) -> None:
        """Afterwards the connection may be used again, unless the request did not wait for the answer."""
        self._since = self.loop.time()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
            self.server_state.total_requests += 1
            self._linger()
            return
        super().on_response_complete()
        if not self.answering:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._stop_waiting()
        self._unstick()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered; one that does not read at all is let go."""
        super().pause_writing()
        self._stuck = self.loop.call_later(READING, self.drop)

    def resume_writing(self) -> None:
        """It reads again."""
        self._unstick()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nobody asked again."""
        self.drop()

    @property
    def answering(self) -> bool:
        """True while a request whose header is complete has no complete answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def order(self) -> tuple[int, float]:
        """The connection with the least of these makes room: refused, idle, still sending, being answered."""
        if self._lingering or self.transport.is_closing():
            return 0, self._since
        if not self.answering:
            return 1, self._since
        return (2 if self.cycle.more_body else 3), self._since

    def _linger(self) -> None:
        """Say that no more is read, and close soon: closing at once would destroy the answer on its way."""
        self._lingering = True
        self._unset_keepalive_if_required()
        self._stop_waiting()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._close_in(LINGER)

    def _close_in(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self.drop)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def drop(self) -> None:
        """Close without waiting for anything: a client that does not read would keep the socket."""
        if self.transport is not None:
            self.transport.abort()


def _make_room(newest: BoundedProtocol) -> None:
    """Close the connection that can best be spared; the newest itself where all others are being answered."""
    others = [one for one in newest.connections if isinstance(one, BoundedProtocol) and one is not newest]
    spared = min(others, key=lambda one: one.order, default=newest)
    if spared.order[0] == 3:
        spared = newest
    spared.connections.discard(spared)
    spared.drop()


class BoundedServer(uvicorn.Server):
    """A server that takes a few connections at a time from a long queue, and does not repeat itself in the log."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(
            uvicorn.Config(
                app, http=BoundedProtocol, ws="none", loop="asyncio", backlog=ACCEPTED, access_log=False,
                server_header=False, log_level="warning", **options,
            )
        )  # fmt: skip
        self._said: dict[str, float] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, with as many connections as there is room for."""
        BoundedProtocol.most = most_connections()
        asyncio.get_running_loop().set_exception_handler(self._troubled)
        logging.getLogger("uvicorn.error").addFilter(self._new)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # the event loop took its number for both

    def _troubled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What the event loop can only log: no descriptors left, a client that vanished."""
        error = context.get("exception")
        if isinstance(error, OSError):
            said = f"{context.get('message')}: {error.strerror or error}"
            if self._is_new(said):
                log.warning("%s (said once a minute)", said)
            return
        loop.default_exception_handler(context)

    def _new(self, record: logging.LogRecord) -> bool:
        """What a client can make the server say is said once a minute: the log is not theirs to fill."""
        return record.levelno > logging.WARNING or self._is_new(record.getMessage())

    def _is_new(self, said: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(said, -SILENCE) < SILENCE:
            return False
        self._said[said] = now
        return True
