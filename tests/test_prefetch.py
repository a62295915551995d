"""Items that are made while the caller is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from cospace.prefetch import QUICK, TRIED, WINDOW, Background, Cancelled, prefetch
from cospace.types import BadItem, UserError


def test_items_are_made_in_order_while_the_caller_is_busy_and_no_further_than_a_window() -> None:
    begun: list[int] = []

    def make(number: int) -> int:
        begun.append(number)
        time.sleep(3 * QUICK)
        if number % 100 == 7:
            raise BadItem("undecodable", str(number))
        return -number

    results = prefetch(range(2 * WINDOW), make)
    made = [next(results) for _ in range(TRIED + 1)]
    deadline = time.monotonic() + 30
    while len(begun) < TRIED + WINDOW and time.monotonic() < deadline:
        time.sleep(0.01)  # the caller computes, the threads go on
    assert TRIED + WINDOW <= len(begun) <= TRIED + WINDOW + 1
    made += list(results)
    assert [number for number, one in enumerate(made) if isinstance(one, BadItem)] == [
        number for number in range(2 * WINDOW) if number % 100 == 7
    ]
    assert all(one == -number for number, one in enumerate(made) if not isinstance(one, BadItem))


def test_a_caller_who_stops_early_leaves_nothing_running() -> None:
    begun: list[int] = []

    def make(number: int) -> None:
        begun.append(number)
        time.sleep(3 * QUICK)

    results = prefetch(range(10 * WINDOW), make)
    for _ in range(TRIED + 1):
        next(results)
    results.close()  # type: ignore[attr-defined]
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) <= count + 2  # those that were being made
    assert count <= TRIED + WINDOW + 1


def test_what_takes_no_time_is_made_by_the_caller_when_it_asks() -> None:
    begun: list[tuple[int, int]] = []
    results = prefetch(range(100), lambda number: begun.append((number, threading.get_ident())))
    for asked in range(100):
        next(results)
        assert len(begun) == asked + 1
    assert begun == [(number, threading.get_ident()) for number in range(100)]


# ------------------------------------------------------------------------------------------------ in the background


def test_work_in_the_background_gives_its_result_or_its_error() -> None:
    assert Background(lambda check: 5).result() == 5

    def wrong(check: Callable[[], None]) -> int:
        raise UserError("a.tar is cut short")

    with pytest.raises(UserError, match="cut short"):
        Background(wrong).result()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_of_our_own_does_not_leave_anybody_waiting() -> None:
    def wrong(check: Callable[[], None]) -> int:
        raise AssertionError("impossible")

    with pytest.raises(AssertionError, match="impossible"):
        Background(wrong).result()


def test_work_that_nobody_wants_any_more_ends() -> None:
    began = threading.Event()

    def endless(check: Callable[[], None]) -> int:
        while True:
            began.set()
            check()
            time.sleep(0.001)

    work = Background(endless)
    assert began.wait(20)
    work.cancel()
    with pytest.raises(Cancelled):
        work.result()
