"""Where no score reaches a word that is worth showing, the items whose captions hold the words come first."""

from __future__ import annotations

import numpy as np

from cospace.commands.relevance import Found, Verdict, Wording, captions_first
from cospace.models.calibration import BY_CAPTION, STRONG, Asked


def judged(probability: list[float], maybe: int = 0, unknown: tuple[str, ...] = ()) -> Verdict:
    return Verdict(np.array(probability), 0, 0, maybe, unknown)


def wording(*numbers: int) -> Wording:
    return Wording(Asked(holding=len(numbers), known=1), (), np.array(numbers, np.int64))


def test_when_captions_decide() -> None:
    low = judged([0.1, 0.05])
    assert low.left_to_captions(wording(7))
    assert not low.left_to_captions(wording())  # no caption holds the words
    assert judged([0.3, 0.2], maybe=2).left_to_captions(wording(7))  # nothing is likely
    assert not Verdict(np.array([0.6, 0.3]), 0, 1, 2).left_to_captions(wording(7))  # the score does
    assert not judged([0.1], unknown=("qwzx",)).left_to_captions(wording(7))  # a word means nothing here
    assert not Verdict(None, 0, 0, 0).left_to_captions(wording(7))  # nothing is calibrated
    whole = Wording(Asked(known=6), (), np.array([7], np.int64))
    assert not low.left_to_captions(whole)  # of a whole caption the order of words counts, and is not known here


def test_what_captions_say_comes_first_the_best_score_first() -> None:
    found = Found(np.array([4, 7, 2]), np.array([0.5, 0.4, 0.3], np.float32))
    holding = Found(np.array([9, 7]), np.array([0.1, 0.4], np.float32))
    verdict, joined = captions_first(judged([0.15, 0.1, 0.01]), found, holding)
    assert joined.numbers_N.tolist() == [7, 9, 4, 2]
    assert joined.scores_N.tolist() == np.float32([0.4, 0.1, 0.5, 0.3]).tolist()
    assert verdict.probability_N is not None
    assert verdict.probability_N.tolist() == [BY_CAPTION, BY_CAPTION, 1 - BY_CAPTION, 0.01]
    assert [verdict.match(place) for place in range(4)] == ["strong", "strong", "weak", "weak"]
    assert BY_CAPTION >= STRONG


def test_only_the_first_results_need_a_probability() -> None:
    found = Found(np.arange(5), np.linspace(0.5, 0.1, 5, dtype=np.float32))
    holding = Found(np.array([1]), np.array([0.4], np.float32))
    verdict, joined = captions_first(judged([0.15, 0.1]), found, holding)
    assert joined.numbers_N.tolist() == [1, 0, 2, 3, 4]
    assert verdict.probability_N is not None
    assert verdict.probability_N.tolist() == [BY_CAPTION, 1 - BY_CAPTION]
