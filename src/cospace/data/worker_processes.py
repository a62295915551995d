"""Examine many files in processes of their own, one for each core: small files keep threads waiting for one lock."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from ..modalities import Examined, modality
from ..stopping import ignore, unheard
from ..types import BadItem, Lazy, attempted

AHEAD = 4
"""Chunks that wait for each process, so that none waits for us."""

CRASHED = BadItem("crash", "the decoder crashed")
"""What an item is that ends whatever process decodes it."""


class _Workers:
    """The processes; all of them are started anew where one has ended."""

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count = name, count
        self.pool = _pool(count)

    def begin(self) -> bool:
        """Whether they can be started here."""
        try:
            return self.submit([]).result() == []
        except (BrokenProcessPool, OSError):
            return False

    def submit(self, chunk: Sequence[Path]) -> Future[list[Examined | BadItem]]:
        with unheard():  # the first work starts the processes
            try:
                return self.pool.submit(examined, self._name, chunk)
            except BrokenProcessPool:
                self.close()
                self.pool = _pool(self._count)
                return self.pool.submit(examined, self._name, chunk)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


def by_processes(name: str, chunks: Iterator[Sequence[Path]]) -> Iterator[list[Examined | BadItem]]:
    """What is seen of each chunk of files of a modality, in order. A file that ends its process costs itself alone."""
    count = os.cpu_count() or 1
    workers, waiting = _Workers(name, count), deque[tuple[Sequence[Path], Future[list[Examined | BadItem]]]]()
    try:
        if not workers.begin():  # which is no file's fault
            yield from (examined(name, chunk) for chunk in chunks)
        for chunk in chunks:
            waiting.append((chunk, workers.submit(chunk)))
            if len(waiting) >= AHEAD * count:
                yield _received(name, *waiting.popleft())
        while waiting:
            yield _received(name, *waiting.popleft())
    finally:
        workers.close()


def examined(name: str, files: Sequence[Path | Lazy]) -> list[Examined | BadItem]:
    """What a process does."""
    return [attempted(modality(name).examine, file) for file in files]


def _received(name: str, chunk: Sequence[Path], answer: Future[list[Examined | BadItem]]) -> list[Examined | BadItem]:
    """The answer; where a process has ended, what each file gives in one that ends with that file alone."""
    try:
        return answer.result()
    except BrokenProcessPool:
        return _one_by_one(name, chunk)


def _one_by_one(name: str, chunk: Sequence[Path]) -> list[Examined | BadItem]:
    workers, found = _Workers(name, 1), list[Examined | BadItem]()
    try:
        for file in chunk:
            try:
                found += workers.submit([file]).result()
            except BrokenProcessPool:
                found.append(CRASHED)
    finally:
        workers.close()
    return found


def _pool(workers: int) -> ProcessPoolExecutor:
    # A fork would inherit threads of torch, and hang.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """Signals are for the process that a person started; where it has been killed, this one ends too."""
    ignore()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
