"""Which pairs a step sees, and how they reach the encoders.

A step's rows are a function of (seed, step) alone: the shuffled epochs are one endless list and a step is a slice of
it. So every pair is seen exactly once an epoch, a resumed run needs one number, and workers cannot change the order.
Every item is encoded once per batch however many rows share it, and texts are sorted by length and cut into
micro-batches so that they are padded to their neighbours, not to a context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .augment import Augment, draws
from .preprocess import ImagePreparer
from .runtime import allow_open_files
from .tokens import Sequences, Tokenizer, sequences
from .types import Pooled

FILL = 16
"""Items of a batch are filled up to a multiple of this by repeating the last, for which no row asks.

Shapes repeat then, and few of them are compiled: see :func:`cospace.tokens.padded`. A batch with fewer than four times
as many is left alone.
"""


def filling(count: int) -> int:
    """How many items are added to ``count`` of them."""
    return -count % FILL if count >= 4 * FILL else 0


@dataclass(frozen=True, slots=True)
class Chunks:
    """One modality of a batch: micro-batches, and where each row finds its item among them.

    ``inputs[i].to(device)`` is what the encoder reads.
    """

    inputs: list[Any]
    item_B: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees; ``groups_B`` tells which rows are true matches of each other."""

    step: int
    chunks: Mapping[str, Chunks]
    groups_B: Tensor
    row_B: np.ndarray
    lessons: Mapping[str, Sequence[Sequences | None]] = field(default_factory=dict)
    """By name what a decoder learns to say (``caption``, ``answer``) about each micro-batch of pictures."""
    captions: Sequence[Tensor] = ()
    """Token ids of every row's caption, where a decoder learns to tell whether a text describes a picture."""


class Feed(Protocol):
    """The prepared items of one modality: which item each row of the data set holds, and how to batch items."""

    item_of_row: np.ndarray

    def chunks(self, step: int, items: np.ndarray, epochs: np.ndarray, size: int) -> tuple[list[Any], np.ndarray]:
        """Micro-batches of at most ``size`` items each, and the order in which ``items`` appear in them.

        What an item looks like is a function of its epoch and of the step.
        """


@dataclass(frozen=True, slots=True)
class Pictures:
    """A micro-batch of pictures as they are stored, a quarter of the size of what an encoder reads."""

    images_B3SS: Tensor
    side: int
    """What the encoder reads has this many pixels a side."""
    preparer: ImagePreparer

    def to(self, where: torch.device) -> Tensor:
        """What the encoder reads, made on the device: float32, normalised. A CPU alone resizes bytes as bytes."""
        if where.type == "cpu":
            return self.preparer.normalise(self._resized(self.images_B3SS))
        return self._resized(self.preparer.normalise(self.images_B3SS.to(where)))

    def _resized(self, images_B3SS: Tensor) -> Tensor:
        if self.side == images_B3SS.shape[-1]:
            return images_B3SS
        return nn.functional.interpolate(images_B3SS, size=(self.side, self.side), mode="bilinear", antialias=True)


class ImageFeed:
    """Pictures decoded once into ``images_N3SS`` (uint8) and augmented when a step asks for them.

    The first ``coarse`` steps see them at three quarters of their side, which costs little more than half: a tower
    learns the coarse things first anyway, and the fine ones in the steps that are left (Tan and Le 2021, section 4).
    A picture is mirrored every other epoch, so that two epochs show both sides of all (Jordan 2024, section 3.6).
    """

    def __init__(
        self,
        images_N3SS: Tensor,
        item_of_row: np.ndarray,
        preparer: ImagePreparer,
        augment: Augment,
        seed: int,
        coarse: int = 0,
    ) -> None:
        self.images_N3SS, self.item_of_row = images_N3SS, item_of_row
        self.preparer, self.augment, self.seed, self.coarse = preparer, augment, seed, coarse

    def chunks(self, step: int, items: np.ndarray, epochs: np.ndarray, size: int) -> tuple[list[Any], np.ndarray]:
        numbers_B4 = draws(self.seed, epochs, items, 4)
        numbers_B4[:, 3] = (draws(self.seed, np.zeros_like(epochs), items, 4)[:, 3] + 0.5 * (epochs % 2)) % 1
        moved = self.augment.apply(self.images_N3SS[torch.from_numpy(items)], numbers_B4)
        side = self.preparer.size * 3 // 4 if step < self.coarse else self.preparer.size
        return [Pictures(images, side, self.preparer) for images in torch.split(moved, size)], np.arange(len(items))


class TextFeed:
    """Token ids of every text; ``drop`` is the share of words left out while training."""

    def __init__(
        self, tokens: Sequence[Tensor], item_of_row: np.ndarray, tokenizer: Tokenizer, drop: float, seed: int
    ) -> None:
        self.tokens, self.item_of_row, self.tokenizer = tokens, item_of_row, tokenizer
        self.drop, self.seed = drop, seed + 1

    def chunks(self, step: int, items: np.ndarray, epochs: np.ndarray, size: int) -> tuple[list[Any], np.ndarray]:
        texts = [self.tokens[item] for item in items]
        if self.drop:
            texts = [self._thin(text, epoch, item) for text, epoch, item in zip(texts, epochs, items, strict=True)]
        order = np.argsort([len(text) for text in texts], kind="stable")
        cuts = [order[i : i + size] for i in range(0, len(order), size)]
        return [self.tokenizer.batch([texts[i] for i in cut]) for cut in cuts], order

    def _thin(self, text: Tensor, epoch: int, item: int) -> Tensor:
        keep = draws(self.seed, np.array([epoch]), np.array([item]), len(text))[0] >= self.drop
        keep[[0, -1]] = True
        return text[torch.from_numpy(keep)]


class PooledFeed:
    """Items of an encoder that does not learn, encoded once: a step costs the other tower alone (Zhai et al. 2022)."""

    def __init__(self, pooled_ND: Tensor, item_of_row: np.ndarray) -> None:
        self.pooled_ND, self.item_of_row = pooled_ND, item_of_row

    def chunks(self, step: int, items: np.ndarray, epochs: np.ndarray, size: int) -> tuple[list[Any], np.ndarray]:
        parts = torch.split(self.pooled_ND[torch.from_numpy(items)], size)
        return [Pooled(part) for part in parts], np.arange(len(items))


class Companions:
    """Each row with the next rows of the same picture, ``count`` in all and around at the end.

    A picture that is encoded anyway can be asked several questions for little more; every question is learned
    ``count`` times an epoch then.
    """

    def __init__(self, item_of_row: np.ndarray, count: int) -> None:
        self.count = count
        self._order = np.argsort(item_of_row, kind="stable")
        sorted_items = item_of_row[self._order]
        first, self._of_item = np.unique(sorted_items, return_index=True, return_counts=True)[1:]
        item = np.searchsorted(sorted_items[first], item_of_row)
        self._first, self._of_item = first[item], self._of_item[item]
        place = np.empty(len(item_of_row), np.int64)
        place[self._order] = np.arange(len(item_of_row))
        self._rank = place - self._first

    def of(self, rows: np.ndarray) -> np.ndarray:
        """``count`` rows for each row, itself the first; some repeat where a picture has fewer."""
        rank_BK = (self._rank[rows, None] + np.arange(self.count)) % self._of_item[rows, None]
        chosen: np.ndarray = self._order[self._first[rows, None] + rank_BK].reshape(-1)
        return chosen


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a decoder should say about the picture of every row, and the prompt that it says it after."""

    prompts: Sequence[Tensor]
    prompt_of_row: np.ndarray
    targets: Sequence[Tensor]
    target_of_row: np.ndarray
    longest: int
    beside: Companions | None = None
    """Where given, further rows of the same pictures are learned in the same step."""

    def said(self, rows: np.ndarray) -> list[Tensor]:
        """Token ids of what is to be said about the picture of each row."""
        return [self.targets[target][: self.longest] for target in self.target_of_row[rows]]

    def about(self, rows: np.ndarray, places: np.ndarray, micro: int, chunks: int) -> list[Sequences | None]:
        """For every micro-batch of pictures the sequences about them; ``places`` are those of the rows' pictures."""
        if self.beside is not None:
            rows, places = self.beside.of(rows), np.repeat(places, self.beside.count)
        asked = np.stack([places, self.prompt_of_row[rows], self.target_of_row[rows]], axis=1)
        asked = np.unique(asked, axis=0)
        return [self._sequences(asked[asked[:, 0] // micro == chunk], chunk * micro) for chunk in range(chunks)]

    def _sequences(self, asked_B3: np.ndarray, first: int) -> Sequences | None:
        if not len(asked_B3):
            return None
        prompts = [self.prompts[prompt] for prompt in asked_B3[:, 1]]
        targets = [self.targets[target] for target in asked_B3[:, 2]]
        items = (asked_B3[:, 0] - first).tolist()
        return sequences(prompts, targets, items, self.longest).followed_by(filling(len(items)))


class Plan:
    """Rows of every step: an endless list of shuffled epochs, cut into batches."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.rows, self.batch, self.seed = rows, min(batch, rows), seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> np.ndarray:
        key = np.array([self.seed, epoch], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.rows)

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of a step (from 0) and the epoch each of them belongs to."""
        place = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, offset = np.divmod(place, self.rows)
        rows = np.concatenate([self._epoch(int(e))[offset[epochs == e]] for e in np.unique(epochs)])
        return rows, epochs


class Batches(torch.utils.data.Dataset[Batch]):
    """Batches by step number: a map-style data set, so that worker processes and restarts need no state.

    From the step ``compared`` on, a batch brings what it takes to tell true captions from false ones.
    """

    def __init__(
        self,
        feeds: Mapping[str, Feed],
        groups: np.ndarray,
        plan: Plan,
        micro: int,
        lessons: Mapping[str, Lesson] | None = None,
        compared: int | None = None,
    ) -> None:
        self.feeds, self.groups, self.plan, self.micro = dict(feeds), groups, plan, micro
        self.lessons = dict(lessons or {})
        self.compared = compared

    def __getitem__(self, step: int) -> Batch:
        rows, epochs = self.plan.step(step)
        chunks = {name: self._chunks(feed, step, rows, epochs) for name, feed in self.feeds.items()}
        lessons = {name: self._about(lesson, rows, chunks["image"]) for name, lesson in self.lessons.items()}
        compare = self.compared is not None and step >= self.compared
        captions = self.lessons["caption"].said(rows) if compare else ()
        return Batch(step, chunks, torch.from_numpy(self.groups[rows]), rows, lessons, captions)

    def _about(self, lesson: Lesson, rows: np.ndarray, pictures: Chunks) -> list[Sequences | None]:
        return lesson.about(rows, pictures.item_B.numpy(), self.micro, len(pictures.inputs))

    def _chunks(self, feed: Feed, step: int, rows: np.ndarray, epochs: np.ndarray) -> Chunks:
        items, first, inverse = np.unique(feed.item_of_row[rows], return_index=True, return_inverse=True)
        filled = np.pad(np.arange(len(items)), (0, filling(len(items))), mode="edge")
        inputs, order = feed.chunks(step, items[filled], epochs[first][filled], self.micro)
        place = np.empty(len(filled), dtype=np.int64)
        place[order] = np.arange(len(filled))
        return Chunks(inputs, torch.from_numpy(place[inverse]))

    def stream(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop``, prepared ahead by ``workers`` processes."""
        if workers:
            allow_open_files()
        loader: Any = torch.utils.data.DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=_one_thread if workers else None,
        )
        yield from loader


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


def items_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of every different item, in order of appearance, and the item of every row."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]
