"""What a training says of its time: minutes, speed, and the share of it that it waited for data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cospace.training import clock
from cospace.training.clock import Clock


class Time:
    """A clock that goes on only when it is asked to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock, "time", made)
    return made


def batches(time: Time, seconds: list[float]) -> Iterator[int]:
    """Batches that take so long each."""
    for number, one in enumerate(seconds):
        time.now += one
        yield number


def test_the_time_until_a_batch_is_there_is_waiting(time: Time) -> None:
    made = Clock(0.0)
    laps = []
    for _ in made.waiting(batches(time, [3.0, 0.0, 1.0])):
        time.now += 1.0
        laps.append(made.lap(8))
    assert [lap["wait_share"] for lap in laps] == pytest.approx([0.75, 0.0, 0.5])
    assert [lap["samples_per_second"] for lap in laps] == pytest.approx([2.0, 8.0, 4.0])
    assert made.minutes == pytest.approx(7 / 60)
    assert made.wait_share == pytest.approx(4 / 7)


def test_pauses_count_as_neither(time: Time) -> None:
    made = Clock(0.0)
    for _ in made.waiting(batches(time, [1.0])):
        with made.paused():
            time.now += 50.0
        time.now += 1.0
        assert made.lap(4) == pytest.approx({"samples_per_second": 2.0, "wait_share": 0.5})
    assert made.wait_share == pytest.approx(0.5)


def test_a_run_that_goes_on_keeps_what_it_waited(time: Time) -> None:
    made = Clock(1.0, waited=0.5)
    time.now += 60.0
    assert (made.minutes, made.wait_share) == pytest.approx((2.0, 0.25))
    assert made.lap(60) == pytest.approx({"samples_per_second": 1.0, "wait_share": 0.0})


def test_before_anything_was_done_nothing_was_waited(time: Time) -> None:
    assert Clock(0.0).wait_share == 0.0
    assert list(Clock(0.0).waiting([])) == []
