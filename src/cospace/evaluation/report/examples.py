"""Retrieval examples for people: which ones to show, by a rule that is stated, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...matches import Relation
from ...models.calibration import match
from ..retrieval import Ranking
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
    """A gallery item at its rank; ``percent`` is 0 to 100, or nothing where no calibration was fitted.

    ``match`` is the word that a search has for it: strong, likely, maybe or weak.
    """

    item: Item
    rank: int
    percent: float | None
    is_match: bool
    match: str = ""


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
    """One modality of the evaluated pairs: what it shows, its vectors, and all captions of each item, row by row.

    ``captions`` of an item are lines, empty where there are none; ``is_text`` says what the items are.
    """

    items: Sequence[Item]
    vectors_NE: Tensor
    captions: Sequence[str] | None = None
    is_text: bool = False


Probabilities = Callable[[np.ndarray, Sequence[str] | None, Sequence[str] | None], np.ndarray | None]
"""From cosines ``(Q, G)`` with the whole gallery, the queries' texts and the gallery's captions: what a search says."""


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
    probabilities: Probabilities | None = None,
    seed: int = 0,
) -> list[Example]:
    """The chosen queries with their best results; ``sides`` are the queries' and the gallery's, and
    ``relation`` says which of them match.

    ``probabilities`` are those that a search of this gallery shows; without them results have neither word nor percent.
    """
    query, gallery = sides
    chosen = choose_examples(ranking.rank_N.cpu(), seed)
    rows = [(stratum, row) for stratum, members in chosen.items() for row in members]
    picked = torch.tensor([row for _, row in rows], device=query.vectors_NE.device)
    query_RE = query.vectors_NE[picked]
    match_RM = beside(relation, query.vectors_NE, gallery.vectors_NE).dense(picked)
    score_RM = unit(query_RE, "queries") @ unit(gallery.vectors_NE, "gallery items").T
    chance_RM = _chances(score_RM, [query.items[row] for _, row in rows], sides, probabilities)
    place_RK = score_RM.topk(min(TOP, len(gallery.items))).indices
    truth_R = score_RM.masked_fill(~match_RM, -torch.inf).argmax(1)
    examples = []
    for at, (stratum, row) in enumerate(rows):
        rank, match_M = int(ranking.rank_N[row]), match_RM[at].tolist()
        hits = list(enumerate(place_RK[at].tolist(), start=1))
        if not any(match_M[place] for _, place in hits):
            hits.append((rank, int(truth_R[at])))
        results = tuple(
            _result(gallery.items[place], position, None if chance_RM is None else chance_RM[at, place], match_M[place])
            for position, place in hits
        )
        examples.append(Example(direction, stratum, query.items[row], rank, results))
    return examples


def _chances(
    score_RM: Tensor, asked: Sequence[Item], sides: tuple[Side, Side], probabilities: Probabilities | None
) -> np.ndarray | None:
    """What a search says of every gallery item, ``(R, M)``."""
    if probabilities is None:
        return None
    query, gallery = sides
    texts = [item.text for item in asked] if query.is_text else None
    return probabilities(np.asarray(score_RM.double().cpu()), texts, gallery.captions)


def _result(item: Item, rank: int, probability: float | None, is_match: bool) -> Result:
    if probability is None:
        return Result(item, rank, None, is_match)
    return Result(item, rank, 100 * float(probability), is_match, match(float(probability)))
