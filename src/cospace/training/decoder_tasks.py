"""What a decoder learns at a step: captions, answers, and which texts are true of an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..data.batches import Batch
from ..modalities import text_modality
from ..modalities.text.sequences import SequenceBatch
from ..models.generation.decoder import Decoder
from ..types import Features
from .hard_negatives import HardNegatives

ITM = "itm"
"""Name of the image-text matching task, in which true texts are distinguished from false ones."""


def decoder_tasks(
    decoder: Decoder,
    batch: Batch,
    embeddings: Mapping[str, Tensor],
    sizes: Mapping[str, Sequence[int]],
    where: torch.device,
) -> DecoderTasks | None:
    """What a decoder learns from a batch; nothing where the batch has no item of the modality that it describes.

    ``sizes`` are those of all micro-batches.
    """
    described = str(decoder.config.modality)
    if described not in sizes:
        return None
    negatives = HardNegatives.of(batch, embeddings, (described, text_modality()), sizes[described])
    return DecoderTasks(decoder, batch, negatives, where)


class DecoderTasks:
    """A decoder's losses of one step: cross-entropy per token or per candidate, each averaged over the whole batch."""

    def __init__(
        self, decoder: Decoder, batch: Batch, hard_negatives: HardNegatives | None, where: torch.device
    ) -> None:
        self.decoder, self.targets, self.where = decoder, batch.targets, where
        self.modality = str(decoder.config.modality)
        self.tokens = {
            name: sum(int(targets.target_mask_BT.sum()) for targets in parts if targets)
            for name, parts in batch.targets.items()
        }
        self.hard_negatives = hard_negatives if decoder.config.itm_fraction else None
        names = [*batch.targets, *([ITM] if self.hard_negatives else [])]
        self.losses = {name: torch.zeros((), device=where) for name in names}
        parts = len(batch.parts[self.modality].inputs)
        self.by_place = {name: torch.zeros(parts, device=where) for name in names}
        """The same losses, what each micro-batch adds to them."""

    def gradient(self, features: Features, place: int) -> Tensor | None:
        """All losses about a micro-batch of items; the gradient of its tokens, or nothing without a target."""
        tokens_UTD = features.tokens_BTD.detach().requires_grad_()
        seen = Features(features.pooled_BD.detach(), tokens_UTD, features.mask_BT)
        for name, parts in self.targets.items():
            targets: SequenceBatch | None = parts[place]
            if targets is not None:
                self._learn(name, place, self.decoder.loss(targets.to(self.where), seen) / self.tokens[name])
        if self.hard_negatives is not None and (candidates := self.hard_negatives.about(place)) is not None:
            self._learn(ITM, place, self.decoder.itm_loss(candidates.to(self.where), seen) / self.hard_negatives.total)
        return tokens_UTD.grad

    def _learn(self, name: str, place: int, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        self.losses[name] += loss.detach()
        self.by_place[name][place] += loss.detach()
