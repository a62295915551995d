"""Fit and check a calibration on held-out scores (Platt 1999, with the targets and steps of Lin, Lin & Weng 2007).

Matches and non-matches weigh the same in total, however many of each were drawn: the prior is even, so that the number
of negatives that happened to be sampled does not leak into a percentage.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation
from ..models.calibration import Calibration
from ..types import UserError
from .vectors import beside, unit

_STEPS = 100
_HALVINGS = 30


def fit(scores: np.ndarray, is_match: np.ndarray) -> Calibration:
    """The calibration of maximum likelihood, by Newton's method in float64.

    Targets are pulled off 0 and 1 as if one more of each kind had been seen, so separable scores give a finite slope.
    Scores that do not separate matches from non-matches give slope 0: an even chance for every score.
    """
    scores, is_match = np.asarray(scores, np.float64), np.asarray(is_match, bool)
    weights = _balance(is_match)
    centre, spread = scores.mean(), scores.std()
    if spread < 1e-9:
        return Calibration(0.0, 0.0)
    design_N2 = np.stack([(scores - centre) / spread, np.ones_like(scores)], axis=1)
    matches = int(is_match.sum())
    targets = np.where(is_match, (matches + 1) / (matches + 2), 1 / (len(scores) - matches + 2))
    slope, offset = newton(design_N2, targets, weights)
    if slope <= 0:
        return Calibration(0.0, 0.0)
    return Calibration(float(slope / spread), float(offset - slope * centre / spread))


def sample_scores(
    query_NE: Tensor, gallery_ME: Tensor, relation: Relation, seed: int = 0, most: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of matches and of non-matches, at most ``most`` of each; ``relation`` is of queries with the gallery.

    One match per query is drawn, so that an item with many captions does not outvote the others.
    """
    query_NE, gallery_ME = unit(query_NE, "queries"), unit(gallery_ME, "gallery items")
    relation = beside(relation, query_NE, gallery_ME).to("cpu")
    generator = np.random.default_rng(seed)
    first_N, last_N, item_Q = relation.partners(generator.permutation(len(gallery_ME)))
    rows_N = generator.permutation(np.flatnonzero(last_N > first_N))[:most]
    partner_N = item_Q[generator.integers(first_N[rows_N], last_N[rows_N])] if len(rows_N) else rows_N
    left, right = generator.integers(0, relation.shape, size=(most, 2)).T
    others = ~relation.matched(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    return (
        _cosines(query_NE, gallery_ME, rows_N, partner_N),
        _cosines(query_NE, gallery_ME, left[others], right[others]),
    )


def _balance(is_match: np.ndarray) -> np.ndarray:
    """Weights that sum to one, half of it on the matches."""
    matches = int(is_match.sum())
    if matches == 0 or matches == len(is_match):
        raise UserError(
            f"calibration needs scores of matches and of non-matches and was given {matches} matches "
            f"among {len(is_match)}; hold out pairs that do not all match each other"
        )
    return np.where(is_match, 0.5 / matches, 0.5 / (len(is_match) - matches))


def newton(design_NF: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Minimise the weighted cross entropy, a convex function; steps are halved until they go downhill."""
    theta = np.zeros(design_NF.shape[1])
    loss = _cross_entropy(design_NF @ theta, targets, weights)
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-design_NF @ theta))
        gradient = design_NF.T @ (weights * (share - targets))
        curvature = design_NF.T @ (design_NF * (weights * share * (1 - share))[:, None]) + 1e-12 * np.eye(len(theta))
        step = np.linalg.solve(curvature, gradient)
        for halving in range(_HALVINGS):
            trial = theta - step / 2**halving
            trial_loss = _cross_entropy(design_NF @ trial, targets, weights)
            if trial_loss <= loss:
                break
        else:
            return theta
        converged = loss - trial_loss < 1e-14
        theta, loss = trial, trial_loss
        if converged:
            break
    return theta


def _cross_entropy(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ (np.logaddexp(0, logits) - targets * logits))


def _cosines(query_NE: Tensor, gallery_ME: Tensor, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left_P, right_P = torch.as_tensor(left, device=query_NE.device), torch.as_tensor(right, device=query_NE.device)
    return np.asarray((query_NE[left_P] * gallery_ME[right_P]).sum(1).double().cpu())
