"""What a decoder reads and what it should write: prompts with their targets, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tokenizer import padded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """``B`` sequences about some items: ``ids_BT`` are read, ``next_BT`` is what should follow each token.

    ``target_mask_BT`` is true where a token of the target, or its end, should follow; prompts and padding do not count.
    ``item_B`` is the place of the item that a sequence is about.
    """

    ids_BT: torch.Tensor
    next_BT: torch.Tensor
    target_mask_BT: torch.Tensor
    item_B: torch.Tensor

    def to(self, where: torch.device) -> SequenceBatch:
        """The same sequences on another device."""
        return SequenceBatch(
            *(part.to(where) for part in (self.ids_BT, self.next_BT, self.target_mask_BT, self.item_B))
        )

    def __len__(self) -> int:
        return len(self.ids_BT)

    def followed_by(self, more: int) -> SequenceBatch:
        """The last sequence some more times, with an empty target."""
        import torch

        ids_BT, next_BT, target_mask_BT, item_B = (
            torch.cat([rows, rows[-1:].expand(more, *rows.shape[1:])])
            for rows in (self.ids_BT, self.next_BT, self.target_mask_BT, self.item_B)
        )
        target_mask_BT[len(self) :] = False
        return SequenceBatch(ids_BT, next_BT, target_mask_BT, item_B)


def sequence_batch(
    prompts: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], items: Sequence[int], longest: int
) -> SequenceBatch:
    """Prompts and the targets that follow them, both as a tokenizer gives them: begin, words, end.

    The target's own begin is left out, so an empty prompt (begin, end) asks for a caption and a question for its
    answer; nothing else distinguishes the two tasks. What exceeds ``longest`` tokens is cut.
    """
    import torch

    whole = [torch.cat([prompt, target[1:]])[: longest + 1] for prompt, target in zip(prompts, targets, strict=True)]
    ids_BT, next_BT = padded([ids[:-1] for ids in whole], longest), padded([ids[1:] for ids in whole], longest)
    first_B = torch.tensor([len(prompt) - 1 for prompt in prompts])
    end_B = torch.tensor([len(ids) - 1 for ids in whole])
    place_T = torch.arange(ids_BT.shape[1])
    target_mask_BT = (place_T >= first_B[:, None]) & (place_T < end_B[:, None])
    return SequenceBatch(ids_BT, next_BT, target_mask_BT, torch.tensor(items))
