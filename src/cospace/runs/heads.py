"""The heads of joined towers, fitted in closed form on a run's training pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..data.prepared import PreparedPairs
from ..data.splits import LARGE_COMPONENT, MANY_COMPONENTS
from ..modalities import is_text
from ..models.space import Space
from ..training import closed_form
from ..training.closed_form import ClassNames, Features, Fit
from ..types import Progress, UserError
from .features import pooled_features, pooled_texts
from .towers import JoinedTowers

PROMPT = "a photo of a {}"
"""What a text tower reads of a class name (CLIP's first template, Radford et al. 2021)."""


def sides_of(space: Space, towers: JoinedTowers) -> tuple[str, str]:
    """The two modalities that heads lead together, the texts last.

    Raises :class:`UserError` where there are others, or where one has no published tower.
    """
    names = sorted(space.modalities, key=is_text)
    if len(names) != 2 or not set(names) <= towers.towers.keys():
        raise UserError(
            f"heads=closed_form leads two published towers together; here are {', '.join(names)}, with towers for "
            f"{', '.join(towers.towers)}; add heads=linear"
        )
    return names[0], names[1]


def features_of(
    space: Space, prepared: PreparedPairs, towers: JoinedTowers, progress: Progress
) -> tuple[Features, tuple[str, str]]:
    """The frozen features of all items and their pairs, and the names of the two modalities."""
    names = sides_of(space, towers)
    sides = [pooled_features(space, name, prepared, towers.fingerprints[name], progress) for name in names]
    columns = [prepared.item_of_row[name] for name in names]
    rows = np.flatnonzero((columns[0] >= 0) & (columns[1] >= 0))
    places = [np.searchsorted(items, column[rows]) for (_, items), column in zip(sides, columns, strict=True)]
    pairs_P2, first = np.unique(np.stack(places, axis=1), axis=0, return_index=True)
    units = _units(prepared, rows, places[0])[first]
    return Features(sides[0][0], sides[1][0], torch.from_numpy(pairs_P2), units), names


def _units(prepared: PreparedPairs, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What a fold keeps whole: connected components, or where these are few (classes), the first side's items."""
    components = prepared.pairs.groups[rows]
    counts = np.unique(components, return_counts=True)[1]
    whole = len(counts) >= MANY_COMPONENTS and counts.max() <= LARGE_COMPONENT * len(rows)
    return components if whole else items


def class_names(space: Space, towers: JoinedTowers, left: str, right: str) -> ClassNames | None:
    """The classifier of the first side's tower, its classes' names read by the text tower; nothing without one."""
    classifier = towers.towers[left].classifier
    if classifier is None or not is_text(right):
        return None
    prompts = [PROMPT.format(name) for name in classifier.names]
    names_CK = pooled_texts(space, right, prompts, towers.fingerprints[right])
    return ClassNames(classifier.weight_CD, classifier.bias_C, names_CK)


def fit_heads(
    space: Space, prepared: PreparedPairs, towers: JoinedTowers, seed: int, progress: Progress
) -> tuple[Fit, tuple[str, str]]:
    """Fit both heads, and let the space end in them."""
    features, names = features_of(space, prepared, towers, progress)
    features = replace(features, names=class_names(space, towers, *names))
    fit = closed_form.fit(features, seed, progress)
    for name, head in zip(names, fit.heads, strict=True):
        space.projections[name] = head.to(space.device)
        space.heads[name] = head.config
    space.width = fit.heads[0].config.width
    return fit, names


def describe_fit(fit: Fit, names: tuple[str, str], say: Callable[[str], None]) -> None:
    """The baseline that every further training must beat, in lines for people."""
    ways = f"{names[0]} to {names[1]} / {names[1]} to {names[0]}"
    say(f"heads in closed form, R@1 by {closed_form.FOLDS}-fold cross-validation on the training pairs ({ways}):")
    for name, (forth, back) in fit.tried.items():
        say(f"  {name}: {100 * forth:.1f} / {100 * back:.1f} %")
    say(f"chosen: {fit.choice}")


def as_facts(fit: Fit) -> dict[str, Any]:
    """The same as JSON data."""
    return {"chosen": str(fit.choice), "cross_validated": {name: list(pair) for name, pair in fit.tried.items()}}
