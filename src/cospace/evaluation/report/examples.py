"""Retrieval examples for people: which ones to show, by a rule that is stated, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...matches import Relation
from ...models.calibration import Calibration
from ..retrieval import Ranking, nearest
from ..vectors import beside, unit

RULE = "Eight queries drawn at random, four of the best ranks and the eight worst; no other choice was made"

TOP = 5
"""Results shown of each query."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to show: words, or the key of an image in ``Report.images`` with words that describe it.

    The image of a sound is its spectrogram.
    """

    text: str
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A gallery item at its rank; ``percent`` is 0 to 100, or nothing where no calibration was fitted."""

    item: Item
    rank: int
    percent: float | None
    is_match: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A query, its best results and, where they do not hold the truth, the truth at the end."""

    direction: str
    stratum: str
    query: Item
    rank: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One modality of the evaluated pairs: what it shows and its vectors, row by row."""

    items: Sequence[Item]
    vectors_NE: Tensor


def choose_examples(
    ranks: np.ndarray | Tensor, seed: int = 0, random: int = 8, best: int = 4, worst: int = 8
) -> dict[str, list[int]]:
    """Rows to show by stratum: ``random`` first, then ``best`` and ``worst`` of what is left; ties fall by the seed."""
    ranks = np.asarray(ranks)
    shuffled = np.random.default_rng(seed).permutation(len(ranks))
    chosen = {"random": shuffled[:random]}
    rest = shuffled[random:]
    rest = rest[np.argsort(ranks[rest], kind="stable")]
    chosen["best"] = rest[:best]
    chosen["worst"] = rest[best:][::-1][:worst]
    return {stratum: [int(row) for row in rows] for stratum, rows in chosen.items()}


def build_examples(
    direction: str,
    ranking: Ranking,
    sides: tuple[Side, Side],
    relation: Relation,
    calibration: Calibration | None = None,
    seed: int = 0,
) -> list[Example]:
    """The chosen queries with their best results; ``sides`` are the queries' and the gallery's, and
    ``relation`` says which of them match.

    Percentages are moved to the gallery's own share of matches: in a larger collection more items that do not match
    are alike.
    """
    query, gallery = sides
    share = float(ranking.matches_N.double().mean()) / ranking.gallery
    calibration = None if calibration is None or share >= 1 else calibration.at(share)
    chosen = choose_examples(ranking.rank_N.cpu(), seed)
    rows = [(stratum, row) for stratum, members in chosen.items() for row in members]
    picked = torch.tensor([row for _, row in rows], device=query.vectors_NE.device)
    query_RE = query.vectors_NE[picked]
    match_RM = beside(relation, query.vectors_NE, gallery.vectors_NE).dense(picked)
    cosine_RK, place_RK = nearest(query_RE, gallery.vectors_NE, TOP)
    truths = _best_matches(query_RE, gallery.vectors_NE, match_RM)
    examples = []
    for (stratum, row), cosines, places, match_M, truth in zip(
        rows, cosine_RK.tolist(), place_RK.tolist(), match_RM.tolist(), truths, strict=True
    ):
        rank = int(ranking.rank_N[row])
        hits = list(zip(places, cosines, range(1, len(places) + 1), strict=True))
        if not any(match_M[place] for place in places):
            hits.append((*truth, rank))
        results = tuple(
            Result(gallery.items[place], position, _percent(calibration, cosine), match_M[place])
            for place, cosine, position in hits
        )
        examples.append(Example(direction, stratum, query.items[row], rank, results))
    return examples


def _best_matches(query_RE: Tensor, gallery_ME: Tensor, match_RM: Tensor) -> list[tuple[int, float]]:
    """Position and cosine of each query's best true match."""
    score_RM = unit(query_RE, "queries") @ unit(gallery_ME, "gallery items").T
    best = score_RM.masked_fill(~match_RM, -torch.inf).max(1)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _percent(calibration: Calibration | None, cosine: float) -> float | None:
    return None if calibration is None else 100 * float(calibration.probability(cosine))
