"""Work that is cheaper together: requests that arrive at the same time are done as one batch.

A model embeds eight texts in little more than the time of one, and a search reads every vector once however many
queries there are. One thread takes all that is queued; no task waits for a batch to fill. The queue is bounded: when
it is full a task is refused (503), so that those that are queued are done in good time.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from .problems import Refusal

Kind = TypeVar("Kind", bound=Hashable)
Task = TypeVar("Task")
Made = TypeVar("Made")


class Batcher(Generic[Kind, Task, Made]):
    """One thread that does tasks of one kind together: ``do(kind, tasks)`` gives a result for each, in order."""

    def __init__(self, do: Callable[[Kind, list[Task]], Iterable[Made]], together: int, waiting: int) -> None:
        self._do, self._together, self._most = do, together, waiting
        self._waiting: deque[tuple[Kind, Task, Future[Made]]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._doer = ThreadPoolExecutor(1)
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    async def __call__(self, kind: Kind, task: Task) -> Made:
        """The result of one task. Raises :class:`Refusal` when too many wait; cancelled tasks are left out."""
        return await asyncio.wrap_future(self.submit(kind, task))

    async def within(self, seconds: float, kind: Kind, task: Task) -> Made:
        """The same, if its turn comes within so many seconds. Raises :class:`Refusal` (503) otherwise."""
        future = self.submit(kind, task)
        made = asyncio.wrap_future(future)
        await asyncio.wait({made}, timeout=seconds)
        if not made.done() and future.cancel():
            raise Refusal(503, "too many requests are waiting; try again in a moment")
        return await made

    def submit(self, kind: Kind, task: Task) -> Future[Made]:
        """The same, for threads."""
        future: Future[Made] = Future()
        with self._changed:
            if not self._open or len(self._waiting) >= self._most:
                raise Refusal(503, "too many requests are waiting; try again in a moment")
            self._waiting.append((kind, task, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish what waits, then stop."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()
        self._doer.shutdown()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                kind, chosen = self._take()
            tasks = [(task, future) for task, future in chosen if future.set_running_or_notify_cancel()]
            if tasks:
                self._answer(kind, tasks)

    def _take(self) -> tuple[Kind, list[tuple[Task, Future[Made]]]]:
        """The oldest task with all others of its kind, up to so many together."""
        kind = self._waiting[0][0]
        chosen: list[tuple[Task, Future[Made]]] = []
        rest: deque[tuple[Kind, Task, Future[Made]]] = deque()
        for entry in self._waiting:
            if entry[0] == kind and len(chosen) < self._together:
                chosen.append(entry[1:])
            else:
                rest.append(entry)
        self._waiting = rest
        return kind, chosen

    def _answer(self, kind: Kind, tasks: list[tuple[Task, Future[Made]]]) -> None:
        made = self._doer.submit(lambda: list(self._do(kind, [task for task, _ in tasks])))
        error = made.exception()  # is waited for; handed on to those who asked, and the thread lives on
        for place, (_, future) in enumerate(tasks):
            if error is None:
                future.set_result(made.result()[place])
            else:
                future.set_exception(error)
