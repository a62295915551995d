"""How long a training takes, how fast it is, and how much of its time it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Minutes of training so far, pauses left out, minutes of these spent waiting for data, and the latest speed.

    It goes on from the ``minutes`` and the minutes ``waited`` of earlier runs of the same command.
    """

    def __init__(self, minutes: float, waited: float = 0.0) -> None:
        self._before, self._start, self.waited = minutes, time.monotonic(), waited
        self._last, self._waited_last = self._start, waited

    @property
    def minutes(self) -> float:
        """Minutes spent training, earlier runs of the same command included."""
        return self._before + (time.monotonic() - self._start) / 60

    @property
    def wait_share(self) -> float:
        """The share of all these minutes, 0 to 1, in which the next batch was not there yet."""
        return min(1.0, self.waited / max(self.minutes, 1e-9))

    def lap(self, samples: int) -> dict[str, float]:
        """Since the last call: ``samples_per_second``, and ``wait_share``, the share of the time waited for data."""
        now = time.monotonic()
        elapsed = max(now - self._last, 1e-9)
        share = min(1.0, 60 * (self.waited - self._waited_last) / elapsed)
        self._last, self._waited_last = now, self.waited
        return {"samples_per_second": samples / elapsed, "wait_share": share}

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; the time until each of them is there is waiting."""
        pending = iter(batches)
        while True:
            begin = time.monotonic()
            try:
                batch = next(pending)
            except StopIteration:
                return
            finally:
                self.waited += (time.monotonic() - begin) / 60
            yield batch
            del batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block whose time does not count."""
        begin = time.monotonic()
        yield
        self._start += time.monotonic() - begin
        self._last += time.monotonic() - begin
