"""What decoding an image costs in memory, and the budget that it is judged by.

Pixels say little: a phone's 108 megapixels of JPEG are decoded at an eighth of the size, in 10 MB, while 25 megapixels
of WebP take 400 MB. The figures of :data:`PER_PIXEL` were measured (docs/decisions/0025).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ...runtime import return_freed_memory
from ...types import BadItem, UserError

SETTING, DEFAULT_MB = "COSPACE_IMAGE_MEMORY_MB", 512
"""The environment variable that sets the budget, and the budget without it, in 2**20 bytes."""

STORAGE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes in which Pillow keeps a pixel, by mode; 4 of every other."""

PER_PIXEL = {"WEBP": 17, "AVIF": 16, "HEIC": 12}
"""Bytes a pixel where the decoder needs far more than its result."""

OVERHEAD = 12 << 20
"""Bytes for what does not grow with the image: the decoder's own, and the rows that are converted at a time."""

_HEAVY = 48 << 20
"""Bytes from which on decodings of a process take turns, and give their memory back."""


def budget() -> int:
    """Bytes that decoding one image may take. Raises :class:`UserError` for a setting that is no number."""
    given = os.environ.get(SETTING, "").strip()
    if not given:
        return DEFAULT_MB << 20
    if not given.isascii() or not given.isdigit() or not int(given):
        raise UserError(f"{SETTING}={given} is not a whole number of megabytes; the default is {DEFAULT_MB}")
    return int(given) << 20


class _Room:
    """What the decodings of this process may take together: the budget of one image."""

    def __init__(self) -> None:
        self._taken, self._changed = 0, threading.Condition()

    @contextmanager
    def taken(self, cost: int) -> Iterator[None]:
        """Wait until there is room; one alone always has it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + cost <= budget())
            self._taken += cost
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cost
                self._changed.notify_all()
            return_freed_memory()


_ROOM = _Room()


class _Held(threading.local):
    stack: ExitStack | None = None
    """What this thread holds until it is done with the pixels."""


_HELD = _Held()


@contextmanager
def held() -> Iterator[None]:
    """Whatever one decoding within is given, it keeps until the end, since its pixels are in memory until then."""
    with ExitStack() as stack:
        _HELD.stack = stack
        try:
            yield
        finally:
            _HELD.stack = None


@contextmanager
def afforded(cost: int, height: int, width: int) -> Iterator[None]:
    """Decode within: refused (``bomb``) above the budget; large ones wait for each other, and free what they used."""
    allowed = budget()
    if cost > allowed:
        megabytes = -(-cost >> 20) + 1
        raise BadItem(
            "bomb",
            f"decoding its {width} x {height} pixels takes {megabytes:,} MB of memory, more than the {allowed >> 20:,} "
            f"that one image may; {SETTING}={megabytes} allows it",
        )
    if cost < _HEAVY:
        yield
        return
    if _HELD.stack is None:
        with _ROOM.taken(cost):
            yield
        return
    _HELD.stack.close()  # two at a time could wait for each other
    _HELD.stack.enter_context(_ROOM.taken(cost))
    yield
