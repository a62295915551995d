"""Similarities of pairs under a model that has not seen them, and of the same items put together wrongly.

Regularised canonical correlations (see ``closed_form``) are fitted K times, each time without the pairs of one fold,
and these are judged by them (cross-fitting, Chernozhukov et al. 2018). What is known of a pair is how much likelier
its right item is for its left one than the other right items of the fold are, and the reverse: the two log-softmaxes
of CLIP's loss, plus the logarithm of how many were compared, which estimates their pointwise mutual information.

Shapes: ``P`` different pairs, ``M`` wrong partners drawn for each, ``N`` left and ``O`` right items, ``D`` and ``F``
features of these, ``R`` rank, ``S`` signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

FOLDS = 5
"""Folds of the cross-fitting."""

RANK = 200
"""Canonical correlations at most."""

WIDTH = 512
"""Principal components of a side's features at most."""

FITTED = 20_000
"""Pairs that one fold is fitted on at most, evenly spaced; all are judged."""

POOL = 1024
"""Pairs that are compared with each other, about; more would take time in the square and say little more."""

WRONG = 3
"""Wrong partners that are drawn for each pair."""

BUNDLE = 16
"""Units that share a fold in every repetition, at most: wrong partners are drawn among them."""

STRENGTHS = ((0.1, 0.3), (0.3, 0.3), (1.0, 0.3), (3.0, 1.0), (10.0, 3.0))
"""Regularisations of the left and the right side that are tried, in multiples of the mean variance of a feature."""

SCALES = (5.0, 10.0, 20.0, 40.0)
"""Scales of the similarities that are tried."""

ALIGNED_SCALES = (10.0, 20.0, 40.0, 80.0, 160.0)
"""The same for what a model embeds, whose cosines may lie close together."""


@dataclass(frozen=True, slots=True)
class View:
    """Features of the different left items ``(N, D)`` and right items ``(O, F)``.

    ``aligned``: both are in one space already, as a model embeds them, and nothing is fitted.
    """

    left_ND: Tensor
    right_OF: Tensor
    aligned: bool = False


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Several features of the same items as one ``(N, at most WIDTH)``: of equal weight, by principal components."""
    centered = [part.float() - part.float().mean(0) for part in parts]
    joined_ND = torch.cat([part / part.norm(dim=1).square().mean().sqrt().clamp_min(1e-9) for part in centered], dim=1)
    if joined_ND.shape[1] <= WIDTH:
        return joined_ND
    basis_DD: Tensor = torch.linalg.eigh(joined_ND.T @ joined_ND / len(joined_ND))[1]  # eigenvalues ascend
    return joined_ND @ basis_DD[:, -WIDTH:]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Different pairs of items ``(P,)``, what a fold keeps whole, and the pairs whose right item serves as a wrong one.

    ``wrong_PM`` holds places of pairs of the same bundle, -1 where none was found. ``unit_of`` are the units of the
    left and of the right items, by number: -1 for an item of several units, such as the name of a class.
    """

    left_P: np.ndarray
    right_P: np.ndarray
    bundle_P: np.ndarray
    wrong_PM: np.ndarray
    unit_of: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, left_P: np.ndarray, right_P: np.ndarray, unit_P: np.ndarray, seed: int) -> Pairing:
        """Bundle the units at random, and draw wrong partners from other units of the same bundle."""
        draw = np.random.Generator(np.random.Philox(key=seed))
        units, first, unit_P = np.unique(unit_P, return_index=True, return_inverse=True)
        unit_P = np.argsort(np.argsort(first))[unit_P]  # whatever they are called, in the order of the pairs
        count = max(1, len(units) // int(np.clip(len(units) // 20, 2, BUNDLE)))
        bundle_P = (draw.permutation(len(units)) % count)[unit_P]
        order_P = np.argsort(bundle_P, kind="stable")
        start = np.searchsorted(bundle_P[order_P], np.arange(count + 1))
        width = int(right_P.max(initial=0)) + 1
        known = np.unique(left_P * width + right_P)
        wrong_PM = np.full((len(left_P), WRONG), -1, np.int64)
        for column in range(WRONG):
            todo = np.arange(len(left_P))
            for _ in range(12):
                first, last = start[bundle_P[todo]], start[bundle_P[todo] + 1]
                other = order_P[first + (draw.random(len(todo)) * (last - first)).astype(np.int64)]
                right = ~np.isin(left_P[todo] * width + right_P[other], known) & (unit_P[other] != unit_P[todo])
                wrong_PM[todo[right], column] = other[right]
                todo = todo[~right]
        return cls(left_P, right_P, bundle_P, wrong_PM, (_single(left_P, unit_P), _single(right_P, unit_P)))

    def __len__(self) -> int:
        return len(self.left_P)

    @property
    def source_PC(self) -> np.ndarray:
        """Pairs whose right items are judged ``(P, 1 + M)``: itself, then wrong ones; itself where one is missing."""
        own_P1 = np.arange(len(self))[:, None]
        return np.concatenate([own_P1, np.where(self.wrong_PM < 0, own_P1, self.wrong_PM)], axis=1)

    @property
    def right_PC(self) -> np.ndarray:
        """The given right item, and then the wrong ones ``(P, 1 + M)``."""
        return np.asarray(self.right_P[self.source_PC])

    def folds(self, seed: int) -> np.ndarray:
        """The fold of every pair ``(P,)``: whole bundles, in another order for every seed."""
        count = int(self.bundle_P.max(initial=0)) + 1
        fold = np.random.Generator(np.random.Philox(key=seed)).permutation(count) % FOLDS
        return np.asarray(fold[self.bundle_P])

    def pools(self, pairs: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """Places of pairs in parts of about :data:`POOL`, whole bundles each."""
        bundles, bundle_K = np.unique(self.bundle_P[pairs], return_inverse=True)
        order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(bundles))
        count = max(1, min(len(bundles), round(len(pairs) / POOL)))
        pool_K = (order % count)[bundle_K]
        return (pairs[pool_K == number] for number in range(count))


def _single(item_P: np.ndarray, unit_P: np.ndarray) -> np.ndarray:
    """The unit of every item by number, -1 for those of several units."""
    lowest, highest = np.full(item_P.max(initial=-1) + 1, len(unit_P)), np.full(item_P.max(initial=-1) + 1, -1)
    np.minimum.at(lowest, item_P, unit_P)
    np.maximum.at(highest, item_P, unit_P)
    return np.where(lowest == highest, lowest, -1)


@dataclass(frozen=True, slots=True)
class Method:
    """How similarities are made: the regularisations, by cosine or by distance, and their scale."""

    left: float
    right: float
    cosine: bool
    scale: float

    def __str__(self) -> str:
        kind = "cosines" if self.cosine else "distances"
        return f"{kind} at scale {self.scale:g}, regularisation {self.left:g} and {self.right:g}"


@dataclass(frozen=True, slots=True)
class Maps:
    """Centres and linear maps of both sides into one space; none where the features are in one space."""

    centers: tuple[Tensor, Tensor] | None = None
    maps: tuple[Tensor, Tensor] | None = None

    def __call__(self, rows: Tensor, side: int) -> Tensor:
        """Some items of a side, left (0) or right (1), in the common space ``(K, R)``."""
        if self.centers is None or self.maps is None:
            return rows
        return (rows - self.centers[side]) @ self.maps[side]


def fit(view: View, left_P: np.ndarray, right_P: np.ndarray, strengths: Sequence[tuple[float, float]]) -> list[Maps]:
    """Canonical correlations of some pairs, weighted by themselves, for several regularisations at once."""
    if view.aligned:
        return [Maps() for _ in strengths]
    if len(left_P) > FITTED:
        kept = np.linspace(0, len(left_P) - 1, FITTED).astype(np.int64)
        left_P, right_P = left_P[kept], right_P[kept]
    sides = (view.left_ND[torch.from_numpy(left_P)], view.right_OF[torch.from_numpy(right_P)])
    centers = (sides[0].mean(0), sides[1].mean(0))
    centered = [side - center for side, center in zip(sides, centers, strict=True)]
    spectra = [torch.linalg.eigh(side.T @ side / len(side)) for side in centered]
    (left_D, left_DD), (right_F, right_FF) = ((values.clamp_min(0), basis) for values, basis in spectra)
    cross_DF = left_DD.T @ (centered[0].T @ centered[1] / len(left_P)) @ right_FF
    found = []
    for left, right in strengths:
        whiten_D = (left_D + left * left_D.mean() + 1e-9).rsqrt()
        whiten_F = (right_F + right * right_F.mean() + 1e-9).rsqrt()
        basis_DR, weight_R, basis_RF = torch.linalg.svd(whiten_D[:, None] * cross_DF * whiten_F, full_matrices=False)
        basis_DR, weight_R, basis_RF = basis_DR[:, :RANK], weight_R[:RANK], basis_RF[:RANK]
        left_DR = left_DD @ (whiten_D[:, None] * basis_DR * weight_R)
        right_FR = right_FF @ (whiten_F[:, None] * basis_RF.T * weight_R)
        found.append(Maps(centers, (left_DR, right_FR)))
    return found


def similarities(left_KR: Tensor, right_LR: Tensor, cosine: bool) -> Tensor:
    """``(K, L)``: cosines, or negative squared distances brought to the spread of cosines."""
    if cosine:
        return normalize(left_KR, dim=-1) @ normalize(right_LR, dim=-1).T
    distance_KL = -torch.cdist(left_KR, right_LR).square()
    spread = (
        (distance_KL - distance_KL.mean(1, keepdim=True)).std() if distance_KL.numel() > 1 else distance_KL.new_ones(())
    )
    return distance_KL / (5 * spread + 1e-9)


def mutual_information(similarity_KL: Tensor, scale: float, own_KL: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-softmax over the right items and over the left ones, plus the logarithm of how many there are; ``(K, L)``.

    What is true in ``own_KL`` is no competitor for others: the partners of an item stand where they do because of it,
    and would not if the item had been given a wrong one.
    """
    logits_KL = scale * similarity_KL
    if own_KL is None:
        own_KL = torch.zeros_like(logits_KL, dtype=torch.bool)
    others_KL = logits_KL.masked_fill(own_KL, -torch.inf)
    itself_KL = logits_KL.masked_fill(~own_KL, -torch.inf)
    found = []
    for axis in (1, 0):
        count = (~own_KL).sum(axis, keepdim=True) + own_KL
        total_KL = torch.logaddexp(others_KL.logsumexp(axis, keepdim=True), itself_KL)
        found.append(logits_KL - total_KL + count.clamp_min(1).log())
    return found[0], found[1]


def out_of_fold(
    view: View, pairing: Pairing, methods: Sequence[Method], seed: int, few: bool = False
) -> dict[Method, np.ndarray]:
    """Both mutual informations of each pair and its wrong partners ``(P, 1 + M, 2)``, judged by a fit without them.

    With ``few``, one pool of each of three folds alone, to choose among many methods; NaN for the others.
    """
    fold_P, right_PC = pairing.folds(seed), pairing.right_PC
    found = {method: np.full((*right_PC.shape, 2), np.nan) for method in methods}
    strengths = list(dict.fromkeys((method.left, method.right) for method in methods))
    for fold in range(3 if few else FOLDS):
        rest, judged = np.flatnonzero(fold_P != fold), np.flatnonzero(fold_P == fold)
        if not len(rest) or not len(judged):
            continue
        fitted = dict(zip(strengths, fit(view, pairing.left_P[rest], pairing.right_P[rest], strengths), strict=True))
        for pool in pairing.pools(judged, seed):
            _judge(view, pairing, pool, fitted, found)
            if few:
                break
    return found


def _judge(
    view: View,
    pairing: Pairing,
    pool: np.ndarray,
    fitted: dict[tuple[float, float], Maps],
    found: dict[Method, np.ndarray],
) -> None:
    """Write what the pairs of a pool and their wrong partners get among themselves to their places."""
    right_KC = pairing.right_PC[pool]
    left, left_K = np.unique(pairing.left_P[pool], return_inverse=True)
    right, place = np.unique(right_KC, return_inverse=True)
    rows_KC, columns_KC = np.broadcast_arrays(left_K[:, None], place.reshape(right_KC.shape))
    units = [unit_of[items] for unit_of, items in zip(pairing.unit_of, (left, right), strict=True)]
    own_KL = torch.from_numpy((units[0][:, None] == units[1]) & (units[0][:, None] >= 0))
    made: dict[tuple[float, float, bool], Tensor] = {}
    for method, signals_PC2 in found.items():
        key = (method.left, method.right, method.cosine)
        if key not in made:
            maps = fitted[method.left, method.right]
            sides = (maps(view.left_ND[torch.from_numpy(left)], 0), maps(view.right_OF[torch.from_numpy(right)], 1))
            made[key] = similarities(*sides, method.cosine)
        both = mutual_information(made[key], method.scale, own_KL)
        signals_PC2[pool] = np.stack([one.numpy()[rows_KC, columns_KC] for one in both], axis=-1)


def siblings(features: Tensor, pairing: Pairing, side: int) -> tuple[np.ndarray, np.ndarray]:
    """How similar a pair's item of a side is to the other partners of its other item: cosine to their mean, 0 if none.

    Both ``(P, 1 + M)``, and whether there are other partners. The given pair is not among a pair's other partners, and
    a wrong partner's own pair is not among that one's, so that given and wrong partners are compared alike.
    """
    unit = normalize(features - features.mean(0), dim=-1)
    own_P, key_P = (pairing.left_P, pairing.right_P) if side == 0 else (pairing.right_P, pairing.left_P)
    sums = torch.zeros(int(key_P.max()) + 1, unit.shape[1]).index_add_(0, torch.from_numpy(key_P), unit[own_P])
    counts = np.bincount(key_P)
    source_PC = pairing.source_PC
    given_P = source_PC[:, 0]
    found, known = np.zeros(source_PC.shape), np.zeros(source_PC.shape)
    for column in range(1 + WRONG):
        other_P = source_PC[:, column]
        own, key, without = (own_P, key_P[other_P], other_P) if side == 0 else (own_P[other_P], key_P, given_P)
        rest = sums[key] - unit[own_P[without]]
        known[:, column] = counts[key] > 1
        found[:, column] = known[:, column] * (normalize(rest, dim=-1) * unit[own]).sum(1).numpy()
    return found, known


def separation(signals_PC2: np.ndarray, pairing: Pairing) -> float:
    """The area under the ROC curve of given against wrong partners, by the sum of both signals."""
    sums_PC = signals_PC2.sum(-1)
    given, wrong = sums_PC[:, 0], sums_PC[:, 1:][pairing.wrong_PM >= 0]
    return area(given[~np.isnan(given)], wrong[~np.isnan(wrong)])


def area(higher: np.ndarray, lower: np.ndarray) -> float:
    """The area under the ROC curve: how often one of the first is above one of the second, ties by half."""
    if not len(higher) or not len(lower):
        return 0.5
    lower = np.sort(lower)
    below = np.searchsorted(lower, higher, "left") + np.searchsorted(lower, higher, "right")
    return float(below.mean() / 2 / len(lower))


def choose(view: View, pairing: Pairing, seed: int) -> tuple[Method, float]:
    """The method that best separates given from wrong partners out of fold, and how well it does.

    Distances are tried beside cosines where an item is of several units, a class: then they are those of discriminant
    analysis. Elsewhere they separate as well, and find fewer wrong pairs.
    """
    kinds = (True, False) if any((units < 0).any() for units in pairing.unit_of) else (True,)
    if view.aligned:
        methods = [Method(0.0, 0.0, True, scale) for scale in ALIGNED_SCALES]
    else:
        methods = [Method(*pair, cosine, scale) for pair in STRENGTHS for cosine in kinds for scale in SCALES]
    found = out_of_fold(view, pairing, methods, seed, few=True)
    quality = {method: separation(signals, pairing) for method, signals in found.items()}
    best = max(quality, key=lambda method: quality[method])
    return best, quality[best]
