"""Retrieval both ways among unit vectors, in bounded memory.

A query's true matches are what a :class:`cospace.matches.Relation` says. Ranks are pessimistic: an item that does not
match and scores as high as a match stands before it. So a constant space scores zero, not one, and unmarked duplicates
hurt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation
from ..types import Metrics, UserError
from .intervals import Interval, interval, intervals
from .vectors import Groups, beside, unit

__all__ = ["Ranking", "both_ways", "interval", "metric_intervals", "nearest", "ranks", "retrieval", "summary"]

TIE = 1e-6
"""Cosines closer than this are equal: float32 sums of the same products differ by that much with the tile's shape."""

_CUTS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one direction went, per query."""

    rank_N: Tensor
    """Rank of the best true match, from 1."""
    precision_N: Tensor
    """Average precision over all true matches."""
    matches_N: Tensor
    """How many true matches the gallery holds."""
    gallery: int


def ranks(query_NE: Tensor, gallery_ME: Tensor, relation: Relation, tile: int = 2048) -> Ranking:
    """Rank every query's true matches in the gallery.

    At most ``tile ** 2`` scores exist at a time. A query without a true match in the gallery has no rank and is a
    ``UserError``.
    """
    query_NE, gallery_ME = unit(query_NE, "queries"), unit(gallery_ME, "gallery items")
    relation = beside(relation, query_NE, gallery_ME)
    parts = []
    for rows, score_RM in _tiles(query_NE, gallery_ME, tile):
        parts.append(_rank_tile(score_RM, relation.dense(rows)))
    rank_N, precision_N, matches_N = (torch.cat(column) for column in zip(*parts, strict=True))
    lost = int((matches_N == 0).sum())
    if lost:
        raise UserError(
            f"{lost} of {len(matches_N)} queries have no true match in the gallery; "
            "keep both sides of every pair that is evaluated"
        )
    return Ranking(rank_N, precision_N, matches_N, len(gallery_ME))


def nearest(query_NE: Tensor, gallery_ME: Tensor, k: int, tile: int = 2048) -> tuple[Tensor, Tensor]:
    """The ``k`` best gallery items of every query, best first: cosines and positions, both ``(N, k)``."""
    query_NE, gallery_ME = unit(query_NE, "queries"), unit(gallery_ME, "gallery items")
    k = min(k, len(gallery_ME))
    parts = [score_RM.topk(k) for _, score_RM in _tiles(query_NE, gallery_ME, tile)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def both_ways(
    first_NE: Tensor, second_ME: Tensor, relation: Relation, names: tuple[str, str] = ("image", "text")
) -> dict[str, Ranking]:
    """Rankings by direction, e.g. ``text_to_image``: texts as queries, images as gallery.

    ``relation`` is of the first items (``image``) with the second.
    """
    first, second = names
    return {
        f"{second}_to_{first}": ranks(second_ME, first_NE, relation.T),
        f"{first}_to_{second}": ranks(first_NE, second_ME, relation),
    }


def retrieval(
    first_NE: Tensor, second_ME: Tensor, relation: Relation, names: tuple[str, str] = ("image", "text")
) -> Metrics:
    """The metrics of both directions, what chance would give, and how many items there were."""
    rankings = both_ways(first_NE, second_ME, relation, names)
    metrics: Metrics = {f"n_{names[0]}s": len(first_NE), f"n_{names[1]}s": len(second_ME)}
    for direction, ranking in rankings.items():
        metrics |= summary(direction, ranking)
    return metrics


def summary(direction: str, ranking: Ranking) -> Metrics:
    """One direction's metrics. ``R@k`` is the share of queries with a true match among the first k results.

    Chance for ``R@1`` is exact: the mean share of the gallery that matches.
    """
    rank_N = ranking.rank_N.double()
    metrics: Metrics = {f"{direction}/R@{k}": float((rank_N <= k).double().mean()) for k in _CUTS}
    return metrics | {
        f"{direction}/median_rank": float(rank_N.quantile(0.5)),
        f"{direction}/MRR": float((1 / rank_N).mean()),
        f"{direction}/mAP": float(ranking.precision_N.double().mean()),
        f"chance/{direction}/R@1": float((ranking.matches_N.double() / ranking.gallery).mean()),
    }


def metric_intervals(direction: str, ranking: Ranking, query_groups: Groups, seed: int = 0) -> dict[str, Interval]:
    """95 % intervals for the means in :func:`summary`, by the same keys; groups are drawn, not rows."""
    rank_N = ranking.rank_N.double().cpu().numpy()
    columns = {f"{direction}/R@{k}": (rank_N <= k).astype(np.float64) for k in _CUTS}
    columns |= {f"{direction}/MRR": 1 / rank_N, f"{direction}/mAP": ranking.precision_N.double().cpu().numpy()}
    groups_N = torch.as_tensor(query_groups).cpu().numpy()
    bounds_K2 = intervals(np.stack(list(columns.values()), axis=1), groups_N, seed)
    return {key: (float(low), float(high)) for key, (low, high) in zip(columns, bounds_K2, strict=True)}


def _tiles(query_NE: Tensor, gallery_ME: Tensor, tile: int) -> Iterator[tuple[slice, Tensor]]:
    """Cosines of a few queries with the whole gallery, so many queries that a tile holds ``tile ** 2`` scores."""
    step = max(1, tile * tile // max(1, len(gallery_ME)))
    for start in range(0, len(query_NE), step):
        rows = slice(start, start + step)
        yield rows, query_NE[rows] @ gallery_ME.T


def _rank_tile(score_RM: Tensor, match_RM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best rank, average precision and number of matches of each query of a tile.

    With a query's match scores in order, the k-th match stands at k + (non-matches that score at least as high).
    Each non-match is put in its place among the match scores, so the cost is one binary search per score.
    """
    matches_R = match_RM.sum(1)
    most = max(1, int(matches_R.max()))
    best_RK = score_RM.masked_fill(~match_RM, -torch.inf).topk(most).values - TIE
    beaten_RM = torch.searchsorted(best_RK.flip(1).contiguous(), score_RM, right=True)
    count_RK = torch.zeros(len(score_RM), most + 1, dtype=torch.long, device=score_RM.device)
    count_RK.scatter_add_(1, beaten_RM, (~match_RM).long())
    # A non-match that beats the b lowest of K match scores ranks above exactly those b, the last in the order.
    above_RK = count_RK[:, 1:].flip(1).cumsum(1)
    place_K = torch.arange(1, most + 1, device=score_RM.device)
    position_RK = place_K + above_RK
    share_RK = (place_K / position_RK).masked_fill(place_K > matches_R[:, None], 0)
    return position_RK[:, 0], share_RK.sum(1) / matches_R, matches_R
