"""The shape of a space: is it collapsing, do pairs lie close, is the sphere used?

Where both modalities have a value of their own, the headline is the worse one, since a space is as good as its weaker
side. Diversity is measured on vectors that are *not* centred: centring would hide a space that is constant but for
noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..modalities import modality, names
from ..types import Metrics, UserError
from .vectors import unit

_NEIGHBOURS = 10

CONSTANT = 0.95
"""Mean cosine of different items above which all share one direction: 18 degrees apart on average. A random encoder
has 0.5 to 0.9 (the cone of Liang et al. 2022) and training widens it, so more than that after warm-up is collapse."""
FLAT = 4.0
"""Effective rank below which the space has lost its dimensions. Not a share of the width: a space trained on ten
classes honestly uses about ten directions, however wide it is; with fewer than eight different items it is half of
them."""
APART = 1.2
"""Distance of the modalities' centres, at most 2. CLIP lives well with 0.8; beyond 1.2 every mixed result list is
sorted by modality first."""
HUBS = 5.0
"""Skewness of how often an item is retrieved. Healthy spaces have 1 to 3; beyond 5 few items crowd out the rest."""


CURE = "objective=softmax or objective=vicreg"
"""What helps a run against a collapse of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One measure of health in words: ``word`` is good, look or bad; ``sentence`` says what it means and what to do."""

    name: str
    value: float
    word: str
    sentence: str


def geometry(
    left_BE: Tensor,
    right_BE: Tensor,
    names: tuple[str, str] = ("image", "text"),
    items: tuple[int, int] | None = None,
) -> Metrics:
    """The space's health from paired rows: flat ``space/...`` metrics, per modality as ``space/image/...``.

    ``items`` says how many different ones each side's rows show; left out, every row shows another.
    """
    if len(left_BE) < 2:
        raise UserError(f"the space's health needs at least two pairs and was given {len(left_BE)}; add pairs")
    both = [unit(left_BE, f"{names[0]} embeddings"), unit(right_BE, f"{names[1]} embeddings")]
    sides = [_side(vectors_BE) for vectors_BE in both]
    score_BB = both[1] @ both[0].T
    hubs = [hubness(score_BB), hubness(score_BB.T)]
    metrics = {
        "space/effective_rank": min(side["effective_rank"] for side in sides),
        "space/alignment": alignment(both[0], both[1]),
        "space/uniformity": max(side["uniformity"] for side in sides),
        "space/mean_cosine": max(side["mean_cosine"] for side in sides),
        "space/modality_gap": float((both[0].mean(0) - both[1].mean(0)).norm()),
        "space/hubness": max(hubs),
    }
    for name, side, hub, count in zip(names, sides, hubs, items or map(len, both), strict=True):
        side |= {"hubness": hub, "items": float(count)}
        metrics |= {f"space/{name}/{key}": value for key, value in side.items()}
    return metrics


def alignment(left_BE: Tensor, right_BE: Tensor) -> float:
    """Mean squared distance of paired unit vectors, 0 to 4, lower is closer (Wang & Isola 2020)."""
    return float((left_BE - right_BE).square().sum(1).mean())


def uniformity(cosine_BB: Tensor) -> float:
    """Log mean exp(-2 distance²) over different items: 0 when all are one point, about -4 when spread (same paper)."""
    return math.log(_mean_off_diagonal(torch.exp(4 * cosine_BB - 4)))


def effective_rank(vectors_BE: Tensor) -> float:
    """Exp of the entropy of the normalised singular values (Roy & Vetterli 2007): 1 for a constant, at most min(B, E).

    From the smaller Gram matrix, in float64: float32 noise, squared, would count as a few hundred small directions.
    """
    vectors_BE = vectors_BE.double()
    wide = vectors_BE.shape[1] > vectors_BE.shape[0]
    gram = vectors_BE @ vectors_BE.T if wide else vectors_BE.T @ vectors_BE
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = singular / singular.sum()
    return float(torch.exp(torch.special.entr(share).sum()))


def hubness(score_QG: Tensor) -> float:
    """Skewness of how often each gallery item is among the ten nearest of a query (Radovanović et al. 2010)."""
    nearest_QK = score_QG.topk(min(_NEIGHBOURS, score_QG.shape[1] - 1), dim=1, sorted=False).indices
    count_G = torch.bincount(nearest_QK.flatten(), minlength=score_QG.shape[1]).double()
    centred_G = count_G - count_G.mean()
    spread = centred_G.square().mean().sqrt()
    return float((centred_G**3).mean() / spread**3) if spread > 0 else 0.0


def aggregate(found: Sequence[Metrics]) -> Metrics:
    """The worst of each figure over several pairs of modalities: a space is as good as its weakest side."""
    merged: Metrics = {}
    for metrics in found:
        for key, value in metrics.items():
            worst = min if key.endswith(("effective_rank", "items")) else max
            merged[key] = worst(merged.get(key, value), value)
    return merged


def diagnose(
    metrics: Metrics, width: int, modalities: Sequence[str] = ("image", "text"), cure: str = CURE
) -> str | None:
    """The space's most serious fault in one plain sentence with its cure, or nothing.

    ``cure`` is what helps this run against a collapse: see :func:`cospace.evaluation.advice.cure`.
    """
    fault = collapse(metrics, width, modalities)
    if fault is not None:
        return f"the space is collapsing: {fault.what} ({fault.figures}). Cure: {cure}"
    gap = metrics["space/modality_gap"]
    if gap > APART:
        return (
            f"the space is split: {' and '.join(map(plural, modalities))} lie apart (gap {gap:.2f} of 2). "
            "Cure: train longer, or check that the pairs belong together"
        )
    return None


@dataclass(frozen=True, slots=True)
class Collapse:
    """What a collapsed space does with a modality's items, in words, and the figures that show it."""

    what: str
    figures: str


def collapse(metrics: Metrics, width: int, modalities: Sequence[str] = ("image", "text")) -> Collapse | None:
    """Whether the items of a modality share one point, or one line or plane; of several the first."""
    for name in (name for name in modalities if f"space/{name}/effective_rank" in metrics):
        rank, cosine = metrics[f"space/{name}/effective_rank"], metrics[f"space/{name}/mean_cosine"]
        what, figures = plural(name), f"effective rank {rank:.1f} of {width}"
        if cosine > CONSTANT:
            return Collapse(f"all {what} land almost on one point", f"{figures}, mean cosine {cosine:.2f}")
        if rank < least_rank(width, metrics.get(f"space/{name}/items", math.inf)):
            return Collapse(f"all {what} lie almost on one line or plane", figures)
    return None


def least_rank(width: int, items: float) -> float:
    """The effective rank below which a space of ``width`` has lost its dimensions, on so many different items."""
    return min(FLAT, width / 2, items / 2)


def verdicts(metrics: Metrics, width: int) -> list[Verdict]:
    """Every headline measure with a word and a sentence, for people who never read the papers."""
    rank, cosine = metrics["space/effective_rank"], metrics["space/mean_cosine"]
    near, gap, hubs = metrics["space/alignment"], metrics["space/modality_gap"], metrics["space/hubness"]
    spread = metrics["space/uniformity"]
    items = min((value for key, value in metrics.items() if key.startswith("space/") and key.endswith("/items")),
                default=math.inf)  # fmt: skip
    least = least_rank(width, items)
    return [
        Verdict("effective rank", rank, _word(rank < least, rank < min(8, items / 2)),
                f"About {rank:.0f} of {width} directions are in use; below {least:.3g} the space is collapsing."),
        Verdict("mean cosine", cosine, _word(cosine > CONSTANT, cosine > 0.7),
                "How alike two different items are: near 0 they spread over the sphere, near 1 all fall on one point."),
        Verdict("alignment", near, _word(near >= 2, near > 1.5),
                "Mean squared distance of a pair, 0 to 4; 2 is a right angle, 0 is perfect or collapsed."),
        Verdict("uniformity", spread, _word(spread > -0.2, spread > -1.0),
                "How evenly the sphere is used: 0 is a single point, about -4 is perfectly spread."),
        Verdict("modality gap", gap, _word(gap > APART, gap > 0.9),
                "Distance of the modalities' centres, 0 to 2; a large gap hurts lists that mix both."),
        Verdict("hubness", hubs, _word(hubs > HUBS, hubs > 3),
                "Skewness of how often an item is found: large means that a few items crowd every result list."),
    ]  # fmt: skip


def _side(vectors_BE: Tensor) -> Metrics:
    """What one modality's vectors say by themselves."""
    cosine_BB = vectors_BE @ vectors_BE.T
    return {
        "effective_rank": effective_rank(vectors_BE),
        "uniformity": uniformity(cosine_BB),
        "mean_cosine": _mean_off_diagonal(cosine_BB),
    }


def _mean_off_diagonal(values_BB: Tensor) -> float:
    """The mean off the diagonal; summed in float64, since the diagonal's ones would drown small values."""
    count = len(values_BB)
    off = values_BB.sum(dtype=torch.float64) - values_BB.diagonal().sum(dtype=torch.float64)
    return float(off / (count * (count - 1)))


def _word(bad: bool, look: bool) -> str:
    return "bad" if bad else "look" if look else "good"


def plural(name: str) -> str:
    """Several items of a modality, in words."""
    return modality(name).plural if name in names() else f"{name} items"
