"""How many steps fit into a time: a function of what was measured."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cospace.training.budget import FEWEST, Costs, Phase, Plan, mean, most_steps, too_few

SECONDS = st.floats(0.001, 100)


@st.composite
def costs(draw: st.DrawFn) -> Costs:
    ends = sorted(draw(st.lists(st.floats(0.05, 0.95), max_size=2)))
    shares = [end - begin for begin, end in zip([0.0, *ends], [*ends, 1.0], strict=True)]
    return Costs(
        tuple(Phase(share, draw(SECONDS)) for share in shares),
        batch_size=draw(st.integers(1, 256)),
        new_item=draw(st.floats(0, 0.1)),
        new_items=draw(st.integers(0, 5_000)),
        evaluation=draw(st.floats(0, 20)),
        save=draw(st.floats(0, 5)),
        save_every=draw(st.sampled_from([0.0, 1.0, 30.0])),
        last=draw(st.floats(0, 100)),
    )


def twice(steps: int) -> int:
    """Evaluations as the loop chooses them: few, and from some steps on more."""
    return 4 if steps < 300 else 10


def step_by_step(of: Costs, done: int, steps: int) -> float:
    """The plain reference: each step is looked up in the phase that it lies in."""
    total, ends = 0.0, [0.0]
    for phase in of.phases:
        ends.append(ends[-1] + phase.share)
    for step in range(done):
        for phase, begin, end in zip(of.phases, ends, ends[1:], strict=False):
            total += phase.seconds * max(0.0, min(step + 1, end * steps) - max(step, begin * steps))
    return total


@given(costs(), st.integers(1, 60), st.integers(0, 60))
def test_phases_add_up_as_step_by_step(of: Costs, steps: int, done: int) -> None:
    plain = Costs(of.phases)
    done = min(done, steps)
    assert plain.training(done, steps, 0) == pytest.approx(step_by_step(plain, done, steps), rel=1e-6, abs=1e-9)
    assert plain.total(steps, 0) == pytest.approx(steps * plain.step, rel=1e-6)


def test_everything_that_costs_is_counted() -> None:
    of = Costs((Phase(0.6, 1.0), Phase(0.4, 2.0)), 10, 0.5, 30, evaluation=3.0, save=2.0, save_every=20.0, last=7.0)
    stepping = 0.5 * 30 + 60 * 1.0 + 40 * 2.0
    saves = 4 + stepping / 20
    assert of.total(100, 4) == pytest.approx(stepping + 4 * 3.0 + saves * 2.0 + 7.0)
    assert Costs((Phase(1.0, 1.0),), save=2.0, save_every=0.0).total(10, 0) == pytest.approx(10 + 10 * 2.0)
    assert Costs((Phase(1.0, 9.0),), save=1.0, save_every=3.0).total(10, 0) == pytest.approx(100), "one a step at most"


@given(costs(), st.floats(0, 10_000), st.one_of(st.none(), st.integers(FEWEST, 500)))
@example(Costs((Phase(1.0, 1e-9),)), 10.0, 40)
def test_the_most_steps_that_fit(of: Costs, seconds: float, most: int | None) -> None:
    steps = most_steps(of, seconds, twice, most)
    assert steps >= FEWEST
    assert steps == FEWEST or of.total(steps, twice(steps)) <= seconds
    assert steps == most or of.total(steps + 1, twice(steps + 1)) > seconds


def test_more_minutes_never_give_fewer_steps() -> None:
    of = Costs((Phase(0.6, 0.3), Phase(0.4, 0.5)), evaluation=2.0, last=10.0)
    steps = [most_steps(of, 60 * minutes, twice) for minutes in (0.1, 1, 2, 5, 20)]
    assert steps == sorted(steps)
    assert steps[0] == FEWEST
    assert 40 * steps[2] > steps[4] > 8 * steps[2], "what is spent once weighs less in longer runs"


@pytest.mark.parametrize(("steps", "usual", "smaller"), [(98, 196, False), (97, 196, True), (1000, 196, False)])
def test_images_are_made_smaller_below_half_of_the_usual_steps(steps: int, usual: int, smaller: bool) -> None:
    assert too_few(steps, usual) == smaller


def plan() -> Plan:
    of = Costs((Phase(0.5, 1.0), Phase(0.5, 3.0)), evaluation=5.0, last=20.0)
    return Plan(4.0, 100, False, 2000, 2, of, 10.0)


def test_a_plan_survives_json() -> None:
    assert Plan.of(json.loads(json.dumps(plan().plain()))) == plan()
    assert plan().seconds == pytest.approx(10 + 200 + 10 + 20)


def test_the_time_left_knows_that_later_steps_take_longer() -> None:
    assert plan().left(0, 0, 0.0) == pytest.approx(230)
    assert plan().left(0, 50, 55.0) == pytest.approx(175), "as planned: 50 steps and one evaluation of two"
    assert plan().left(0, 50, 110.0) == pytest.approx(350), "all goes half as fast"
    assert plan().left(50, 75, 77.5) == pytest.approx(97.5), "a run that was killed after step 50 and goes on"
    assert plan().left(0, 100, 210.0) == pytest.approx(20), "the evaluation of the finished run is still to come"


def test_the_mean_of_nothing_is_nothing() -> None:
    assert mean([]) == 0.0
    assert mean([1.0, 3.0]) == 2.0
