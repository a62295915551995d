"""What a space's search may say of its results, fitted and measured on embedded held-out pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..evaluation.relevance import (
    LEAST_QUERIES,
    MOST_GALLERY,
    MOST_QUERIES,
    expected_calibration_error,
    fit,
    holding,
    kind_of,
    probabilities_of,
    reliability,
    short_queries,
    shown,
)
from ..modalities import is_text, text_modality
from ..models.calibration import SHORT, WHOLE, Fit, Relevance
from ..models.space import Space
from .embedded import EmbeddedPairs


@dataclass(frozen=True, slots=True)
class Trial:
    """Held-out queries of one kind in one direction: cosines ``(Q, G)``, matches, what they are where they are texts.

    ``captions`` are those of each item of the gallery, a line each, where queries are texts.
    """

    direction: str
    kind: str
    scores_QG: np.ndarray
    is_match_QG: np.ndarray
    texts: list[str] | None = None
    captions: list[str] | None = None

    def fitted(self, rows: slice = slice(None)) -> Fit | None:
        """The fit on some of the queries."""
        counted_Q = (
            None if self.texts is None else np.array([kind_of(text) == SHORT for text in self.texts[rows]], bool)
        )
        return fit(self.scores_QG[rows], self.is_match_QG[rows], counted_Q)


def trials(space: Space, embedded: EmbeddedPairs, seed: int = 0) -> list[Trial]:
    """Every direction that the pairs can judge: any two modalities that they pair, and short texts of any items."""
    made = []
    for pair in embedded.both():
        for asked, found in (pair[::-1], pair):
            made.append(_whole(embedded, asked, found, seed))
    text = text_modality()
    if text in embedded.vectors:
        made += _short(space, embedded, seed)
    return made


def calibrate_search(found: list[Trial]) -> Relevance:
    """What a search may say, by direction and kind of query."""
    fits: dict[str, dict[str, Fit]] = {}
    for trial in found:
        fitted = trial.fitted()
        if fitted is not None:
            fits.setdefault(trial.direction, {})[trial.kind] = fitted
    return Relevance(fits)


def reliability_of(found: list[Trial]) -> dict[str, Any]:
    """How far the probabilities of shown results are from what came true, in bins; nothing where none are shown.

    Each half of the queries is judged by what was fitted on the other one.
    """
    chances: dict[str, list[np.ndarray]] = {}
    right: dict[str, list[np.ndarray]] = {}
    queries: dict[str, int] = {}
    for trial in found:
        for chance, is_match in _crossed(trial):
            chances.setdefault(trial.kind, []).append(chance)
            right.setdefault(trial.kind, []).append(is_match)
            queries[trial.kind] = queries.get(trial.kind, 0) + len(trial.scores_QG) // 2
    if not chances:
        return {}
    kinds = {kind: (np.concatenate(chances[kind]), np.concatenate(right[kind])) for kind in chances}
    chance_N, right_N = (np.concatenate(parts) for parts in zip(*kinds.values(), strict=True))
    return {
        "error": expected_calibration_error(chance_N, right_N),
        "bins": [asdict(one) for one in reliability(chance_N, right_N)],
        "shown": len(chance_N),
        "queries": sum(queries.values()),
        "kinds": {
            kind: {"error": expected_calibration_error(*both), "shown": len(both[0]), "queries": queries[kind]}
            for kind, both in kinds.items()
        },
    }


def captions_by_item(embedded: EmbeddedPairs, name: str) -> list[str]:
    """All captions of every different item of a modality, a line each; a text is its own."""
    texts = embedded.pairs.items.get(text_modality())
    if texts is None:
        return [""] * len(embedded.first_row[name])
    if is_text(name):
        return [texts[row] or "" for row in embedded.first_row[name].tolist()]
    lines: list[dict[str, None]] = [{} for _ in embedded.first_row[name]]
    for row, place in enumerate(embedded.vector_of_row[name].tolist()):
        if place >= 0 and texts[row]:
            lines[place][" ".join(str(texts[row]).split())] = None
    return ["\n".join(one) for one in lines]


def _whole(embedded: EmbeddedPairs, asked: str, found: str, seed: int) -> Trial:
    """Items of one modality against those of another."""
    matched = embedded.among_matched(asked, found)
    dice = np.random.default_rng(seed)
    relation = matched.relation.to("cpu")
    rows_Q = _queries(embedded, asked, matched.kept[0].numpy(), np.flatnonzero(relation.counts()[0]))
    rows_Q = np.sort(dice.permutation(rows_Q)[:MOST_QUERIES])
    matches_M = relation.select(torch.from_numpy(rows_Q)).counts()[1].numpy() > 0
    others = dice.permutation(np.flatnonzero(~matches_M))[: max(0, MOST_GALLERY - int(matches_M.sum()))]
    rows_G = np.concatenate([np.flatnonzero(matches_M), others])
    scores_QG = matched.first_NE[torch.from_numpy(rows_Q)] @ matched.second_ME[torch.from_numpy(rows_G)].T
    is_match = relation.dense(torch.from_numpy(rows_Q), torch.from_numpy(rows_G)).numpy()
    texts = captions = None
    if is_text(asked):
        texts = _only(captions_by_item(embedded, asked), matched.kept[0].numpy()[rows_Q])
        captions = _only(captions_by_item(embedded, found), matched.kept[1].numpy()[rows_G])
        is_match |= holding(texts, captions)
    return Trial(f"{asked}_to_{found}", WHOLE, scores_QG.double().cpu().numpy(), is_match, texts, captions)


def _queries(embedded: EmbeddedPairs, asked: str, kept_N: np.ndarray, rows_Q: np.ndarray) -> np.ndarray:
    """Of texts those that are whole captions, if there are enough: short ones are judged as short queries are."""
    if not is_text(asked):
        return rows_Q
    texts = captions_by_item(embedded, asked)
    whole = np.array([kind_of(texts[kept_N[row]]) == WHOLE for row in rows_Q.tolist()], bool)
    return rows_Q[whole] if whole.sum() >= LEAST_QUERIES else rows_Q


def _short(space: Space, embedded: EmbeddedPairs, seed: int) -> Iterator[Trial]:
    """A few words of the captions against the items of every modality."""
    text = text_modality()
    queries = short_queries(captions_by_item(embedded, text), seed=seed)
    if not queries:
        return
    query_QE = space.embed(progress=None, **{text: queries})
    dice = np.random.default_rng(seed)
    for name, vectors in embedded.vectors.items():
        rows_G = np.sort(dice.permutation(len(vectors))[:MOST_GALLERY])
        captions = _only(captions_by_item(embedded, name), rows_G)
        is_match = holding(queries, captions)
        rows = np.flatnonzero(is_match.any(1))
        scores_QG = query_QE[rows] @ vectors[torch.from_numpy(rows_G)].cpu().numpy().T
        yield Trial(f"{text}_to_{name}", SHORT, scores_QG, is_match[rows], [queries[row] for row in rows], captions)


def _crossed(trial: Trial) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shown results of each half of the queries, judged by the other half."""
    for mine, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        fitted = trial.fitted(other)
        if fitted is None:
            continue
        relevance = Relevance({trial.direction: {trial.kind: fitted}})
        texts = None if trial.texts is None else trial.texts[mine]
        chance = probabilities_of(relevance, trial.direction, trial.scores_QG[mine], texts, trial.captions)
        if chance is not None:
            yield shown(chance, trial.is_match_QG[mine])


def _only(texts: list[str], rows: np.ndarray) -> list[str]:
    return [texts[row] for row in rows.tolist()]
