"""Calibrate the searches of an index on its own captions, for models that brought no held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.relevance import (
    LEAST_QUERIES,
    MOST_GALLERY,
    MOST_QUERIES,
    holding,
    kind_of,
    short_queries,
)
from ..evaluators.relevance import Trial, calibrate_search, reliability_of
from ..modalities import is_text, text_modality
from ..models.calibration import SHORT, WHOLE
from ..models.space import Space
from ..stores import Index, Item, of_modality
from ..stores.entries import captions_of
from ..types import UserError
from .search import SearchableIndex


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What an index's searches were calibrated on: by direction how many queries, and the error over shown results."""

    queries: Mapping[str, int]
    error: float
    shown: int

    def sentence(self) -> str:
        """For people."""
        total = sum(self.queries.values())
        return f"calibrated on {total:,} queries out of its own captions: percentages are off by {100 * self.error:.1f}"


def calibrate_index(index: SearchableIndex, seed: int = 0) -> Calibrated:
    """Fit what a search of this index may say on what its items' captions say, and keep it beside the index.

    Right for these items; where the model was trained on them, its percentages are too high for others. Raises
    :class:`UserError` where too few items have captions.
    """
    made = [trial for name in index.space.modalities if not is_text(name) for trial in _trials(index, name, seed)]
    relevance = calibrate_search(made)
    if not relevance:
        raise UserError(
            f"{index.name} has too few captions to be calibrated on: at least {LEAST_QUERIES} queries have to be found "
            "in them; index pairs of files and texts, such as a table with captions"
        )
    index.location.calibrate(relevance.plain())
    measured = reliability_of(made)
    queries = {trial.direction: 0 for trial in made if trial.direction in relevance}
    for trial in made:
        if trial.direction in queries:
            queries[trial.direction] += len(trial.scores_QG)
    return Calibrated(queries, float(measured.get("error", 0.0)), int(measured.get("shown", 0)))


def _trials(index: SearchableIndex, name: str, seed: int) -> Sequence[Trial]:
    """Captions and short queries against items of a modality that have captions, and the items against captions."""
    text, store = text_modality(), index.store
    items, vectors_GE = _captioned(store, name, seed)
    if text not in index.space.modalities or not items:
        return []
    captions = ["\n".join(captions_of(item)) for item in items]
    different = list(dict.fromkeys(line for item in items for line in captions_of(item)))
    dice = np.random.default_rng(seed)
    whole = [different[row] for row in np.sort(dice.permutation(len(different))[:MOST_QUERIES])]
    made = []
    kinds = {
        WHOLE: [one for one in whole if kind_of(one) == WHOLE] or whole,
        SHORT: short_queries(different, seed=seed),
    }
    for kind, queries in kinds.items():
        query_QE, is_match = _embedded(index.space, queries), holding(queries, captions)
        rows = np.flatnonzero(is_match.any(1))
        scores_QG, texts = query_QE[rows] @ vectors_GE.T, [queries[row] for row in rows]
        made.append(Trial(f"{text}_to_{name}", kind, scores_QG, is_match[rows], texts, captions))
    return [*made, _backwards(index.space, items, vectors_GE, name, dice)]


def _backwards(
    space: Space, items: Sequence[Item], vectors_GE: np.ndarray, name: str, dice: np.random.Generator
) -> Trial:
    """Items against the captions of a sample of them."""
    chosen = np.sort(dice.permutation(len(items))[:MOST_QUERIES])
    lines = list(dict.fromkeys(line for place in chosen.tolist() for line in captions_of(items[place])))[:MOST_GALLERY]
    place_of = {line: place for place, line in enumerate(lines)}
    is_match = np.zeros((len(chosen), len(lines)), bool)
    for row, place in enumerate(chosen.tolist()):
        is_match[row, [place_of[line] for line in captions_of(items[place]) if line in place_of]] = True
    scores_QG = vectors_GE[chosen] @ _embedded(space, lines).T
    return Trial(f"{name}_to_{text_modality()}", WHOLE, scores_QG, is_match)


def _captioned(store: Index, name: str, seed: int) -> tuple[list[Item], np.ndarray]:
    """At most :data:`MOST_GALLERY` items of a modality that have captions, with their vectors."""
    numbers = store.select([of_modality(name)], MOST_GALLERY, seed)
    items = store.items(numbers.tolist())
    kept = [place for place, item in enumerate(items) if captions_of(item)]
    return [items[place] for place in kept], store.vectors(numbers[kept])


def _embedded(space: Space, texts: Sequence[str]) -> np.ndarray:
    return space.embed(progress=None, **{text_modality(): list(texts)})
