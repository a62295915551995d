"""What published towers would give on some pairs, measured in seconds before a run begins.

Heads in closed form are fitted on a few hundred training items, on the towers' features and, beside them, on mere
pixels and words. The second find next to nothing among photographs, and much among drawings, charts or glyphs, whose
images are composed as their texts are: there a space learned from nothing goes far beyond towers of photographs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.pairs import Pairs
from ..data.prepared import different_items, of_some_items, prepare_pairs
from ..modalities import is_text, text_modality
from ..models.wheels import INSTALL
from ..runs.advice import TOWERS
from ..runs.heads import class_names, features_of, sides_of
from ..runs.plain_features import plain_features, vocabulary_of
from ..runs.settings import facts_of, recipe_data
from ..runs.towers import JoinedTowers, open_towers
from ..training.closed_form import Choice, evaluate_choice
from ..types import Progress, UserError, silent

FEW = 5_000
"""Different files up to which an estimate is made: with more, learning from nothing has something to learn from."""

FITTED, RANKED = 300, 100
"""Training and validation items that the estimate uses at most."""

CHOICE = Choice("cca", 3.0, 1.0, class_weight=0.5, hub_scale=10.0)
"""What is fitted on towers: what cross-validation chose for 700 photographs. The recipe chooses anew."""

PLAIN_CHOICE = Choice("cca", 0.3, 3.0)
"""What is fitted on pixels and words; strengths between 0.1 and 3 find the same, up to two points."""

FROM_NOTHING, EVIDENCE = 0.5, 6
"""Learning from nothing is better where pixels and words alone find more than this share of what the towers find, and
at least so many images and so many texts: fewer may be luck."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """R@1 (image to text, text to image) among the same ``ranked`` images: of towers, and of pixels and words."""

    towers: tuple[float, float]
    plain: tuple[float, float]
    fitted: int
    ranked: int

    @property
    def from_nothing(self) -> bool:
        """Whether a space that is learned from nothing will find more than the towers."""
        enough = sum(self.plain) * self.ranked >= 2 * EVIDENCE
        return enough and sum(self.plain) > FROM_NOTHING * sum(self.towers)


def compare(train: Pairs, val: Pairs, towers: JoinedTowers, progress: Progress = silent) -> Comparison:
    """Fit both on at most :data:`FITTED` training items and rank at most :data:`RANKED` others."""
    left, right = sides_of(towers.space, towers)
    few = [_some(pairs, left, most) for pairs, most in ((train, FITTED), (val, RANKED))]
    prepared = [prepare_pairs(pairs, towers.space.processors, progress) for pairs in few]
    parts = [features_of(towers.space, one, towers, progress)[0] for one in prepared]
    fitted_on = replace(parts[0], names=class_names(towers.space, towers, left, right))
    vocabulary = vocabulary_of(different_items(few[0], text_modality())[0])
    plain = [plain_features(pairs, left, vocabulary, progress) for pairs in few]
    return Comparison(
        evaluate_choice(fitted_on, parts[1], CHOICE),
        evaluate_choice(plain[0], plain[1], PLAIN_CHOICE),
        len(parts[0].left_ND),
        len(parts[1].left_ND),
    )


def estimate_towers(train: Pairs, val: Pairs, progress: Progress = silent) -> str | None:
    """One sentence on what ``--recipe towers`` would find, and the command; nothing where it is no question.

    It is none where the pairs have other modalities than the recipe's towers, or more than :data:`FEW` files, or
    where learning from nothing is better.
    """
    recipe = recipe_data(TOWERS)
    files = [name for name in train.modalities if not is_text(name)]
    if set(train.modalities) != set(recipe["towers"]) or facts_of(train).counts[files[0]] > FEW:
        return None
    try:
        towers = open_towers(recipe["towers"], recipe["embed_dim"], augmented=recipe["tta"])
    except UserError as error:
        return f"with so few images published towers usually give several times more: {INSTALL} ({error})"
    found = compare(train, val, towers, progress)
    if found.from_nothing:
        return None
    return (
        f"published towers, fitted in seconds on {found.fitted} images, find {_percents(found.towers)} of "
        f"{found.ranked} validation images first (R@1), by chance {100 / max(1, found.ranked):.0f} %; "
        f"for these on all pairs: the same command with --recipe {TOWERS}"
    )


def advise_from_nothing(found: Comparison) -> str:
    """Why a run of the recipe ``towers`` learns from nothing, and what joins the towers all the same."""
    towers, plain = _percents(found.towers), _percents(found.plain)
    return (
        f"published towers know little of these images: fitted on {found.fitted}, they find {towers} of "
        f"{found.ranked} validation images first (R@1), where mere pixels and words find {plain}. So this run learns "
        "from nothing, as --recipe small does; heads=closed_form joins the towers all the same"
    )


def _percents(recall: tuple[float, float]) -> str:
    return f"{100 * recall[0]:.0f} % (image to text) and {100 * recall[1]:.0f} % (text to image)"


def _some(pairs: Pairs, name: str, most: int) -> Pairs:
    """All rows of at most ``most`` different items, evenly spaced."""
    return pairs.select(np.flatnonzero(of_some_items(pairs.keys[name], most)))
