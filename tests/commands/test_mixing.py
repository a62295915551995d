"""Several parts, one order: what linear mixing finds is what scoring every item gives; minus takes away only excess."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.commands.mixing import Weighed

GENERATOR = np.random.default_rng(0)


def units(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.lists(st.floats(0.1, 2), min_size=1, max_size=5), st.integers(0, 1000))
def test_wanted_parts_order_items_as_one_direction_does(weights: list[float], seed: int) -> None:
    items, parts = units(200, seed=seed), units(len(weights), seed=seed + 1)
    weighed = Weighed.against(items[:100], parts, weights)
    assert weighed.linear
    by_direction, by_score = items @ weighed.direction(), weighed.scores(items)
    assert np.corrcoef(by_direction, by_score)[0, 1] == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(
        weighed.shares(items).sum(1),
        (weighed.standard(items) * weighed.weights_P).sum(1) / sum(weights),
        rtol=1e-3,
        atol=1e-4,
    )


def test_one_wanted_part_scores_by_its_cosine() -> None:
    items, part = units(50), units(1, seed=5)
    weighed = Weighed.against(items, part, [0.3])
    assert weighed.simple
    np.testing.assert_allclose(weighed.scores(items), items @ part[0], rtol=1e-6)


def test_a_minus_takes_away_what_an_item_has_of_it_and_leaves_the_others_as_they_are() -> None:
    items, parts = units(500), units(2, seed=5)
    mixed = Weighed.against(items, parts, [1.0, -1.0])
    alone = Weighed.against(items, parts[:1], [1.0])
    assert not mixed.linear
    below = mixed.standard(items)[:, 1] <= 0
    np.testing.assert_allclose(mixed.scores(items)[below], alone.standard(items)[below, 0] / 2, rtol=1e-4, atol=1e-5)
    assert (mixed.scores(items)[~below] < alone.standard(items)[~below, 0] / 2).all()


def test_a_part_that_spreads_more_does_not_drown_the_others() -> None:
    """Pictures score pictures from 0.3 to 1, texts from 0.1 to 0.3: both count alike once they are measured."""
    near, far = units(1, seed=1)[0], units(1, seed=2)[0]
    items = units(500, seed=3) + 3 * GENERATOR.random((500, 1)).astype(np.float32) * near
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    weighed = Weighed.against(items, np.stack([near, far]), [1.0, 1.0])
    shares = weighed.shares(items)
    assert shares[:, 0].std() == pytest.approx(shares[:, 1].std(), rel=0.05)


def test_only_minus_looks_away_from_it() -> None:
    items, part = units(300), units(1, seed=5)
    weighed = Weighed.against(items, part, [-1.0])
    np.testing.assert_allclose(weighed.direction(), -part[0], atol=1e-6)
    assert weighed.scores(items).argmax() == (items @ part[0]).argmin()


def test_parts_that_cancel_and_an_empty_background_still_give_a_direction() -> None:
    part = units(1)
    weighed = Weighed.against(np.empty((0, 16), np.float32), np.concatenate([part, -part]), [1.0, 1.0])
    assert np.isfinite(weighed.direction()).all()
    assert np.linalg.norm(weighed.direction()) == pytest.approx(1, abs=1e-5)
