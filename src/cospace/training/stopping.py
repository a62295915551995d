"""The end that somebody asks for: SIGTERM, as schedulers and `torchrun` send it before they kill."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM has ended, so that no script takes it for one that is done."""


class Stopping:
    """Whether the end was asked for. The step that is being taken is finished; a second signal ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self._now = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which SIGTERM only asks; outside of the main thread, which alone hears signals, it is as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that SIGTERM ends: it may take long, and what it makes can be made again."""
        self._now = True
        try:
            yield
        finally:
            self._now = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self._now:
            raise SystemExit(TERMINATED)
        self.asked = True
