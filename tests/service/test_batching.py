"""Work done together: every task gets its own result, what waits is bounded, one failure stays with those it met."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Hashable

import pytest

from cospace.service.batching import Batcher
from cospace.service.problems import Refusal


class Slow:
    """Doubles numbers when it is let; remembers what it did together."""

    def __init__(self) -> None:
        self.go, self.began = threading.Event(), threading.Event()
        self.batches: list[tuple[Hashable, list[int]]] = []

    def __call__(self, kind: Hashable, tasks: list[int]) -> list[int]:
        self.batches.append((kind, tasks))
        self.began.set()
        assert self.go.wait(10)
        if 13 in tasks:
            raise ValueError("thirteen")
        return [2 * task for task in tasks]


def test_what_waits_is_done_together_by_kind_in_order() -> None:
    slow = Slow()
    batcher = Batcher(slow, together=3, waiting=10)
    first = batcher.submit("a", 1)
    assert slow.began.wait(10)
    rest = [batcher.submit(kind, task) for kind, task in [("a", 2), ("b", 3), ("a", 4), ("a", 5), ("a", 6)]]
    slow.go.set()
    assert [future.result(10) for future in (first, *rest)] == [2, 4, 6, 8, 10, 12]
    assert slow.batches == [("a", [1]), ("a", [2, 4, 5]), ("b", [3]), ("a", [6])]
    batcher.close()


def test_too_many_are_refused_and_the_others_are_served() -> None:
    slow = Slow()
    batcher = Batcher(slow, together=10, waiting=2)
    futures = [batcher.submit("a", 1)]
    assert slow.began.wait(10)
    futures += [batcher.submit("a", 2), batcher.submit("a", 3)]
    with pytest.raises(Refusal) as refused:
        batcher.submit("a", 4)
    assert refused.value.status == 503
    slow.go.set()
    assert [future.result(10) for future in futures] == [2, 4, 6]
    batcher.close()
    with pytest.raises(Refusal):
        batcher.submit("a", 5)


def test_a_failure_reaches_those_who_asked_and_nobody_else() -> None:
    slow = Slow()
    slow.go.set()
    batcher = Batcher(slow, together=1, waiting=10)
    with pytest.raises(ValueError, match="thirteen"):
        batcher.submit("a", 13).result(10)
    assert batcher.submit("a", 1).result(10) == 2
    batcher.close()


def test_a_task_that_nobody_waits_for_any_more_is_left_out() -> None:
    slow = Slow()
    batcher = Batcher(slow, together=10, waiting=10)

    async def run() -> int:
        first = asyncio.ensure_future(batcher("a", 1))
        await asyncio.to_thread(slow.began.wait, 10)
        gone = asyncio.ensure_future(batcher("a", 2))
        stays = asyncio.ensure_future(batcher("a", 3))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0.02)
        slow.go.set()
        await first
        return await stays

    assert asyncio.run(run()) == 6
    assert slow.batches[1] == ("a", [3])
    batcher.close()
