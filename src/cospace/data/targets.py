"""What a decoder learns to write about the items of a batch: captions, and answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..modalities.text.sequences import SequenceBatch, sequence_batch

FILL = 16
"""Items of a batch are filled up to a multiple of this by repeating the last, for which no row asks.

Shapes repeat then, and few of them are compiled: see :func:`cospace.modalities.text.tokenizer.padded`. A batch with
fewer than four times as many is left alone.
"""


def filling(count: int) -> int:
    """How many items are added to ``count`` of them."""
    return -count % FILL if count >= 4 * FILL else 0


class RowsPerItem:
    """Each row with the next rows of the same item, ``count`` in all and around at the end.

    An image that is encoded anyway can be asked several questions for little more; every question is learned ``count``
    times an epoch then.
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
        """``count`` rows for each row, itself the first; some repeat where an item has fewer."""
        rank_BK = (self._rank[rows, None] + np.arange(self.count)) % self._of_item[rows, None]
        chosen: np.ndarray = self._order[self._first[rows, None] + rank_BK].reshape(-1)
        return chosen


@dataclass(frozen=True, slots=True)
class TaskTargets:
    """What a decoder should write about the item of every row, and the prompt that it writes it after."""

    prompts: Sequence[Tensor]
    prompt_of_row: np.ndarray
    targets: Sequence[Tensor]
    target_of_row: np.ndarray
    max_length: int
    beside: RowsPerItem | None = None
    """Where given, further rows of the same items are learned in the same step."""

    def target_ids(self, rows: np.ndarray) -> list[Tensor]:
        """Token ids of what is to be written about the item of each row."""
        return [self.targets[target][: self.max_length] for target in self.target_of_row[rows]]

    def about(self, rows: np.ndarray, places: np.ndarray, sizes: Sequence[int]) -> list[SequenceBatch | None]:
        """For every micro-batch of items the sequences about them; ``places`` are those of the rows' items.

        ``sizes`` are those of the micro-batches.
        """
        if self.beside is not None:
            rows, places = self.beside.of(rows), np.repeat(places, self.beside.count)
        written = (self.prompt_of_row[rows] >= 0) & (self.target_of_row[rows] >= 0)
        rows, places = rows[written], places[written]
        asked = np.stack([places, self.prompt_of_row[rows], self.target_of_row[rows]], axis=1)
        asked = np.unique(asked, axis=0)
        ends = np.cumsum(sizes)
        part = np.searchsorted(ends, asked[:, 0], side="right")
        return [self._sequences(asked[part == number], int(ends[number] - size)) for number, size in enumerate(sizes)]

    def _sequences(self, asked_B3: np.ndarray, first: int) -> SequenceBatch | None:
        if not len(asked_B3):
            return None
        prompts = [self.prompts[prompt] for prompt in asked_B3[:, 1]]
        targets = [self.targets[target] for target in asked_B3[:, 2]]
        items = (asked_B3[:, 0] - first).tolist()
        return sequence_batch(prompts, targets, items, self.max_length).followed_by(filling(len(items)))
