"""Does this text describe this picture? What a decoder learns to tell apart, and how it is learned.

A picture is shown with a caption of its own and with another picture's that the space takes for likely: both encoders
together must find what each of them alone has missed (Li et al. 2021, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from ..batches import Batch

SHARPNESS = 20.0
"""How much more often a likely text is chosen: by ``exp(SHARPNESS * cosine)``. Random ones would be told by a word."""


@dataclass(frozen=True, slots=True)
class Claims:
    """``C`` texts ``ids_CT`` of ``length_C`` tokens that claim to describe the pictures ``item_C``; some are true."""

    ids_CT: Tensor
    length_C: Tensor
    item_C: Tensor
    true_C: Tensor

    @classmethod
    def of(cls, texts: Sequence[Tensor], items: Sequence[int], true: Sequence[bool] = ()) -> Claims:
        """Texts as a tokenizer gives them, and the place of each one's picture."""
        length_C = torch.tensor([len(text) for text in texts])
        true_C = torch.tensor(list(true), dtype=torch.float32)
        return cls(pad_sequence(list(texts), batch_first=True), length_C, torch.tensor(list(items)), true_C)

    def to(self, where: torch.device) -> Claims:
        """The same claims on another device."""
        return Claims(*(part.to(where) for part in (self.ids_CT, self.length_C, self.item_C, self.true_C)))


class Deceptions:
    """For every picture of a batch a true text and a false one.

    ``image_BE`` and ``text_BE`` are the embeddings of the batch's rows. A row's false text is drawn from the rows of
    other groups, likely ones more often; what is drawn is a function of the step.
    """

    def __init__(self, batch: Batch, embeddings: Mapping[str, Tensor], sizes: Sequence[int]) -> None:
        self.batch = batch
        self.ends = np.cumsum(sizes).tolist()
        self.image_BE = normalize(embeddings["image"].detach().float(), dim=1)
        self.text_BE = normalize(embeddings["text"].detach().float(), dim=1)
        picture_U, row_U = np.unique(batch.chunks["image"].item_B.numpy(), return_index=True)
        self.picture_U, self.row_U = torch.from_numpy(picture_U), torch.from_numpy(row_U)

    @classmethod
    def of(cls, batch: Batch, embeddings: Mapping[str, Tensor], sizes: Sequence[int]) -> Deceptions | None:
        """Of a batch with pictures and captions; of any other nothing. ``sizes`` are those of its picture chunks."""
        return cls(batch, embeddings, sizes) if batch.captions and len(embeddings) > 1 else None

    @property
    def total(self) -> int:
        """Claims in the whole batch, where every picture finds a false text."""
        return 2 * len(self.picture_U)

    def about(self, chunk: int) -> Claims | None:
        """Claims about a micro-batch of pictures; nothing where all texts match."""
        start, end = [0, *self.ends][chunk], self.ends[chunk]
        of_chunk = (self.picture_U >= start) & (self.picture_U < end)
        row_U, item_U = self.row_U[of_chunk], self.picture_U[of_chunk] - start
        groups_B = self.batch.groups_B
        foreign_UB = groups_B[row_U][:, None] != groups_B[None]
        found = foreign_UB.any(1)
        if not found.any():
            return None
        row_U, item_U, foreign_UB = row_U[found], item_U[found], foreign_UB[found]
        where = self.text_BE.device
        cosine_UB = (self.image_BE[row_U.to(where)] @ self.text_BE.T).cpu()
        likely_UB = (SHARPNESS * cosine_UB).masked_fill(~foreign_UB, float("-inf")).softmax(1)
        dice = torch.Generator().manual_seed(self.batch.step * 100_003 + chunk)
        false_U = torch.multinomial(likely_UB, 1, generator=dice)[:, 0]
        rows = torch.cat([row_U, false_U]).tolist()
        true = [True] * len(row_U) + [False] * len(row_U)
        return Claims.of([self.batch.captions[row] for row in rows], item_U.repeat(2).tolist(), true)
