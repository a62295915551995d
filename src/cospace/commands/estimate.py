"""What published towers would give on some pairs, measured in seconds before a run from nothing begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data.pairs import Pairs
from ..data.prepared import of_some_items, prepare_pairs
from ..modalities import is_text
from ..models.wheels import INSTALL
from ..runs.advice import TOWERS
from ..runs.heads import class_names, features_of, sides_of
from ..runs.settings import recipe_data
from ..runs.towers import open_towers
from ..training.closed_form import Choice, evaluate_choice
from ..types import Progress, UserError, silent

FEW = 5_000
"""Different files up to which an estimate is made: with more, learning from nothing has something to learn from."""

FITTED, RANKED = 300, 100
"""Training and validation items that the estimate uses at most."""

CHOICE = Choice("cca", 3.0, 1.0, class_weight=0.5, hub_scale=10.0)
"""What is fitted: what cross-validation chose for 700 photographs. The recipe chooses anew."""


def estimate_towers(train: Pairs, val: Pairs, progress: Progress = silent) -> str | None:
    """One sentence on what ``--recipe towers`` would find, and the command; nothing where it is no question.

    It is none where the pairs have other modalities than the recipe's towers, or more than :data:`FEW` files.
    """
    recipe = recipe_data(TOWERS)
    files = [name for name in train.modalities if not is_text(name)]
    if set(train.modalities) != set(recipe["towers"]) or len(np.unique(train.keys[files[0]])) > FEW:
        return None
    try:
        towers = open_towers(recipe["towers"], recipe["embed_dim"], augmented=recipe["tta"])
    except UserError as error:
        return f"with so few images published towers usually give several times more: {INSTALL} ({error})"
    space, parts = towers.space, []
    for pairs, most in ((train, FITTED), (val, RANKED)):
        prepared = prepare_pairs(_some(pairs, files[0], most), space.processors, progress)
        parts.append(features_of(space, prepared, towers, progress)[0])
    left, right = sides_of(space, towers)
    fitted_on = replace(parts[0], names=class_names(space, towers, left, right))
    forth, back = evaluate_choice(fitted_on, parts[1], CHOICE)
    fitted, ranked = len(parts[0].left_ND), len(parts[1].left_ND)
    return (
        f"published towers, fitted in seconds on {fitted} {left}s, find {100 * forth:.0f} % ({left} to {right}) and "
        f"{100 * back:.0f} % ({right} to {left}) of {ranked} validation {left}s first (R@1), by chance "
        f"{100 / max(1, ranked):.0f} %; for these on all pairs: the same command with --recipe {TOWERS}"
    )


def _some(pairs: Pairs, name: str, most: int) -> Pairs:
    """All rows of at most ``most`` different items, evenly spaced."""
    return pairs.select(np.flatnonzero(of_some_items(pairs.keys[name], most)))
