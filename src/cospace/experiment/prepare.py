"""Pairs into what a run trains on: decoded once, tokenised once, bad rows set aside, some held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ahead import ahead
from ..augment import Augment
from ..batches import Batches, Companions, Feed, ImageFeed, Lesson, Plan, PooledFeed, TextFeed
from ..fusion.decoder import LONGEST
from ..pairs import Pairs
from ..preprocess import BadImage, ImagePreparer
from ..runtime import device
from ..space import Space
from ..tokens import Tokenizer
from ..types import Problem, Progress, UserError, silent
from .settings import Experiment, unique_items, words_of

MEMORY = 4 << 30
"""Bytes of prepared pictures that are kept in memory; more go to a file beside the run, mapped into memory."""

CPU_MICRO = 128
"""Items at a time on a CPU: enough to keep it busy, few enough that texts in length order need little padding."""

HELD_OUT = 500
"""Most pictures held out for validation when none are given; a twentieth of the data if that is less."""


@dataclass(frozen=True, slots=True)
class Store:
    """Every different picture of some pairs, decoded once: ``images_N3SS`` (uint8) and the item of every row."""

    images_N3SS: Tensor
    item_of_row: np.ndarray


def can_train(pairs: Pairs) -> Pairs:
    """Refuse pairs from which nothing can be learned: they need pictures, and captions or questions with answers."""
    need(pairs, "image", *(() if {"question", "answer"} <= pairs.items.keys() else ("text",)))
    return pairs


def need(pairs: Pairs, *modalities: str) -> None:
    """Refuse pairs that lack a modality, with a sentence."""
    for modality in modalities:
        if modality not in pairs.items:
            what = "captions" if modality == "text" else f"a column of {modality}s"
            raise UserError(f"{pairs.name} has no {modality}; training and evaluation need pairs, so give it {what}")


def decode_all(
    pairs: Pairs, preparer: ImagePreparer, progress: Progress = silent, spill: Path | None = None
) -> tuple[Pairs, Store]:
    """Decode and resize every different picture; rows whose picture cannot be read are set aside.

    The pictures live in memory, or in the file ``spill`` where they would take more than :data:`MEMORY`.
    """
    raws, _, item_of_row = unique_items(pairs, "image")
    images = _room(len(raws), preparer.size, spill)
    bad: dict[int, BadImage] = {}
    for item, result in enumerate(ahead(raws, preparer.prepare)):
        if isinstance(result, BadImage):
            bad[item] = result
        else:
            images[item] = result
        if item % 64 == 63 or item + 1 == len(raws):
            progress("preparing pictures", item + 1, len(raws))
    if not bad:
        return pairs, Store(images, item_of_row)
    good = np.array([int(item) not in bad for item in item_of_row])
    problems = [
        Problem(pairs.ids[row], bad[int(item_of_row[row])].kind, bad[int(item_of_row[row])].reason)
        for row in np.flatnonzero(~good).tolist()
    ]
    return pairs.without(problems), Store(images, item_of_row[good])


def _room(count: int, size: int, spill: Path | None) -> Tensor:
    shape = (count, 3, size, size)
    if spill is None or count * 3 * size * size <= MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    spill.parent.mkdir(parents=True, exist_ok=True)
    return torch.from_numpy(np.lib.format.open_memmap(spill, mode="w+", dtype=np.uint8, shape=shape))


def hold_out(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Split off validation pairs: whole groups where there are many, single pictures where a group is a class.

    At least two groups are held out, because retrieval among pairs that all match each other measures nothing.
    """
    images = pairs.keys["image"]
    many_groups = len(np.unique(pairs.groups)) >= 50
    values, first, unit = np.unique(pairs.groups if many_groups else images, return_index=True, return_inverse=True)
    if len(values) < 4 or len(np.unique(pairs.groups)) < 2:
        raise UserError(f"{pairs.name} is too small to hold out validation pairs; give some with --val, or add pairs")
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(len(values))
    wanted = max(2, min(HELD_OUT, round(0.05 * len(values))))
    group = pairs.groups[first][order]
    if (group[:wanted] == group[0]).all():
        stranger = int(np.argmax(group != group[0]))
        order[[wanted - 1, stranger]] = order[[stranger, wanted - 1]]
    held = np.isin(unit, order[:wanted])
    return pairs.select(np.flatnonzero(~held)), pairs.select(np.flatnonzero(held))


def preparers(pairs: Pairs, experiment: Experiment) -> dict[str, Any]:
    """The tokenizer learned from these captions, and the pictures' size and normalisation."""
    data = experiment.data
    if data.size is None:
        raise ValueError("the experiment must be fitted to the data first")
    return {
        "image": ImagePreparer(size=data.size),
        "text": Tokenizer.train(words_of(pairs), data.vocabulary, data.length),
    }


def training_batches(pairs: Pairs, store: Store, space: Space, experiment: Experiment, tokenizer: Tokenizer) -> Batches:
    """The stream of batches of a fitted experiment."""
    training = experiment.training
    image: ImagePreparer = space.preparers["image"]  # type: ignore[assignment]
    augment: Augment = experiment.data.augment
    steps = training.steps or 0
    coarse = round((experiment.data.coarse or 0) * steps)
    feeds: dict[str, Feed] = {
        "image": ImageFeed(store.images_N3SS, store.item_of_row, image, augment, training.seed, coarse),
    }
    words = Words(pairs, tokenizer)
    if "text" in space.modalities and "text" in pairs.items:
        own: Tokenizer = space.preparers["text"]  # type: ignore[assignment]
        texts, text_of_row = (words if own is tokenizer else Words(pairs, own))["text"]
        feeds["text"] = TextFeed(texts, text_of_row, own, experiment.data.word_drop, training.seed)
    feeds |= pooled_feeds(space, store, feeds, experiment)
    said = {"caption": experiment.data.captions, "answer": experiment.data.questions}
    lessons = {
        name: words.lesson(name, Companions(store.item_of_row, count))
        for name, count in said.items()
        if name in experiment.lessons
    }
    plan = Plan(len(pairs), training.batch or len(pairs), training.seed)
    micro = training.micro or (CPU_MICRO if device().type == "cpu" else plan.batch)
    matches = "match" in experiment.lessons and "text" in feeds
    compared = round((1 - experiment.decoder.match) * steps) if matches else None
    return Batches(feeds, pairs.groups, plan, micro, lessons, compared)


def pooled_feeds(space: Space, store: Store, feeds: Mapping[str, Feed], experiment: Experiment) -> dict[str, Feed]:
    """The modalities whose encoder does not learn, every item encoded once; not pictures that a decoder looks at.

    What is encoded once is seen as it is: neither moved pictures nor left out words.
    """
    made: dict[str, Feed] = {}
    for name, feed in feeds.items():
        learns = any(parameter.requires_grad for parameter in space.encoders[name].parameters())
        if learns or len(feeds) < 2 or (name == "image" and experiment.lessons):
            continue
        items: Any = feed.tokens if isinstance(feed, TextFeed) else store.images_N3SS
        pooled = list(space.pooled_prepared(name, (items[place] for place in range(len(items)))))
        made[name] = PooledFeed(torch.from_numpy(np.concatenate(pooled)), feed.item_of_row)
    return made


class Words:
    """The different texts of some pairs as token ids, each kind encoded once: its texts, and the text of every row."""

    def __init__(self, pairs: Pairs, tokenizer: Tokenizer) -> None:
        self.pairs, self.tokenizer = pairs, tokenizer
        self._encoded: dict[str, tuple[Sequence[Tensor], np.ndarray]] = {}

    def __getitem__(self, kind: str) -> tuple[Sequence[Tensor], np.ndarray]:
        if kind not in self._encoded:
            texts, _, text_of_row = unique_items(self.pairs, kind)
            self._encoded[kind] = self.tokenizer.encode_all(texts), text_of_row
        return self._encoded[kind]

    def lesson(self, name: str, beside: Companions) -> Lesson:
        """What a decoder should say: captions after nothing, answers after their questions."""
        if name == "caption":
            nothing = [self.tokenizer.prepare("")], np.zeros(len(self.pairs), np.int64)
            return Lesson(*nothing, *self["text"], LONGEST, beside)
        return Lesson(*self["question"], *self["answer"], LONGEST, beside)
