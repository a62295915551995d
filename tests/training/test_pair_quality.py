"""Wrong pairs that are planted are found, with honest probabilities; what must not change a score does not."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from cospace.data.pairs import built_in
from cospace.data.prepared import different_items
from cospace.matches import Matches
from cospace.modalities import modality
from cospace.training import cross_fitting
from cospace.training.cross_fitting import Maps, Method, Pairing, View, area, fit, mutual_information, out_of_fold
from cospace.training.pair_quality import PairQuality, judge_pairs, mixture, units

FACTORS = 8


def features(items: int, captions: int = 1, noise: float = 0.5, seed: int = 0) -> tuple[View, np.ndarray]:
    """Items with a few shared factors on both sides and several captions each, and which item each row has."""
    draw = np.random.default_rng(seed)
    factors_NK = draw.normal(size=(items, FACTORS))
    item_R = np.repeat(np.arange(items), captions)
    left_ND = factors_NK @ draw.normal(size=(FACTORS, 24)) + noise * draw.normal(size=(items, 24)) + 1
    right_OF = factors_NK[item_R] @ draw.normal(size=(FACTORS, 16)) + noise * draw.normal(size=(len(item_R), 16))
    return View(torch.tensor(left_ND).float(), torch.tensor(right_OF).float()), item_R


def planted(item_R: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``(R, 2)`` in which a share of the rows pass their captions round, and which rows these are."""
    draw = np.random.default_rng(seed)
    wrong = np.zeros(len(item_R), bool)
    wrong[draw.permutation(len(item_R))[: round(share * len(item_R))]] = True
    right_R = np.arange(len(item_R))
    chosen = draw.permutation(np.flatnonzero(wrong))
    right_R[chosen] = np.roll(chosen, 1)
    items_R2 = np.stack([item_R, right_R], axis=1)
    return items_R2, item_R[right_R] != item_R


def components(items_R2: np.ndarray) -> np.ndarray:
    return Matches.of({"left": items_R2[:, 0], "right": items_R2[:, 1]}).components()


def judged(view: View, items_R2: np.ndarray, seed: int = 0) -> PairQuality:
    return judge_pairs([view], items_R2, components(items_R2), seed)


def among(logits: np.ndarray, which: np.ndarray) -> float:
    """The log-softmax of one of some logits, plus the logarithm of how many there are."""
    return float(logits[which][0] - np.log(np.exp(logits).sum()) + np.log(len(logits)))


@functools.cache
def one_caption_each() -> tuple[View, np.ndarray, np.ndarray, PairQuality]:
    view, item_R = features(600)
    items_R2, wrong = planted(item_R, 0.1)
    return view, items_R2, wrong, judged(view, items_R2)


def test_exchanged_captions_are_found_with_honest_probabilities() -> None:
    _, _, wrong, quality = one_caption_each()
    assert area(quality.wrong_R[wrong], quality.wrong_R[~wrong]) > 0.97
    assert quality.share == pytest.approx(0.1, abs=0.03)
    parts = np.array_split(np.argsort(quality.wrong_R), 10)
    assert np.mean([abs(quality.wrong_R[part].mean() - wrong[part].mean()) for part in parts]) < 0.03
    assert wrong[quality.ranking[:30]].all()


def test_a_better_partner_is_often_the_one_that_was_exchanged() -> None:
    _, items_R2, wrong, quality = one_caption_each()
    rows = np.flatnonzero((quality.better_R >= 0) & wrong)
    assert len(rows) > 30
    assert (quality.better_R[~np.isnan(quality.wrong_R) & (quality.wrong_R < 0.5)] == -1).all()
    assert (items_R2[quality.better_R[rows], 1] == items_R2[rows, 0]).mean() > 0.2, "by chance 1 in 600"


def test_right_pairs_alone_are_left_alone() -> None:
    view, item_R = features(600, seed=1)
    items_R2, _ = planted(item_R, 0.0)
    quality = judged(view, items_R2)
    assert quality.share < 0.02 and (quality.wrong_R > 0.5).mean() < 0.01


def test_features_that_say_nothing_judge_nothing() -> None:
    _, items_R2, _, _ = one_caption_each()
    draw = torch.Generator().manual_seed(0)
    blind = View(torch.randn(600, 8, generator=draw), torch.randn(600, 8, generator=draw))
    quality = judged(blind, items_R2)
    assert quality.separation < 0.6 and not quality.wrong_R.any() and (quality.better_R == -1).all()


def test_several_captions_of_an_item_speak_for_each_other() -> None:
    """One wrong caption among five is found by the other four, whatever the item's own features say."""
    view, item_R = features(120, captions=5)
    items_R2, wrong = planted(item_R, 0.1)
    unseen = View(torch.randn(120, 24, generator=torch.Generator().manual_seed(0)), view.right_OF)
    quality = judged(unseen, items_R2)
    assert area(quality.wrong_R[wrong], quality.wrong_R[~wrong]) > 0.9


def test_wrong_classes_are_found_where_captions_are_few() -> None:
    draw = np.random.default_rng(0)
    label_R = draw.integers(0, 6, 900)
    left = torch.tensor(draw.normal(size=(6, 20))[label_R] + 0.8 * draw.normal(size=(900, 20))).float()
    wrong = np.arange(900) % 20 == 0
    given_R = np.where(wrong, (label_R + draw.integers(1, 6, 900)) % 6, label_R)
    items_R2 = np.stack([np.arange(900), given_R], axis=1)
    quality = judge_pairs([View(left, torch.zeros(6, 1))], items_R2, components(items_R2))
    assert area(quality.wrong_R[wrong], quality.wrong_R[~wrong]) > 0.97
    found = np.flatnonzero((quality.better_R >= 0) & wrong)
    assert (given_R[quality.better_R[found]] == label_R[found]).mean() > 0.9


def test_the_order_of_rows_is_no_matter_and_equal_rows_are_judged_alike() -> None:
    view, items_R2, _, quality = one_caption_each()
    order = np.random.default_rng(3).permutation(len(items_R2))
    doubled = np.concatenate([order, order[:50]])
    again = judged(view, items_R2[doubled])
    assert np.array_equal(again.wrong_R, quality.wrong_R[doubled])
    assert np.array_equal(items_R2[doubled][again.better_R, 1][again.better_R >= 0],
                          items_R2[quality.better_R, 1][doubled][again.better_R >= 0])  # fmt: skip


def test_the_same_seed_gives_the_same_and_another_one_nearly() -> None:
    view, items_R2, _, quality = one_caption_each()
    assert np.array_equal(judged(view, items_R2).wrong_R, quality.wrong_R)
    other = judged(view, items_R2, seed=1)
    assert not np.array_equal(other.wrong_R, quality.wrong_R)
    assert np.corrcoef(other.wrong_R, quality.wrong_R)[0, 1] > 0.95


def test_rows_that_lack_an_item_are_not_judged() -> None:
    view, items_R2, _, _ = one_caption_each()
    items_R2 = items_R2.copy()
    items_R2[::7, 1] = -1
    quality = judged(view, items_R2)
    assert np.array_equal(np.isnan(quality.wrong_R), items_R2[:, 1] < 0)
    assert len(quality.ranking) == (items_R2[:, 1] >= 0).sum()


def test_too_few_pairs_are_not_judged() -> None:
    view, item_R = features(20)
    quality = judged(view, planted(item_R, 0.1)[0])
    assert np.isnan(quality.wrong_R).all() and not len(quality.ranking)


def test_a_space_of_its_own_needs_no_fit() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(300, 16))
    view = View(
        torch.tensor(vectors).float(), torch.tensor(vectors + 0.8 * draw.normal(size=vectors.shape)).float(), True
    )
    items_R2, wrong = planted(np.arange(300), 0.1)
    quality = judged(view, items_R2)
    assert area(quality.wrong_R[wrong], quality.wrong_R[~wrong]) > 0.97
    assert Maps()(view.left_ND, 0) is view.left_ND


# ------------------------------------------------------------------------------------------------ its parts


def test_what_is_judged_was_not_fitted_on() -> None:
    """The signals of a fold are those of a plain fit on the other folds, and of a plain log-softmax in its pool.

    There an item's own partners are no competitors of each other, nor of wrong ones.
    """
    view, item_R = features(200, captions=2)
    items_R2, _ = planted(item_R, 0.1)
    pairs_P2 = np.unique(items_R2, axis=0)
    pairing = Pairing.of(pairs_P2[:, 0], pairs_P2[:, 1], units(components(pairs_P2), pairs_P2), 0)
    method = Method(0.3, 0.3, True, 20.0)
    signals_PC2 = out_of_fold(view, pairing, [method], seed=5)[method]
    fold_P = pairing.folds(5)
    rest, own = np.flatnonzero(fold_P != 2), np.flatnonzero(fold_P == 2)
    assert not set(components(pairs_P2)[rest]) & set(components(pairs_P2)[own])
    (maps,) = fit(view, pairs_P2[rest, 0], pairs_P2[rest, 1], [(0.3, 0.3)])
    left, right = np.unique(pairs_P2[own, 0]), np.unique(pairs_P2[own, 1])
    sides = (maps(view.left_ND[left], 0).double().numpy(), maps(view.right_OF[right], 1).double().numpy())
    cosine = np.divide(sides[0] @ sides[1].T, np.outer(*(np.linalg.norm(side, axis=1) for side in sides)))
    component = dict(zip(pairs_P2[:, 0].tolist(), components(pairs_P2).tolist(), strict=True))
    of_left = np.array([component[item] for item in left.tolist()])
    component = dict(zip(pairs_P2[:, 1].tolist(), components(pairs_P2).tolist(), strict=True))
    of_right = np.array([component[item] for item in right.tolist()])
    for pair in own[:20].tolist():
        row = int(np.searchsorted(left, pairs_P2[pair, 0]))
        for column, item in enumerate(pairing.right_PC[pair].tolist()):
            place = int(np.searchsorted(right, item))
            kept_right = np.union1d(np.flatnonzero(of_right != of_left[row]), [place])
            kept_left = np.union1d(np.flatnonzero(of_left != of_right[place]), [row])
            forth = among(20 * cosine[row, kept_right], kept_right == place)
            back = among(20 * cosine[kept_left, place], kept_left == row)
            assert signals_PC2[pair, column] == pytest.approx([forth, back], abs=2e-3)


def test_a_fit_of_some_is_that_of_all_where_they_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    view, item_R = features(300)
    (whole,) = fit(view, item_R, item_R, [(1.0, 0.3)])
    monkeypatch.setattr(cross_fitting, "FITTED", 150)
    (some,) = fit(view, item_R, item_R, [(1.0, 0.3)])
    half = np.linspace(0, 299, 150).astype(int)
    (expected,) = fit(view, half, half, [(1.0, 0.3)])
    assert torch.equal(some(view.left_ND, 0), expected(view.left_ND, 0))
    assert not torch.equal(some(view.left_ND, 0), whole(view.left_ND, 0))


def test_wrong_partners_are_of_other_units_of_the_same_fold() -> None:
    item_R = np.repeat(np.arange(100), 3)
    pairing = Pairing.of(item_R, np.arange(300), item_R, 0)
    assert (pairing.wrong_PM >= 0).all()
    assert (item_R[pairing.wrong_PM] != item_R[:, None]).all()
    for seed in range(3):
        fold_P = pairing.folds(seed)
        assert (fold_P[pairing.wrong_PM] == fold_P[:, None]).all()
        pools = list(pairing.pools(np.flatnonzero(fold_P == 0), seed))
        assert np.array_equal(np.sort(np.concatenate(pools)), np.flatnonzero(fold_P == 0))


def test_of_two_unrelated_things_the_mutual_information_is_none() -> None:
    forth, back = mutual_information(torch.zeros(5, 7), 20.0)
    assert forth.abs().max() < 1e-5 and back.abs().max() < 1e-5


def test_an_item_alone_in_its_pool_says_nothing() -> None:
    forth, back = mutual_information(torch.ones(1, 2), 20.0, torch.ones(1, 2, dtype=torch.bool))
    assert forth.abs().max() < 1e-5 and back.abs().max() < 1e-5


def test_perfect_features_leave_the_share_as_it_is() -> None:
    """A wrong partner is drawn as if the right one were elsewhere, as it is for pairs that are wrong."""
    view, item_R = features(600, noise=0.05)
    items_R2, wrong = planted(item_R, 0.1)
    quality = judged(view, items_R2)
    assert quality.share == pytest.approx(0.1, abs=0.02)
    assert quality.wrong_R[wrong].mean() > 0.9 and quality.wrong_R[~wrong].mean() < 0.02


def test_the_mixture_knows_a_share_of_normal_scores() -> None:
    """Two normal densities of equal width have a log ratio that is linear, so that nothing is misspecified."""
    draw = np.random.default_rng(0)
    wrong = np.arange(4000) % 5 == 0
    given = draw.normal(np.where(wrong, 0.0, 3.0))[:, None]
    probability, share, apart = mixture(given, draw.normal(size=(12_000, 1)))
    assert share == pytest.approx(0.2, abs=0.02) and 0.85 < apart < 0.95
    odds = 0.25 * np.exp(-3 * given[:, 0] + 4.5)
    assert np.abs(probability - odds / (1 + odds)).mean() < 0.02


def test_descriptors_of_scenes_are_judged() -> None:
    """The built-in drawings: a caption of another drawing is found by small colours, edges and words."""
    scenes = built_in("scenes/val")
    first = np.unique(scenes.keys["image"], return_index=True)[1]
    pairs = scenes.select(first[:400])
    sides = {name: different_items(pairs, name) for name in ("image", "text")}
    described = [modality(name).descriptors(raws) for name, (raws, _) in sides.items()]
    left, right = (torch.from_numpy(np.asarray(one.items)) for one in described if one is not None)
    items_R2 = np.stack([item_of_row for _, item_of_row in sides.values()], axis=1)
    draw = np.random.default_rng(0)
    chosen = draw.permutation(len(pairs))[:40]
    items_R2[chosen, 1] = items_R2[np.roll(chosen, 1), 1]
    wrong = np.isin(np.arange(len(pairs)), chosen)
    quality = judged(View(left, right), items_R2)
    assert area(quality.wrong_R[wrong], quality.wrong_R[~wrong]) > 0.8
