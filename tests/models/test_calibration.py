"""Calibration: recovers a known curve, survives degenerate scores, and its error is measured right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cospace.evaluation.matches import fit_matching
from cospace.evaluation.platt import expected_calibration_error, fit, reliability, sample_scores
from cospace.matches import Relation
from cospace.models.calibration import Calibration, Matching
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


def test_calibration_error() -> None:
    scores, is_match = draw(12.0, -3.6)
    good = fit(scores, is_match).probability(scores)
    assert expected_calibration_error(good, is_match) < 0.02
    assert expected_calibration_error(np.full(len(scores), 0.9), is_match) == pytest.approx(0.4)
    bins = reliability(good, is_match)
    assert sum(b.count for b in bins) == len(scores)
    assert all(abs(b.predicted - b.observed) < 0.05 for b in bins)


def test_sampled_scores_are_pairs_and_strangers() -> None:
    image = torch.eye(50)
    text = image.repeat_interleave(3, 0)
    relation = Relation.of_groups(torch.arange(50).repeat_interleave(3), torch.arange(50))
    matched, unmatched = sample_scores(text, image, relation, most=200)
    assert matched.tolist() == [1.0] * 150
    assert len(unmatched) > 150
    assert not unmatched.any()


def space_of(queries: int, items: int, noise: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and items in 64 numbers; query ``i`` is item ``i`` seen through noise."""
    generator = torch.Generator().manual_seed(seed)
    gallery_ME = torch.nn.functional.normalize(torch.randn(items, 64, generator=generator), dim=1)
    noisy = gallery_ME[:queries] + noise * torch.randn(queries, 64, generator=generator)
    return torch.nn.functional.normalize(noisy, dim=1), gallery_ME


def percentages(matching: Matching, query_NE: torch.Tensor, gallery_ME: torch.Tensor) -> np.ndarray:
    scores = (query_NE @ gallery_ME.T).double().numpy()
    z = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    return matching.probability(scores, z, len(gallery_ME))


@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_the_percentages_of_a_search_are_the_shares_of_matches_also_in_a_larger_collection(noise: float) -> None:
    matching = fit_matching(*space_of(400, 400, noise), Relation.of_groups(np.arange(400)))
    assert matching is not None
    for items in (400, 4000):
        query_NE, gallery_ME = space_of(400, items, noise, seed=1)
        chance = percentages(matching, query_NE, gallery_ME)
        top, right = chance.max(1), chance.argmax(1) == np.arange(400)
        # 0.1: the model of two numbers is no more exact than this where noise makes a third of the answers wrong.
        assert top.mean() == pytest.approx(right.mean(), abs=0.1)


def test_what_stands_out_from_nothing_is_no_match() -> None:
    matching = fit_matching(*space_of(400, 400, 0.15), Relation.of_groups(np.arange(400)))
    stranger = torch.nn.functional.normalize(torch.randn(50, 64, generator=torch.Generator().manual_seed(9)), dim=1)
    assert percentages(matching, stranger, space_of(400, 400, 0.15)[1]).max() < 0.3


def test_percentages_go_down_with_the_cosine_and_with_the_size_of_the_collection() -> None:
    matching = fit_matching(*space_of(200, 200, 0.2), Relation.of_groups(np.arange(200)))
    rising = matching.probability(np.linspace(-1, 1, 50), np.linspace(-5, 5, 50), 1000)
    assert (np.diff(rising) >= 0).all()
    at = [float(matching.probability(np.array(0.8), np.array(5.0), items)) for items in (10, 1000, 100_000)]
    assert at == sorted(at, reverse=True)


def test_too_few_held_out_queries_give_no_percentages() -> None:
    assert fit_matching(*space_of(99, 400, 0.2), Relation.of_groups(np.arange(99), np.arange(400))) is None
    assert fit_matching(*space_of(200, 200, 0.2), Relation.of_groups(np.arange(200), np.arange(200) + 1000)) is None


def test_a_space_that_says_nothing_calls_nothing_a_good_match() -> None:
    query_NE, gallery_ME = space_of(300, 300, 0.2)
    matching = fit_matching(
        query_NE, gallery_ME, Relation.of_groups(np.arange(300), np.random.default_rng(0).permutation(300))
    )
    assert percentages(matching, query_NE, gallery_ME).max() < 0.3
