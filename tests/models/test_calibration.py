"""Calibration: recovers a known curve, survives degenerate scores, and its error is measured right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cospace.evaluation.platt import fit, sample_scores
from cospace.matches import Relation
from cospace.models.calibration import Calibration
from cospace.types import UserError


def draw(slope: float, offset: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    scores = generator.uniform(-0.2, 0.8, n)
    return scores, generator.random(n) < Calibration(slope, offset).probability(scores)


def test_fit_recovers_a_known_curve_at_an_even_prior() -> None:
    scores, is_match = draw(12.0, -3.6)  # symmetric around the middle of the scores: half of them match
    found = fit(scores, is_match)
    assert found.slope == pytest.approx(12, rel=0.05)
    assert found.offset == pytest.approx(-3.6, rel=0.05)


def test_the_number_of_negatives_does_not_matter() -> None:
    scores, is_match = draw(12.0, -3.6)
    many = np.concatenate([scores, np.repeat(scores[~is_match], 9)])
    found = fit(many, np.concatenate([is_match, np.zeros(9 * (~is_match).sum(), bool)]))
    assert found.slope == pytest.approx(fit(scores, is_match).slope, rel=0.01)
    assert found.offset == pytest.approx(fit(scores, is_match).offset, rel=0.02)


def test_separable_scores_give_a_finite_slope() -> None:
    found = fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert 0 < found.slope < 100
    assert found.probability(np.array([0.1, 0.9])) == pytest.approx([0.25, 0.75], abs=0.05)
    clear = np.r_[np.random.default_rng(0).normal(0, 0.01, 5000), np.random.default_rng(1).normal(1, 0.01, 5000)]
    assert np.isfinite(fit(clear, np.arange(10_000) >= 5000).slope)


@pytest.mark.parametrize("scores", [np.full(100, 0.4), np.r_[np.ones(50), np.zeros(50)]])
def test_scores_that_say_nothing_give_an_even_chance(scores: np.ndarray) -> None:
    found = fit(scores, np.arange(100) >= 50)
    assert found.probability(np.array([-1.0, 0.4, 1.0])).tolist() == [0.5, 0.5, 0.5]


def test_one_kind_of_score_is_an_error() -> None:
    with pytest.raises(UserError, match="0 matches among 3"):
        fit(np.array([0.1, 0.2, 0.3]), np.zeros(3, bool))


def test_the_prior_moves_the_odds() -> None:
    even = Calibration(10.0, -5.0)
    odds = [p / (1 - p) for p in (even.probability(0.6), even.at(0.01).probability(0.6))]
    assert odds[1] / odds[0] == pytest.approx(1 / 99)
    assert np.isfinite(Calibration(1e6, 0).probability(np.array([-1.0, 1.0]))).all()


def test_sampled_scores_are_pairs_and_strangers() -> None:
    image = torch.eye(50)
    text = image.repeat_interleave(3, 0)
    relation = Relation.of_groups(torch.arange(50).repeat_interleave(3), torch.arange(50))
    matched, unmatched = sample_scores(text, image, relation, most=200)
    assert matched.tolist() == [1.0] * 150
    assert len(unmatched) > 150
    assert not unmatched.any()
