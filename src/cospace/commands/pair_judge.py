"""Which pairs of a collection are probably wrong: by heads that are fitted on the spot, or by a model of one's own.

Left to itself it fits on what is there: published towers where they are installed (see ``docs/towers.md``), and
beside them features that nobody trained. A run that was trained on the same pairs knows the wrong ones by heart; one
that was trained on others, or a published model, is a good judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.pairs import Pairs
from ..data.prepared import different_items, prepare_pairs
from ..data.wrong_pairs import most_suspicious_first
from ..evaluators.embedded import embed_pairs
from ..matches import modality_pairs
from ..modalities import is_text, modality
from ..runs.advice import TOWERS
from ..runs.datasets import need
from ..runs.features import pooled_raws
from ..runs.run import Run
from ..runs.settings import recipe_data
from ..runs.source import open_source
from ..runs.towers import JoinedTowers, open_towers
from ..training.cross_fitting import View, side_by_side
from ..training.pair_quality import PairQuality, judge_pairs
from ..types import Progress, UserError, silent

TOWERS_READ = 20_000
"""Different files of a modality up to which published towers read them; with more that would take many minutes."""


@dataclass(frozen=True, slots=True)
class JudgedPairs:
    """Every row of some pairs, in their order, judged on every two modalities that it has.

    ``wrong_R`` is the probability that a row is wrong, the largest where there are several (NaN: not judged),
    ``better_R`` a row whose right item would fit its left one better (-1: none known), and ``between_R`` which two
    modalities of ``qualities`` that is about, by number.
    """

    wrong_R: np.ndarray
    better_R: np.ndarray
    between_R: np.ndarray
    qualities: Mapping[tuple[str, str], PairQuality]
    judge: str
    """Who judged, for people."""

    @property
    def ranking(self) -> np.ndarray:
        """The rows that were judged, the most suspicious first."""
        return most_suspicious_first(self.wrong_R)


@dataclass(frozen=True, slots=True)
class Described:
    """Features of the different items of a modality, one tensor ``(N, D)`` for each kind, and the item of every row."""

    kinds: Sequence[Tensor]
    item_of_row: np.ndarray


def judge_rows(
    pairs: Pairs, judge: str | Path | Run | None = None, seed: int = 0, progress: Progress = silent
) -> JudgedPairs:
    """How likely every row is wrong; ``judge`` is a run or a published model, left open what can be fitted.

    Raises :class:`UserError` where the pairs have one modality alone, or the judge does not embed two of them.
    """
    if judge is None:
        described, name = describe_items(pairs, progress)
    else:
        run = judge if isinstance(judge, Run) else open_source(str(judge))
        described, name = _embedded(pairs, run, progress), str(run.folder if run is judge else judge)
    qualities: dict[tuple[str, str], PairQuality] = {}
    for both in modality_pairs(described):
        left, right = sorted(both, key=is_text)
        items_R2 = np.stack([described[left].item_of_row, described[right].item_of_row], axis=1)
        if (items_R2 >= 0).all(axis=1).any():
            views = views_of(described[left], described[right], aligned=judge is not None)
            qualities[left, right] = judge_pairs(views, items_R2, pairs.groups, seed, progress)
    if not qualities:
        raise UserError(f"{pairs.name} pairs no two modalities that can be compared; has {', '.join(pairs.modalities)}")
    return _together(len(pairs), qualities, name)


def _together(rows: int, qualities: Mapping[tuple[str, str], PairQuality], judge: str) -> JudgedPairs:
    wrong_QR = np.stack([one.wrong_R for one in qualities.values()])
    between_R = np.where(np.isnan(wrong_QR), -1.0, wrong_QR).argmax(axis=0)
    better_QR = np.stack([one.better_R for one in qualities.values()])
    place = np.arange(rows)
    return JudgedPairs(wrong_QR[between_R, place], better_QR[between_R, place], between_R, qualities, judge)


def views_of(left: Described, right: Described, aligned: bool = False) -> list[View]:
    """Every kind of features of the left items beside all of the right ones'."""
    if aligned:
        return [View(left.kinds[0], right.kinds[0], aligned=True)]
    together = side_by_side(right.kinds)
    return [View(side_by_side([kind]), together) for kind in left.kinds]


def describe_items(pairs: Pairs, progress: Progress) -> tuple[dict[str, Described], str]:
    """Features of every modality's items, and who made them: published towers, where there are any, come first."""
    found: dict[str, Described] = {}
    readable: dict[str, np.ndarray] = {}
    for name in pairs.modalities:
        raws, item_of_row = different_items(pairs, name)
        plain = modality(name).descriptors(raws, progress)
        if plain is not None:
            readable[name] = ~np.isin(np.arange(len(raws)), list(plain.bad))
            features = torch.from_numpy(np.asarray(plain.items))
            unread = (item_of_row >= 0) & ~readable[name][item_of_row]
            found[name] = Described([features], np.where(unread, -1, item_of_row))
    towers = _towers(pairs)
    if towers is None:
        return found, "features of its own"
    for name, kind in _by_towers(pairs, towers, readable, progress).items():
        found[name] = Described([kind, *found[name].kinds], found[name].item_of_row)
    return found, "published towers and features of its own"


def _towers(pairs: Pairs) -> JoinedTowers | None:
    """The recipe's towers, of what the pairs have; none where they are not installed or would read for too long."""
    recipe = recipe_data(TOWERS)
    wanted = {name: source for name, source in recipe["towers"].items() if name in pairs.modalities}
    if len(wanted) < 2 or any(len(np.unique(pairs.keys[name])) > TOWERS_READ for name in wanted if not is_text(name)):
        return None
    try:
        return open_towers(wanted, recipe["embed_dim"], augmented=False)
    except UserError:
        return None


def _by_towers(
    pairs: Pairs, towers: JoinedTowers, readable: Mapping[str, np.ndarray], progress: Progress
) -> dict[str, Tensor]:
    """By modality, what its tower pools of every different item, unit vectors; zeros where it cannot be read."""
    found = {}
    for name in towers.towers:
        raws, item_of_row = different_items(pairs, name)
        row_of_item = np.unique(item_of_row, return_index=True)[1][-len(raws) :]
        places = np.flatnonzero(readable[name])
        contents = [pairs.contents[name][row] for row in row_of_item[places].tolist()]
        some = [raws[place] for place in places.tolist()]
        pooled = pooled_raws(towers.space, name, some, contents, towers.fingerprints[name], progress)
        found[name] = torch.zeros(len(raws), pooled.shape[1])
        found[name][torch.from_numpy(places)] = normalize(pooled, dim=-1)
    return found


def _embedded(pairs: Pairs, run: Run, progress: Progress) -> dict[str, Described]:
    """What a model embeds of the pairs, by modality."""
    known = [name for name in run.space.modalities if name in pairs.items]
    if len(known) < 2:
        need(pairs, *run.space.modalities)
    embedded = embed_pairs(run.space, prepare_pairs(pairs, run.space.processors, progress), progress)
    row_of_id = {name: row for row, name in enumerate(pairs.ids)}
    rows = np.array([row_of_id[name] for name in embedded.pairs.ids], np.int64)
    found = {}
    for name, vectors in embedded.vectors.items():
        item_of_row = np.full(len(pairs), -1, np.int64)
        item_of_row[rows] = embedded.vector_of_row[name]
        found[name] = Described([vectors], item_of_row)
    return found
