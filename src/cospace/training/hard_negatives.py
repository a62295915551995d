"""Hard negatives for image-text matching: texts that do not match an item, and that the space takes for likely.

An item is shown with a caption of its own and with one of another item that both encoders find similar, so the decoder
must find what each of them alone has missed (Li et al. 2021, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.batches import Batch
from ..models.generation.itm import ITMBatch

SHARPNESS = 20.0
"""A text is drawn with probability proportional to ``exp(SHARPNESS * cosine)``; a random one would differ in a word."""


class HardNegatives:
    """For every item of a batch that has a caption, that caption and one that is false of it.

    The false one is drawn from the rows that do not match, likely ones more often; what is drawn is a function of the
    step. Shapes: ``K`` rows that have both an item and a caption, ``U`` different items among them.
    """

    def __init__(
        self, batch: Batch, embeddings: Mapping[str, Tensor], pair: tuple[str, str], sizes: Sequence[int]
    ) -> None:
        item, text = pair
        left, right = sorted(pair)
        together = batch.matches.pairs[left, right]
        places = dict(zip((left, right), (together.left_K, together.right_K), strict=True))
        self.relation = batch.matches.relation(item, text)
        self.batch, self.ends = batch, np.cumsum(sizes).tolist()
        self.item_KE, self.text_KE = (
            normalize(_rows(embeddings[name].detach().float(), places[name]), dim=1) for name in pair
        )
        item_K = _rows(batch.parts[item].item_B, places[item]).numpy()
        item_U, row_U = np.unique(item_K, return_index=True)
        self.item_U, self.row_U = torch.from_numpy(item_U), torch.from_numpy(row_U)

    @classmethod
    def of(
        cls, batch: Batch, embeddings: Mapping[str, Tensor], pair: tuple[str, str], sizes: Sequence[int]
    ) -> HardNegatives | None:
        """Of a batch with items and captions (``pair`` names both), of any other nothing.

        ``sizes`` are those of the micro-batches of items.
        """
        there = bool(batch.captions) and set(pair) <= embeddings.keys()
        return cls(batch, embeddings, pair, sizes) if there else None

    @property
    def total(self) -> int:
        """Candidates in the whole batch, where every item finds a false text."""
        return 2 * len(self.item_U)

    def about(self, micro_batch: int) -> ITMBatch | None:
        """Candidates for a micro-batch of items; nothing where all texts match."""
        start, end = [0, *self.ends][micro_batch], self.ends[micro_batch]
        inside = (self.item_U >= start) & (self.item_U < end)
        row_U, item_U = self.row_U[inside], self.item_U[inside] - start
        foreign_UK = ~self.relation.dense(rows=row_U)
        found = foreign_UK.any(1)
        if not found.any():
            return None
        row_U, item_U, foreign_UK = row_U[found], item_U[found], foreign_UK[found]
        where = self.text_KE.device
        cosine_UK = (self.item_KE[row_U.to(where)] @ self.text_KE.T).cpu()
        likely_UK = (SHARPNESS * cosine_UK).masked_fill(~foreign_UK, float("-inf")).softmax(1)
        dice = torch.Generator().manual_seed(self.batch.step * 100_003 + micro_batch)
        false_U = torch.multinomial(likely_UK, 1, generator=dice)[:, 0]
        rows = torch.cat([row_U, false_U]).tolist()
        true = [True] * len(row_U) + [False] * len(row_U)
        return ITMBatch.of([self.batch.captions[row] for row in rows], item_U.repeat(2).tolist(), true)


def _rows(values: Tensor, places: Tensor | None) -> Tensor:
    return values if places is None else values[places.to(values.device)]
