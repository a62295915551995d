"""Heads in closed form against plain references, and what cross-validation chooses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cospace.models.heads import ClosedFormHead
from cospace.training import closed_form
from cospace.training.closed_form import Choice, ClassNames, Features, build, evaluate_choice, fit, recall_at_1, split

ITEMS, TEXTS, LEFT, RIGHT, SHARED = 80, 3, 24, 16, 6


def features(seed: int = 0, noise: float = 0.3, items: int = ITEMS) -> Features:
    """Items with a few shared factors on both sides, several texts each."""
    draw = np.random.default_rng(seed)
    factors_NK = draw.normal(size=(items, SHARED))
    maps = np.random.default_rng(9)
    left_KD, right_KF = maps.normal(size=(SHARED, LEFT)), maps.normal(size=(SHARED, RIGHT))
    left_ND = factors_NK @ left_KD + noise * draw.normal(size=(items, LEFT)) + 2
    right_MF = np.repeat(factors_NK, TEXTS, 0) @ right_KF + noise * draw.normal(size=(items * TEXTS, RIGHT)) - 1
    pairs_P2 = np.stack([np.repeat(np.arange(items), TEXTS), np.arange(items * TEXTS)], axis=1)
    tensors = (torch.tensor(left_ND).float(), torch.tensor(right_MF).float(), torch.from_numpy(pairs_P2))
    return Features(*tensors, pairs_P2[:, 0].copy())


def unit(rows: torch.Tensor) -> np.ndarray:
    return normalize(rows.double(), dim=-1).numpy()


def paired(one: Features) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of every pair, normalised and centred."""
    left, right = unit(one.left_ND)[one.pairs_P2[:, 0]], unit(one.right_MF)[one.pairs_P2[:, 1]]
    return left - left.mean(0), right - right.mean(0)


def heads(one: Features, choice: Choice) -> tuple[ClosedFormHead, ClosedFormHead]:
    return build(closed_form._Moments.of(one), one, choice)


def inverse_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors @ np.diag(values**-0.5) @ vectors.T)


def test_cca_is_the_textbook_one() -> None:
    """Whitened cross-covariance, its singular vectors, each weighted by its correlation."""
    one, (strength_left, strength_right) = features(), (0.5, 0.2)
    left, right = paired(one)
    cov_left, cov_right = left.T @ left / len(left), right.T @ right / len(right)
    root_left = inverse_root(cov_left + strength_left * np.trace(cov_left) / LEFT * np.eye(LEFT))
    root_right = inverse_root(cov_right + strength_right * np.trace(cov_right) / RIGHT * np.eye(RIGHT))
    basis, correlation, other = np.linalg.svd(
        root_left @ (left.T @ right / len(left)) @ root_right, full_matrices=False
    )
    maps = (root_left @ basis * correlation, root_right @ other.T * correlation)
    expected = (left @ maps[0]) @ (right @ maps[1]).T
    made = heads(one, Choice("cca", strength_left, strength_right))
    ours = (torch.tensor(left).float() @ made[0].map_DR) @ (torch.tensor(right).float() @ made[1].map_DR).T
    assert np.abs(ours.detach().numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


def test_ridge_is_regularised_least_squares() -> None:
    one, strength = features(), 0.7
    left, right = paired(one)
    cov = left.T @ left / len(left)
    expected = np.linalg.solve(cov + strength * np.trace(cov) / LEFT * np.eye(LEFT), left.T @ right / len(left))
    made = heads(one, Choice("ridge", strength, 0.0))
    both = (made[0].map_DR @ made[1].map_DR.T).detach().numpy()
    assert np.abs(both - expected).max() <= 1e-4 * np.abs(expected).max()


def test_procrustes_finds_a_rotation() -> None:
    """Features that are a rotation of each other, of one norm, match each other exactly."""
    draw = np.random.default_rng(0)
    left_ND = draw.normal(size=(ITEMS, RIGHT))
    rotation, _ = np.linalg.qr(draw.normal(size=(RIGHT, RIGHT)))
    places = torch.arange(ITEMS)
    one = Features(
        torch.tensor(left_ND).float(), torch.tensor(left_ND @ rotation).float(),
        torch.stack([places, places], dim=1), places.numpy(),
    )  # fmt: skip
    made = heads(one, Choice("procrustes", 0.0, 0.0))
    left_NE, right_NE = made[0](one.left_ND), made[1](one.right_MF)
    assert (left_NE * right_NE).sum(1).min() >= 0.9999
    assert recall_at_1(made, one) == (1.0, 1.0)


def test_a_plain_product_of_vectors_holds_the_correction_of_hubs() -> None:
    """cos - h(left) - h(right), where h is the log-mean-exp of the similarities with the other side's training set."""
    one, scale = features(), 10.0
    plain, corrected = (heads(one, Choice("cca", 1.0, 1.0, hub_scale=hubs)) for hubs in (0.0, scale))
    rows = (one.left_ND[:20], one.right_MF[:30])
    left, right = (head(side).detach().double() for head, side in zip(plain, rows, strict=True))
    banks = [head(side).detach().double() for head, side in zip(plain, (one.left_ND, one.right_MF), strict=True)]

    def hubness(vectors: torch.Tensor, side: int) -> torch.Tensor:
        own = torch.log(torch.exp(scale * vectors @ banks[1 - side].T).mean(1)) / scale
        mean = torch.log(torch.exp(scale * banks[side] @ banks[1 - side].T).mean(1)).mean() / scale
        return own - mean

    expected = left @ right.T - hubness(left, 0)[:, None] - hubness(right, 1)[None]
    made_left, made_right = (head(side).detach().double() for head, side in zip(corrected, rows, strict=True))
    assert (made_left @ made_right.T - expected).abs().max() <= 1e-5
    norms = torch.cat([made_left, made_right]).norm(dim=1)
    assert (norms - norms[0]).abs().max() <= 1e-5, "normalising leaves the order as it is"


def test_class_names_alone_find_what_the_classifier_knows() -> None:
    """A tower that tells the classes, and names that are the texts' own vectors: no pair is needed."""
    draw = np.random.default_rng(1)
    classes, width = 12, 8
    names_CK = torch.tensor(draw.normal(size=(classes, width))).float()
    labels = torch.arange(classes).repeat(4)
    left_ND = (
        torch.nn.functional.one_hot(labels, classes).float() + 0.05 * torch.tensor(draw.normal(size=(48, 12))).float()
    )
    right_MF = names_CK[labels] + 0.05 * torch.tensor(draw.normal(size=(48, width))).float()
    pairs = torch.stack([torch.arange(48), torch.arange(48)], dim=1)
    known = ClassNames(20 * torch.eye(classes), torch.zeros(classes), names_CK)
    one = Features(left_ND, right_MF, pairs, np.arange(48), known)
    made = heads(one, Choice("cca", 1e6, 1e6, class_weight=5.0))
    nearest = (normalize(made[0](left_ND), dim=1) @ normalize(made[1](right_MF), dim=1).T).argmax(1)
    assert (labels[nearest] == labels).float().mean() >= 0.95


def test_recall_counts_a_match_of_any_text() -> None:
    one = features(noise=0.0)
    made = heads(one, Choice("cca", 1e-6, 1e-6))
    assert min(recall_at_1(made, one)) >= 0.95
    shuffled = Features(one.left_ND.flip(0), one.right_MF, one.pairs_P2, one.unit_P)
    assert max(recall_at_1(made, shuffled)) <= 0.05


def test_folds_keep_units_whole_and_cover_all_of_them() -> None:
    one = features()
    seen: list[int] = []
    for train, test in split(one, seed=0):
        assert not set(train.unit_P.tolist()) & set(test.unit_P.tolist())
        assert len(test.left_ND) * TEXTS == len(test.pairs_P2) == len(test.right_MF)
        seen += np.unique(test.unit_P).tolist()
    assert sorted(seen) == list(range(ITEMS))


def test_the_fit_is_chosen_on_what_it_did_not_see_and_beats_chance_by_far() -> None:
    one, other = features(), features(seed=5)
    done = fit(one)
    assert done.recall == max(done.tried.values(), key=sum)
    assert {"cca", "ridge", "procrustes"} <= done.tried.keys()
    assert min(recall_at_1(done.heads, other)) >= 0.5, "by chance 0.0125"
    assert evaluate_choice(one, other, done.choice) == pytest.approx(recall_at_1(done.heads, other))
    again = fit(one)
    assert again.choice == done.choice
    assert torch.equal(again.heads[0].map_DR, done.heads[0].map_DR)


def test_few_texts_that_many_items_share_are_fitted_too() -> None:
    """Classes: twelve texts for two hundred items; folds go by items, and every class stays in each."""
    draw = np.random.default_rng(3)
    labels = torch.arange(12).repeat(20)
    right_MF = torch.tensor(draw.normal(size=(12, RIGHT))).float()
    left_ND = right_MF[labels] @ torch.tensor(draw.normal(size=(RIGHT, LEFT))).float()
    left_ND += 0.1 * torch.tensor(draw.normal(size=left_ND.shape)).float()
    one = Features(left_ND, right_MF, torch.stack([torch.arange(240), labels], dim=1), np.arange(240))
    assert min(fit(one).recall) >= 0.9
