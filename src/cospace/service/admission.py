"""How many requests are under way at a time, so that those that are answered are answered soon.

Requests that cannot be answered soon are refused: by Little's law, what is under way is what is finished a second times
how long each takes. So a route admits as many as it finishes in a few times what one takes alone. Refusing takes
time, too, of the one thread that reads all requests: a client that asks again at once is made to wait a little.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from .problems import Refusal

LEAST = 8
"""Requests of one route that are always admitted, whatever is known of it: a room full of people searches."""
LONGER = 3.0
"""An answer under load may take so many times as long as one alone."""
SHARE = 0.1
"""Of a new measurement in the running means."""
BUSY = "too many requests at once; try again in a moment"
HELD, MOST_HELD = 1.0, 512
"""Seconds that a refusal is held back, more or less, and how many are held back at a time."""


class Route:
    """What is known of one route: how long a request takes alone, and how often one is finished under load."""

    def __init__(self, most: int) -> None:
        self._most, self._active = most, 0
        self._alone: float | None = None
        self._between: float | None = None
        self._last = 0.0
        self._crowded = False

    @property
    def limit(self) -> int:
        """Requests that may be under way."""
        if self._alone is None or self._between is None:
            return min(LEAST, self._most)
        return max(min(LEAST, self._most), min(self._most, int(LONGER * self._alone / max(self._between, 1e-6))))

    @property
    def full(self) -> bool:
        """True where as many are under way as may be."""
        return self._active >= self.limit

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One request. Raises :class:`Refusal` (503) where as many are under way as may be."""
        if self.full:
            raise Refusal(503, BUSY)
        began = time.monotonic()
        self._crowded, self._active = self._active > 0, self._active + 1
        if not self._crowded:
            self._last = began
        try:
            yield
        finally:
            self._finished(time.monotonic(), began)

    def _finished(self, now: float, began: float) -> None:
        self._active -= 1
        if self._active or self._crowded:
            self._between = _mean(self._between, now - self._last)
        elif not self._crowded:
            self._alone = _mean(self._alone, now - began)
        self._last = now


def _mean(known: float | None, value: float) -> float:
    return value if known is None else known + SHARE * (value - known)


class Admission:
    """Every request that is under way: ``most`` in all, and of each measured route what it can answer soon."""

    def __init__(self, most: int, measured: tuple[str, ...]) -> None:
        self._most, self._active, self._held = most, 0, 0
        self._routes = {path: Route(most) for path in measured}

    def check(self, path: str) -> None:
        """Refuse a request (503) that would not be admitted now, before it is read."""
        route = self._routes.get(path)
        if self._active >= self._most or (route is not None and route.full):
            raise Refusal(503, BUSY)

    @contextmanager
    def admitted(self, path: str) -> Iterator[Callable[[], None]]:
        """One request. Raises :class:`Refusal` (503).

        What it gives is called when the answer is ready, and makes room on the route: a client that reads its answer
        asks its next question before this request has been tidied away.
        """
        if self._active >= self._most:
            raise Refusal(503, BUSY)
        route = self._routes.get(path)
        self._active += 1
        try:
            with ExitStack() as place:
                if route is not None:
                    place.enter_context(route.admitted())
                yield place.close
        finally:
            self._active -= 1

    async def hold(self) -> None:
        """Keep a client that was refused for a moment."""
        if self._held < MOST_HELD:
            self._held += 1
            try:
                await asyncio.sleep(HELD * random.uniform(0.5, 1.5))  # or all would come back at the same moment
            finally:
                self._held -= 1


FREE, EACH, SLOWEST, MINUTE = 5, 0.2, 2.0, 60.0
"""Wrong tokens of a minute that are answered at once; seconds that each further one takes longer; and at most."""
ADDRESSES = 1_024


class Guesses:
    """Wrong tokens by the address they came from: each takes longer.

    The right one is always answered at once, since people share addresses with whoever guesses.
    """

    def __init__(self, waiting: int = 64) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting, self._most = 0, waiting

    async def wrong(self, address: str) -> None:
        """Wait as long as this guess deserves. Raises :class:`Refusal` (429) where too many wait."""
        now = time.monotonic()
        count, since = self._wrong.pop(address, (0, now))
        if now - since > MINUTE:
            count, since = 0, now
        self._wrong[address] = (count + 1, since)
        while len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
        seconds = min(SLOWEST, EACH * max(0, count + 1 - FREE))
        if not seconds:
            return
        if self._waiting >= self._most:
            raise Refusal(429, "too many wrong tokens came from this address; wait a minute")
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1
