"""Heads of two frozen towers fitted in closed form, with their strengths chosen by cross-validation.

With a few hundred pairs there is little that gradients find and these do not: regularised canonical correlations
(Hotelling 1936; Vinod 1976), each direction weighted by its correlation as in CSA (Li et al. 2024), ridge regression
into the text tower's space, and the orthogonal rotation between principal components (Procrustes, Schoenemann 1966).
Everything that decides between them is measured on pairs that the fit did not see.

Shapes: ``N`` left and ``M`` right items, ``P`` pairs of them, ``D`` left and ``F`` right features, ``R`` rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..models.heads import ClosedFormHead, HeadConfig, HeadWeights
from ..types import Progress, silent

FOLDS = 5
"""Folds of the cross-validation."""

RANK = 124
"""Dimensions of canonical correlations and of principal components at most; with 384 of class names and four of the
correction of hubs they make 512."""

STRENGTHS = {
    "cca": ((1.0, 3.0, 10.0), (0.3, 1.0, 3.0)),
    "ridge": ((1.0, 10.0), (0.0,)),
    "procrustes": ((0.0,), (0.0,)),
}
"""Regularisation of the left and the right side, as a multiple of the mean variance of a feature."""

CLASS_WEIGHTS = (0.0, 0.5, 0.7, 1.0)
"""Weights of the class names that are tried, where a tower has a classifier."""

HUB_SCALES = (0.0, 5.0, 10.0, 20.0)
"""Scales of the correction of hubs that are tried; 0 corrects none."""

BANK, SCORED = 4096, 1000
"""Training vectors that hubs are found against, and items of a fold that are ranked, at most."""


@dataclass(frozen=True, slots=True)
class ClassNames:
    """What an image tower's classifier knows: its weights, and its classes' names as the text tower pools them."""

    weight_CD: Tensor
    bias_C: Tensor
    names_CK: Tensor


@dataclass(frozen=True, slots=True)
class Features:
    """Frozen features of different items, the pairs among them, and what must not be torn apart by a fold.

    ``left_ND`` and ``right_MF`` are pooled features, ``pairs_P2`` places of left and right items that match, and
    ``unit_P`` a number per pair: pairs of one number go into one fold.
    """

    left_ND: Tensor
    right_MF: Tensor
    pairs_P2: Tensor
    unit_P: np.ndarray
    names: ClassNames | None = None

    def select(self, pairs: np.ndarray) -> Features:
        """Some of the pairs, with the items that they have."""
        chosen_P2 = self.pairs_P2[torch.from_numpy(pairs)]
        (left_N, left_P), (right_M, right_P) = (np.unique(side, return_inverse=True) for side in chosen_P2.T.numpy())
        kept_P2 = torch.from_numpy(np.stack([left_P, right_P], axis=1))
        return Features(self.left_ND[left_N], self.right_MF[right_M], kept_P2, self.unit_P[pairs], self.names)


@dataclass(frozen=True, slots=True)
class Choice:
    """What decides a fit: the method, how strongly it is regularised, and what stands beside the linear map."""

    method: str
    left: float
    right: float
    class_weight: float = 0.0
    hub_scale: float = 0.0

    def __str__(self) -> str:
        words = [self.method]
        words += [f"regularisation {self.left:g} and {self.right:g}"] if self.method == "cca" else []
        words += [f"regularisation {self.left:g}"] if self.method == "ridge" else []
        words += [f"class names x {self.class_weight:g}"] if self.class_weight else []
        words += [f"hubs corrected at scale {self.hub_scale:g}"] if self.hub_scale else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Fit:
    """Both heads, what was chosen, and the recalls that cross-validation gave (left to right, right to left)."""

    heads: tuple[ClosedFormHead, ClosedFormHead]
    choice: Choice
    recall: tuple[float, float]
    tried: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The best cross-validated recalls of each method and addition, by what people call it."""


def fit(features: Features, seed: int = 0, progress: Progress = silent) -> Fit:
    """Choose by cross-validation, then fit on all pairs."""
    folds = [(_Moments.of(train), train, test) for train, test in split(features, seed)]
    tried: dict[str, tuple[float, float]] = {}
    linear = [Choice(name, *pair) for name, strengths in STRENGTHS.items() for pair in product(*strengths)]
    weights = CLASS_WEIGHTS if features.names is not None else (0.0,)
    chosen = linear[0]
    stages: Sequence[Callable[[Choice], list[Choice]]] = (
        lambda _: linear,
        lambda best: [replace(best, class_weight=weight) for weight in weights],
        lambda best: [replace(best, hub_scale=scale) for scale in HUB_SCALES],
    )
    done, total = 0, len(linear) + len(weights) + len(HUB_SCALES)
    recalls: dict[Choice, tuple[float, float]] = {}
    for stage in stages:
        for choice in stage(chosen):
            if choice not in recalls:
                recalls[choice] = _cross_validated(folds, choice)
            done += 1
            progress("fitting heads", done, total)
        chosen = max(stage(chosen), key=lambda choice: sum(recalls[choice]))
        tried |= _by_name(recalls)
    heads = build(_Moments.of(features), features, chosen)
    return Fit(heads, chosen, recalls[chosen], tried)


def _by_name(recalls: dict[Choice, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The best recalls of every method and addition."""
    best: dict[str, tuple[float, float]] = {}
    for choice, recall in recalls.items():
        name = choice.method + (" + class names" if choice.class_weight else "")
        name += " + hubness correction" if choice.hub_scale else ""
        if sum(recall) > sum(best.get(name, (-1.0, 0.0))):
            best[name] = recall
    return best


def split(features: Features, seed: int, folds: int = FOLDS) -> Iterator[tuple[Features, Features]]:
    """The folds of a cross-validation: what is fitted, and what is ranked, whole units each."""
    units = np.unique(features.unit_P)
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(units)
    for part in np.array_split(order, min(folds, len(units))):
        held = np.isin(features.unit_P, part[:SCORED])
        yield features.select(np.flatnonzero(~np.isin(features.unit_P, part))), features.select(np.flatnonzero(held))


def _cross_validated(folds: Sequence[tuple[_Moments, Features, Features]], choice: Choice) -> tuple[float, float]:
    found = []
    for moments, train, test in folds:
        heads = build(moments, train, choice)
        found.append(recall_at_1(heads, test))
    left, right = np.mean(found, axis=0)
    return float(left), float(right)


@torch.no_grad()
def recall_at_1(heads: tuple[ClosedFormHead, ClosedFormHead], features: Features) -> tuple[float, float]:
    """Share of left items whose nearest right one matches, and the other way round."""
    left_NE, right_ME = heads[0](features.left_ND), heads[1](features.right_MF)
    cosine_NM = normalize(left_NE, dim=-1) @ normalize(right_ME, dim=-1).T
    match_NM = torch.zeros(cosine_NM.shape, dtype=torch.bool)
    match_NM[features.pairs_P2[:, 0], features.pairs_P2[:, 1]] = True
    right_N, left_M = cosine_NM.argmax(1), cosine_NM.argmax(0)
    forth = match_NM[torch.arange(len(right_N)), right_N].double().mean()
    back = match_NM[left_M, torch.arange(len(left_M))].double().mean()
    return float(forth), float(back)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Eigenvalues and eigenvectors of both sides' covariances, and their cross-covariance in these bases."""

    left_D: Tensor
    left_DD: Tensor
    right_F: Tensor
    right_FF: Tensor
    cross_DF: Tensor
    centers: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, features: Features) -> _Moments:
        """Of unit features, every pair counted once, in float64."""
        counts = [torch.bincount(features.pairs_P2[:, side]) for side in (0, 1)]
        units = [normalize(side.double(), dim=-1) for side in (features.left_ND, features.right_MF)]
        total = len(features.pairs_P2)
        centers = [(count.double() @ unit) / total for count, unit in zip(counts, units, strict=True)]
        centered = [unit - center for unit, center in zip(units, centers, strict=True)]
        sides = []
        for count, rows in zip(counts, centered, strict=True):
            variance, basis = torch.linalg.eigh((rows * count[:, None]).T @ rows / total)
            sides.append((variance.clamp_min(0), basis))
        left_of_pair = centered[0] @ sides[0][1]
        summed = torch.zeros(len(left_of_pair), centered[1].shape[1], dtype=torch.float64)
        summed.index_add_(0, features.pairs_P2[:, 0], centered[1][features.pairs_P2[:, 1]])
        cross = left_of_pair.T @ (summed @ sides[1][1]) / total
        return cls(*sides[0], *sides[1], cross, (centers[0].float(), centers[1].float()))

    def maps(self, choice: Choice) -> tuple[Tensor, Tensor]:
        """The linear maps ``(D, R)`` and ``(F, R)`` of a choice."""
        made = {"cca": self._cca, "ridge": self._ridge, "procrustes": self._procrustes}[choice.method]
        left_DR, right_FR = made(choice)
        return (self.left_DD @ left_DR).float(), (self.right_FF @ right_FR).float()

    def _cca(self, choice: Choice) -> tuple[Tensor, Tensor]:
        whiten = [
            (variance + strength * variance.mean() + 1e-12).rsqrt()
            for variance, strength in ((self.left_D, choice.left), (self.right_F, choice.right))
        ]
        left_DR, correlation_R, right_RF = _svd(whiten[0][:, None] * self.cross_DF * whiten[1])
        left_DR, right_FR = left_DR[:, :RANK], right_RF[:RANK].T
        weight_R = correlation_R[:RANK]
        return whiten[0][:, None] * left_DR * weight_R, whiten[1][:, None] * right_FR * weight_R

    def _ridge(self, choice: Choice) -> tuple[Tensor, Tensor]:
        solved_DF = self.cross_DF / (self.left_D + choice.left * self.left_D.mean() + 1e-12)[:, None]
        return solved_DF, torch.eye(len(self.right_F), dtype=torch.float64)

    def _procrustes(self, choice: Choice) -> tuple[Tensor, Tensor]:
        rank = min(RANK, len(self.left_D), len(self.right_F))
        cross_RR = self.cross_DF[-rank:, -rank:]  # eigenvalues ascend
        left_RR, _, right_RR = _svd(cross_RR)
        maps = []
        for size, rotation_RR in ((len(self.left_D), left_RR), (len(self.right_F), right_RR.T)):
            padded = torch.zeros(size, rotation_RR.shape[1], dtype=torch.float64)
            padded[-rank:] = rotation_RR
            maps.append(padded)
        return maps[0], maps[1]


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left, values, right


@torch.no_grad()
def build(moments: _Moments, features: Features, choice: Choice) -> tuple[ClosedFormHead, ClosedFormHead]:
    """Both heads of a choice, with the training vectors that hubs are found against."""
    maps = moments.maps(choice)
    names = features.names if choice.class_weight else None
    width = 0 if names is None else names.names_CK.shape[1]
    shared = HeadConfig(
        side=0, rank=maps[0].shape[1], class_width=width, class_weight=choice.class_weight,
        bank=0, hub_scale=choice.hub_scale or 1.0,
    )  # fmt: skip
    heads = []
    for side, rows in enumerate((features.left_ND, features.right_MF)):
        classes = 0 if names is None or side else len(names.weight_CD)
        config = shared.model_copy(update={"side": side, "classes": classes})
        head = ClosedFormHead(config, rows.shape[1])
        head.set(_weights(moments.centers[side], maps[side], names if classes else None))
        if width:
            head.class_center_K.copy_(head._named(rows, normalize(rows, dim=-1)).mean(0))
        heads.append(head)
    pair = (heads[0], heads[1])
    return with_banks(pair, features) if choice.hub_scale else pair


def _weights(center_D: Tensor, map_DR: Tensor, names: ClassNames | None) -> HeadWeights:
    if names is None:
        return HeadWeights(center_D, map_DR)
    return HeadWeights(center_D, map_DR, names.weight_CD, names.bias_C, normalize(names.names_CK, dim=-1))


@torch.no_grad()
def with_banks(
    heads: tuple[ClosedFormHead, ClosedFormHead], features: Features
) -> tuple[ClosedFormHead, ClosedFormHead]:
    """The same heads with a correction of hubs, each against the other side's training vectors."""
    rows = (features.left_ND, features.right_MF)
    aligned = [head.aligned(items) for head, items in zip(heads, rows, strict=True)]
    banks = [_thinned(vectors) for vectors in aligned]
    made = []
    for side, head in enumerate(heads):
        bank_MZ = banks[1 - side]
        one = ClosedFormHead(head.config.model_copy(update={"bank": len(bank_MZ)}), rows[side].shape[1])
        one.load_state_dict({**head.state_dict(), "bank_MZ": bank_MZ})
        own_B = one.hubness(banks[side])
        one.offset.copy_(own_B.mean())
        made.append((one, float((own_B - own_B.mean()).abs().max())))
    largest = 1.2 * max(size for _, size in made)
    for one, _ in made:
        one.config = one.config.model_copy(update={"hub_limit": largest, "hub_factor": max(1e-3, largest) ** 0.5})
    return made[0][0], made[1][0]


def _thinned(vectors_NZ: Tensor) -> Tensor:
    """At most :data:`BANK` of them, evenly spaced."""
    if len(vectors_NZ) <= BANK:
        return vectors_NZ
    return vectors_NZ[torch.linspace(0, len(vectors_NZ) - 1, BANK).long()]


def evaluate_choice(train: Features, test: Features, choice: Choice) -> tuple[float, float]:
    """Recalls (left to right, right to left) on ``test`` of heads fitted on ``train``."""
    return recall_at_1(build(_Moments.of(train), train, choice), test)
