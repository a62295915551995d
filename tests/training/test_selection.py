"""Which evaluation is kept, and when a run stops early."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cospace.training.selection import Evaluation, Selection, standard_error


def evaluations(selection: Selection, *scores: float, every: int = 10) -> list[bool]:
    """Scores of one group each; whether each evaluation was the best so far."""
    return [
        selection.add(every * number, Evaluation({"text_to_image/R@1": score}, np.array([score])))
        for number, score in enumerate(scores, 1)
    ]


def kept(selection: Selection, steps: int) -> int | None:
    found = selection.kept(steps)
    return None if found is None else found.step


def test_the_best_is_kept_and_of_equals_the_latest() -> None:
    selection = Selection()
    assert evaluations(selection, 0.2, 0.5, 0.5, 0.4) == [True, True, True, False]
    assert kept(selection, 40) == 30


def test_the_last_is_kept_where_that_is_asked_for() -> None:
    selection = Selection(keep="last")
    evaluations(selection, 0.5, 0.4)
    assert kept(selection, 20) == 20


def test_before_the_first_evaluation_and_without_scores_there_is_nothing_to_choose() -> None:
    selection = Selection(patience=1)
    assert kept(selection, 10) is None
    assert not selection.add(5, Evaluation({"loss": 1.0}))
    assert not selection.add(10, Evaluation({"loss": 2.0}))
    assert not selection.stops
    assert kept(selection, 10) == 10


def test_an_earlier_one_must_be_better_by_more_than_two_standard_errors_of_the_difference() -> None:
    dice = np.random.default_rng(0)
    groups = 50
    last_G = dice.random(groups) / groups
    change_G = dice.normal(size=groups) / groups
    change_G -= change_G.mean()
    error = standard_error((last_G + change_G).tolist(), last_G.tolist())
    for lead, step in ((1.9, 20), (2.1, 10)):
        selection = Selection()
        selection.add(10, Evaluation({}, last_G + change_G + lead * error / groups))
        selection.add(20, Evaluation({}, last_G))
        assert kept(selection, 20) == step
        assert kept(selection, 30) == 10, "a run that was stopped early keeps its best"


def test_the_standard_error_is_that_of_groups_drawn_again() -> None:
    dice = np.random.default_rng(1)
    one_G, other_G = dice.random((2, 200))
    drawn = dice.integers(0, 200, (4000, 200))
    bootstrap = (one_G - other_G)[drawn].sum(1).std()
    assert standard_error(one_G.tolist(), other_G.tolist()) == pytest.approx(bootstrap, rel=0.05)
    assert standard_error([1.0], [0.5]) == 0


def test_patience_counts_evaluations_without_a_better_score() -> None:
    selection = Selection(patience=2)
    evaluations(selection, 0.3, 0.4, 0.4)
    assert not selection.stops, "an equal one is none that is better, but only the first of two"
    evaluations(selection, 0.1)
    assert selection.stops
    assert not Selection(patience=None).stops


def test_its_state_goes_through_json_exactly() -> None:
    selection = Selection(patience=3)
    for step in range(1, 4):
        selection.add(step, Evaluation({"loss": 1 / step}, np.random.default_rng(step).random(5)))
    other = Selection(patience=3)
    other.restore(json.loads(json.dumps(selection.state())))
    assert (other.best, other.last) == (selection.best, selection.last)
    assert other.state() == selection.state()
    fresh = Selection()
    fresh.restore(json.loads(json.dumps(Selection().state())))
    assert fresh.best is None
