"""Image-text matching (ITM, Li et al. 2021, section 3.2): candidate texts, each true or false of its item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True)
class ITMBatch:
    """``C`` texts ``ids_CT`` of ``length_C`` tokens that may describe the items ``item_C``; some do."""

    ids_CT: Tensor
    length_C: Tensor
    item_C: Tensor
    true_C: Tensor

    @classmethod
    def of(cls, texts: Sequence[Tensor], items: Sequence[int], true: Sequence[bool] = ()) -> ITMBatch:
        """Texts as a tokenizer gives them, and the place of each one's item."""
        length_C = torch.tensor([len(text) for text in texts])
        true_C = torch.tensor(list(true), dtype=torch.float32)
        return cls(pad_sequence(list(texts), batch_first=True), length_C, torch.tensor(list(items)), true_C)

    def to(self, where: torch.device) -> ITMBatch:
        """The same on another device."""
        return ITMBatch(*(part.to(where) for part in (self.ids_CT, self.length_C, self.item_C, self.true_C)))
