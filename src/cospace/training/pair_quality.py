"""How likely each pair of a collection is wrong, judged by models that have not seen it: no labels, seconds.

Three steps. Every pair is judged out of fold, on every view of its items (``cross_fitting``), and by the other partners
of its items. The same is known of wrong pairs, which are made by exchanging right items. Then the given pairs are a
mixture: a share of them is like the wrong ones, and the others are likelier by a factor whose logarithm is linear in
the signals. Both are fitted by expectation maximisation (a logistic regression in every step; the semi-parametric
mixture of Qin 1999), and the posterior is what a person sees. Where a caption names a class, the first signal is the
self-confidence of confident learning (Northcutt et al. 2021).

Shapes: ``P`` different pairs, ``M`` wrong partners of each, ``S`` signals, ``R`` rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.splits import LARGE_COMPONENT, MANY_COMPONENTS
from ..data.wrong_pairs import most_suspicious_first
from ..types import Progress, silent
from .cross_fitting import (
    Method,
    Pairing,
    View,
    area,
    choose,
    fit,
    mutual_information,
    out_of_fold,
    separation,
    siblings,
    similarities,
)

REPETITIONS = 3
"""Divisions into folds that are averaged."""

LEAST = 40
"""Different pairs below which nothing is judged."""

SUSPICIOUS = 0.5
"""Probability from which on a better partner is looked for."""

SEARCHED = 2_000
"""Pairs for which a better partner is looked for at most, the most suspicious first."""

BLIND = 0.6
"""Areas under the ROC curve of given against wrong pairs below this are luck: then nothing is called wrong."""

COMPARED = 1000
"""Left items that a better partner is compared on, beside the suspicious ones."""

REPEATED, CLASSES = 10, 200
"""Pairs from which on an item is one that the model knows by itself, a class; and how many such items at most."""

MIXED = 20_000
"""Pairs that the mixture is fitted on at most."""

_FIRST_SHARE = 0.1
_STEPS = 200
_PENALTY = 1e-4


@dataclass(frozen=True, slots=True)
class PairQuality:
    """What is known of every row.

    ``wrong_R`` is the probability that its pair is wrong, NaN where it lacks an item; ``better_R`` a row whose right
    item would fit its left item better, -1 where none is known. ``share`` of all different pairs is wrong, by the
    mixture; ``separation`` is the area under the ROC curve of given pairs against wrong ones: at 0.5 the judge is
    blind, and cannot reach 1 where pairs are wrong. ``methods`` says what was chosen for every view.
    """

    wrong_R: np.ndarray
    better_R: np.ndarray
    share: float
    separation: float
    methods: tuple[Method, ...]

    @property
    def ranking(self) -> np.ndarray:
        """The rows, the most suspicious first; those that lack an item are left out."""
        return most_suspicious_first(self.wrong_R)


def judge_pairs(
    views: Sequence[View],
    items_R2: np.ndarray,
    components_R: np.ndarray,
    seed: int = 0,
    progress: Progress = silent,
) -> PairQuality:
    """How likely every row's pair is wrong.

    ``items_R2`` has the left and the right item of every row, -1 where it has none; ``components_R`` a number for what
    must not be torn apart by a fold: connected components, see ``Pairs.groups``. Where these are few (classes), items
    of the side that has more of them stay whole. The same seed gives the same result, whatever the order of the rows.
    """
    rows = np.flatnonzero((items_R2 >= 0).all(axis=1))
    pairs_P2, first, pair_R = np.unique(items_R2[rows], axis=0, return_index=True, return_inverse=True)
    wrong_R, better_R = np.full(len(items_R2), np.nan), np.full(len(items_R2), -1, np.int64)
    if len(pairs_P2) < LEAST:
        return PairQuality(wrong_R, better_R, 0.0, 0.5, ())
    pair_R = pair_R.reshape(-1)
    unit_P = units(components_R[rows][first], pairs_P2)
    pairing = Pairing.of(pairs_P2[:, 0], pairs_P2[:, 1], unit_P, seed)
    views = [with_classes(view, pairing) for view in views]
    signals_PCS, judges = _judged(views, pairing, seed, progress)
    wrong_P, share, quality = mixture(signals_PCS[:, 0], signals_PCS[:, 1:][pairing.wrong_PM >= 0])
    wrong_R[rows] = wrong_P[pair_R]
    better_P = _better(judges, pairing, wrong_P, seed)
    row_of_item = np.full(int(pairs_P2[:, 1].max()) + 1, -1, np.int64)
    row_of_item[pairs_P2[::-1, 1]] = rows[first][::-1]
    better_R[rows] = np.where(better_P < 0, -1, row_of_item[np.maximum(better_P, 0)])[pair_R]
    return PairQuality(wrong_R, better_R, share, quality, tuple(judge.method for judge in judges))


def units(components_P: np.ndarray, pairs_P2: np.ndarray) -> np.ndarray:
    """What a fold keeps whole, a number per pair: connected components, or where these are few, items of one side."""
    counts = np.unique(components_P, return_counts=True)[1]
    if len(counts) >= MANY_COMPONENTS and counts.max() <= LARGE_COMPONENT * len(components_P):
        return components_P
    sides = [len(np.unique(side)) for side in pairs_P2.T]
    return np.asarray(pairs_P2[:, 0 if sides[0] >= sides[1] else 1])


@dataclass(frozen=True, slots=True)
class _Judge:
    """A view, how its similarities are made, and how well they separate given from wrong pairs."""

    view: View
    method: Method
    quality: float


def _judged(views: Sequence[View], pairing: Pairing, seed: int, progress: Progress) -> tuple[np.ndarray, list[_Judge]]:
    """Signals of given and wrong partners ``(P, 1 + M, S)``, and who gave them.

    Every view's mutual informations, and the similarities to other partners, where enough pairs have such.
    """
    signals: list[np.ndarray] = []
    judges: list[_Judge] = []
    total = len(views) * (1 + REPETITIONS)
    for number, view in enumerate(views):
        method, _ = choose(view, pairing, seed)
        found = []
        for repetition in range(1 if view.aligned else REPETITIONS):
            progress("judging pairs", number * (1 + REPETITIONS) + 1 + repetition, total)
            found.append(out_of_fold(view, pairing, [method], seed + 1 + repetition)[method])
        signals.append(np.mean(found, axis=0))
        judges.append(_Judge(view, method, separation(signals[-1], pairing)))
    progress("judging pairs", total, total)
    for side, features in [(0, view.left_ND) for view in views] + [(1, views[0].right_OF)]:
        signals += [one[..., None] for one in siblings(features, pairing, side) if _varies(one)]
    return np.concatenate(signals, -1), judges


def _varies(signal_PC: np.ndarray) -> bool:
    """Whether a signal is known of some pairs at least, and differs between them."""
    return bool((signal_PC[:, 0] != 0).mean() > 0.02 and signal_PC.std() > 1e-6)


def mixture(given_PS: np.ndarray, wrong_QS: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The probability that each given pair is one of the wrong kind ``(P,)``, the share of these, and ``separation``.

    The density of right pairs is that of wrong ones times exp(a + b . signals).
    """
    if not len(wrong_QS):
        return np.zeros(len(given_PS)), 0.0, 0.5
    center_S, scale_S = wrong_QS.mean(0), np.concatenate([given_PS, wrong_QS]).std(0) + 1e-9
    everything, drawn = ((rows - center_S) / scale_S for rows in (given_PS, wrong_QS))
    given = everything[_some(len(everything), MIXED)]
    drawn = drawn[_some(len(drawn), 3 * MIXED)]
    is_given = np.concatenate([np.ones(len(given)), np.zeros(len(drawn))])
    weights = np.concatenate([np.zeros(len(given)), np.full(len(drawn), 0.5 / len(drawn))])
    share, wrong, theta = _FIRST_SHARE, np.full(len(given), _FIRST_SHARE), np.zeros(given.shape[1] + 1)
    for _ in range(_STEPS):
        weights[: len(given)] = 0.5 * (1 - wrong) / (1 - wrong).sum()
        theta = _logistic(np.concatenate([given, drawn]), is_given, weights, theta)
        wrong = _posterior(given, theta, share)
        share, before = float(np.clip(wrong.mean(), 1e-6, 0.95)), share
        if abs(share - before) < 1e-5:
            break
    apart = area(_posterior(drawn, theta, 0.5), _posterior(given, theta, 0.5))
    if apart < BLIND:
        return np.zeros(len(everything)), 0.0, apart
    return _posterior(everything, theta, share), share, apart


def _posterior(signals_PS: np.ndarray, theta: np.ndarray, share: float) -> np.ndarray:
    """The probability of the wrong kind, where the right kind is exp(a + b . signals) times as dense."""
    odds = signals_PS @ theta[:-1] + theta[-1] + np.log((1 - share) / share)
    return np.asarray(1 / (1 + np.exp(np.clip(odds, -50, 50))))


def _logistic(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Ridge-penalised logistic regression by Newton's method, the last coefficient for the constant; from ``theta``."""
    design = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    penalty = np.append(np.full(rows.shape[1], _PENALTY), 1e-9)
    for _ in range(30):
        share = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
        gradient = design.T @ (weights * (share - targets)) + penalty * theta
        curvature = (design * (weights * share * (1 - share))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        theta = theta - step / max(1.0, float(np.abs(step).max()) / 3)
        if np.abs(step).max() < 1e-6:
            break
    return theta


def _some(count: int, most: int) -> np.ndarray:
    """At most so many places, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def with_classes(view: View, pairing: Pairing) -> View:
    """The same view, where items with many partners, if these are few, have a feature of their own each."""
    if view.aligned:
        return view
    left, right = (
        _identified(rows, items) for rows, items in ((view.left_ND, pairing.left_P), (view.right_OF, pairing.right_P))
    )
    return View(left, right)


def _identified(rows: Tensor, item_P: np.ndarray) -> Tensor:
    counts = np.bincount(item_P, minlength=len(rows))
    repeated = np.flatnonzero(counts >= REPEATED)
    rows = rows - rows.mean(0)
    rows = rows / rows.norm(dim=1).square().mean().sqrt().clamp_min(1e-9)
    if not 1 < len(repeated) <= CLASSES:
        return rows
    identity = torch.zeros(len(rows), len(repeated))
    identity[torch.from_numpy(repeated), torch.arange(len(repeated))] = 1
    return torch.cat([rows, identity], dim=1)


def _better(judges: Sequence[_Judge], pairing: Pairing, wrong_P: np.ndarray, seed: int) -> np.ndarray:
    """Of each suspicious pair the right item that fits its left one best ``(P,)``, -1 where its own does.

    By fits without its fold, among all right items that occur and are no partners of the left one.
    """
    better_P = np.full(len(pairing), -1, np.int64)
    suspects = np.argsort(-wrong_P, kind="stable")[:SEARCHED]
    suspects = suspects[wrong_P[suspects] >= SUSPICIOUS]
    fold_P = pairing.folds(seed + 1)
    right, column_P = np.unique(pairing.right_P, return_inverse=True)
    for fold in np.unique(fold_P[suspects]):
        own = suspects[fold_P[suspects] == fold]
        fit_KL = np.zeros((len(own), len(right)))
        for judge in judges:
            fit_KL += max(0.0, judge.quality - 0.5) * _fits(judge, pairing, own, fold_P == fold, right)
        given_K = fit_KL[np.arange(len(own)), column_P[own]]
        row_of_left = {left: np.flatnonzero(pairing.left_P[own] == left) for left in np.unique(pairing.left_P[own])}
        for pair in np.flatnonzero(np.isin(pairing.left_P, pairing.left_P[own])):
            fit_KL[row_of_left[pairing.left_P[pair]], column_P[pair]] = -np.inf
        best_K = fit_KL.argmax(axis=1)
        better_P[own] = np.where(fit_KL[np.arange(len(own)), best_K] > given_K, right[best_K], -1)
    return better_P


def _fits(judge: _Judge, pairing: Pairing, own: np.ndarray, in_fold_P: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Both mutual informations, added, of some pairs' left items with right ones ``(K, L)``.

    Judged by a fit without their fold; the left items of the fold are there for the log-softmax over left items, which
    holds back right items that are near to everything.
    """
    rest, fold = np.flatnonzero(~in_fold_P), np.flatnonzero(in_fold_P)
    strengths = [(judge.method.left, judge.method.right)]
    (maps,) = fit(judge.view, pairing.left_P[rest], pairing.right_P[rest], strengths)
    left = np.concatenate([pairing.left_P[own], pairing.left_P[fold[_some(len(fold), COMPARED)]]])
    sides = (
        maps(judge.view.left_ND[torch.from_numpy(left)], 0),
        maps(judge.view.right_OF[torch.from_numpy(right)], 1),
    )
    forth, back = mutual_information(similarities(*sides, judge.method.cosine), judge.method.scale)
    return np.asarray((forth + back)[: len(own)].numpy())
