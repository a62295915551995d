"""Items made ready while the caller computes with those before them."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeVar

from .reading import MALFORMED
from .runtime import cores
from .types import BadItem, UserError, attempted

WINDOW = 512
"""Items that are kept ready; embedding puts them in order of length, so that texts are padded to their neighbours."""

TRIED, QUICK = 8, 350e-6
"""Items made one after the other to see how long they take, and the seconds below which threads do not pay."""

T = TypeVar("T")


def prefetch(raws: Iterable[Any], make: Callable[[Any], T]) -> Iterator[T | BadItem]:
    """What ``make`` makes of each item, in order, by a thread a core; a broken one arrives as its error.

    The threads go on with up to :data:`WINDOW` items while the caller computes with what it has. Items that are made
    in no time, such as small images, are left to the caller alone: threads would wait for each other longer.
    """
    yield from Prefetcher(make)(raws)


class Prefetcher(Generic[T]):
    """The same time after time: how long an item takes is measured once, of the first ones."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._took = make, list[float]()

    def __call__(self, raws: Iterable[Any]) -> Iterator[T | BadItem]:
        rest = iter(raws)
        for raw in islice(rest, TRIED - len(self._took)):
            began = time.perf_counter()
            result = self._made(raw)
            self._took.append(time.perf_counter() - began)
            yield result
        quick = bool(self._took) and statistics.median(self._took) < QUICK
        yield from map(self._made, rest) if quick else _by_threads(rest, self._made)

    def _made(self, raw: Any) -> T | BadItem:
        return attempted(self._make, raw)


def _by_threads(raws: Iterable[Any], made: Callable[[Any], T]) -> Iterator[T]:
    with ThreadPoolExecutor(cores()) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for raw in raws:
                waiting.append(pool.submit(made, raw))
                if len(waiting) > WINDOW:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # the caller may have stopped early
            pool.shutdown(wait=False, cancel_futures=True)


class Cancelled(Exception):
    """Raised in work whose result nobody wants any more."""


class Background(Generic[T]):
    """One piece of work in a thread of its own, started at once; its error is raised where the result is asked for.

    ``work`` gets a function that raises :class:`Cancelled` once :meth:`cancel` was called, and calls it now and then.
    The thread does not keep the process alive.
    """

    def __init__(self, work: Callable[[Callable[[], None]], T]) -> None:
        self._cancelled, self._result = threading.Event(), Future[T]()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[Callable[[], None]], T]) -> None:
        try:
            self._result.set_result(work(self._check))
        except (Cancelled, UserError, OSError, *MALFORMED) as error:
            self._result.set_exception(error)
        finally:
            if not self._result.done():  # a mistake of our own, which the thread reports as well
                self._result.set_exception(sys.exc_info()[1])

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def result(self) -> T:
        """What the work gave, once it is done; the thread has ended then, and holds nothing."""
        self._thread.join()
        return self._result.result()

    def cancel(self, seconds: float = 5.0) -> bool:
        """Ask the work to end, and wait for that so long at most; whether it has ended."""
        self._cancelled.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()
