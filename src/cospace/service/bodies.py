"""Bodies of requests while they arrive: never more than allowed, never slower, and together within a budget.

The application is called when a body is complete. So a client that sends slowly holds a socket and what it has sent,
and none of the places in which requests are answered; where all that are arriving hold too much, the one that has taken
longest is refused.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from .limits import Limits
from .problems import Refusal

DRAINED = 65_536
"""Bytes that are still read of a request that is refused, so that its connection can be used again."""
DRAINING = 0.02
"""Seconds in which they must be there."""


class Body:
    """A request's body. It is read by :meth:`arrived`, and afterwards handed to the application."""

    def __init__(self, receive: Receive, most: int, limits: Limits, arriving: Arriving) -> None:
        self._receive, self._most, self._limits, self._arriving = receive, most, limits, arriving
        self._read = bytearray()
        self._given = False
        self.began = asyncio.get_running_loop().time()
        self.cut = False
        """True once it has to make room for others."""
        self._patience: asyncio.Timeout | None = None

    def __len__(self) -> int:
        return len(self._read)

    async def arrived(self) -> bool:
        """Wait for all of it; false if the client went away before. Raises :class:`Refusal`: 408, 413, 503."""
        with self._arriving.of(self):
            while True:
                message = await self._next()
                if message["type"] != "http.request":
                    return False
                self._read += message.get("body", b"")
                if len(self._read) > self._most:
                    raise Refusal(413, f"a request of at most {self._most:,} bytes is read here")
                if not message.get("more_body", False):
                    return True
                self._arriving.make_room()

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        until = now + max(0.01, min(self._limits.pause, self.began + self._limits.arrival - now))
        try:
            async with asyncio.timeout_at(until) as self._patience:
                return await self._receive()
        except TimeoutError:
            if self.cut:
                raise Refusal(503, "too much is being sent at once, and this request was the slowest") from None
            raise Refusal(408, "the request came too slowly") from None

    def give_way(self) -> None:
        """Be refused, to make room for others."""
        self.cut = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def __call__(self) -> Message:
        """As an application receives it: in one piece, and then nothing until the client goes away."""
        if not self._given:
            self._given = True
            body, self._read = bytes(self._read), bytearray()
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("the event is never set: an application that waits for more is cancelled")

    async def left(self) -> None:
        """Returns when the client has gone away without waiting for the answer."""
        while (await self._receive())["type"] != "http.disconnect":
            await asyncio.sleep(0)  # a server that always has a message at hand must not keep the loop from others


class Arriving:
    """All bodies that are arriving, which share ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bodies: set[Body] = set()

    def of(self, body: Body) -> _One:
        """Count a body for as long as it arrives."""
        return _One(self._bodies, body)

    def make_room(self) -> None:
        """Cut off the one that has taken longest, where all hold too much."""
        waiting = [body for body in self._bodies if not body.cut]
        if sum(map(len, waiting)) > self._most:
            min(waiting, key=lambda body: body.began).give_way()


class _One:
    def __init__(self, bodies: set[Body], body: Body) -> None:
        self._bodies, self._body = bodies, body

    def __enter__(self) -> None:
        self._bodies.add(self._body)

    def __exit__(self, *_: object) -> None:
        self._bodies.discard(self._body)


async def drained(receive: Receive) -> None:
    """Read what has arrived of a request that is refused; whoever has sent it all may send the next one."""

    async def rest() -> None:
        read = 0
        while read <= DRAINED:
            message = await receive()
            read += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

    try:
        await asyncio.wait_for(rest(), DRAINING)
    except TimeoutError:
        return
