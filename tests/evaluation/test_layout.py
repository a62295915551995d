from __future__ import annotations

import numpy as np
import pytest
import torch

from cospace.evaluation.layout import layout, nearest_rows, principal_plane
from cospace.evaluation.maps import agreement


def families(count: int, width: int = 32, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Rows of forty families that spread in three directions of their own, and the family of each."""
    dice = np.random.default_rng(seed)
    family_N = dice.integers(0, 40, count)
    centre_FE, along_F3E = 2 * dice.standard_normal((40, width)), dice.standard_normal((40, 3, width))
    rows = centre_FE[family_N] + (dice.uniform(-1, 1, (count, 3, 1)) * along_F3E[family_N]).sum(1)
    rows += 0.1 * dice.standard_normal((count, width))
    return torch.from_numpy(rows - rows.mean(0)).float(), family_N


def agreed(full_NE: torch.Tensor, flat_N2: np.ndarray | torch.Tensor) -> float:
    return agreement(full_NE, torch.as_tensor(flat_N2).float(), np.random.default_rng(0))


def test_neighbours_stay_neighbours_where_a_plane_through_the_space_loses_them() -> None:
    full_NE, _ = families(1500)
    ours, plain = agreed(full_NE, layout(full_NE)), agreed(full_NE, principal_plane(full_NE))
    assert ours > 0.6
    assert ours > 1.8 * plain


def test_a_sample_lays_out_the_rest() -> None:
    full_NE, family_N = families(3000)
    places_N2 = layout(full_NE, landmarks=600)
    assert agreed(full_NE, places_N2) > 1.3 * agreed(full_NE, principal_plane(full_NE))
    _, near_NK = nearest_rows(torch.from_numpy(places_N2), torch.from_numpy(places_N2), 5, itself=True)
    assert np.mean(family_N[near_NK] == family_N[:, None]) > 0.95


def test_the_same_seed_gives_the_same_map() -> None:
    full_NE, _ = families(700)
    assert np.array_equal(layout(full_NE, seed=1, landmarks=300), layout(full_NE, seed=1, landmarks=300))
    assert not np.array_equal(layout(full_NE, seed=1, landmarks=300), layout(full_NE, seed=2, landmarks=300))


def test_kinds_are_tied_together() -> None:
    """Two modalities with the same families in places of their own: edges across put a pair's ends side by side."""
    full_NE, _ = families(400)
    dice = torch.Generator().manual_seed(0)
    both = torch.cat([full_NE, full_NE + 4 * torch.randn(full_NE.shape[1], generator=dice)])
    kind = torch.arange(800) // 400

    def apart(places_N2: np.ndarray) -> float:
        return float(np.linalg.norm(places_N2[:400] - places_N2[400:], axis=1).mean() / places_N2.std())

    assert apart(layout(both, kind)) < 0.4 * apart(layout(both))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 8, 9, 12, 30])
def test_few_rows(count: int) -> None:
    places_N2 = layout(families(max(count, 1))[0][:count])
    assert places_N2.shape == (count, 2)
    assert np.isfinite(places_N2).all()


def test_rows_that_are_all_the_same() -> None:
    places_N2 = layout(torch.zeros(50, 8), torch.arange(50) % 2)
    assert np.isfinite(places_N2).all()


def test_a_kind_with_one_row() -> None:
    full_NE, _ = families(60)
    assert np.isfinite(layout(full_NE, (torch.arange(60) == 7).long())).all()


def test_nearest_rows_are_those_of_a_plain_sort() -> None:
    full_NE, _ = families(300)
    distance_NN = torch.cdist(full_NE, full_NE).fill_diagonal_(torch.inf)
    expected = distance_NN.topk(6, largest=False)
    squared, near = nearest_rows(full_NE, full_NE, 6, itself=True)
    assert torch.equal(near, expected.indices)
    assert torch.allclose(squared, expected.values.square(), atol=1e-2)
