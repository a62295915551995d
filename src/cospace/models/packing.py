"""Texts of a batch end to end, so that no arithmetic is spent on padding.

Sorted by length, equally long texts are runs. Maps of single tokens (linear, norms, MLPs) take all tokens as one row,
and attention takes run by run, without a mask. At fifteen tokens a text, a sixth of a padded batch is padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Runs:
    """Where the real tokens of a batch ``(B, T)`` are, in order of the texts' lengths."""

    place_N: Tensor
    """The place of each real token among all ``B T``."""
    shapes: tuple[tuple[int, int], ...]
    """Texts and tokens of each run."""
    batch: int
    length: int
    causal: bool = False
    """Whether tokens attend to those before them alone."""

    def pack(self, tokens_BTD: Tensor) -> Tensor:
        """The real tokens ``(1, N, D)``."""
        return tokens_BTD.flatten(0, 1)[None, self.place_N]

    def unpack(self, tokens_1ND: Tensor) -> Tensor:
        """In their places again, ``(B, T, D)``, with zeros for padding."""
        width = tokens_1ND.shape[2]
        flat = tokens_1ND.new_zeros(self.batch * self.length, width)
        return flat.index_copy_(0, self.place_N, tokens_1ND[0]).view(self.batch, self.length, width)

    def each(self, tokens_1ND: Tensor, attend: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
        """``attend`` applied to the texts of each run, ``(b, t, D)``, and to what its tokens see, ``(t, t)`` or all.

        The results are as they were: ``(1, N, D')``.
        """
        parts = torch.split(tokens_1ND[0], [texts * length for texts, length in self.shapes])
        made = [
            attend(part.view(texts, length, -1), before(length, part.device) if self.causal else None).flatten(0, 1)
            for part, (texts, length) in zip(parts, self.shapes, strict=True)
        ]
        return torch.cat(made)[None]


def before(length: int, where: torch.device) -> Tensor:
    """Bool ``(T, T)``: each token sees itself and those before it."""
    place_T = torch.arange(length, device=where)
    return place_T[:, None] >= place_T


def through(
    blocks: nn.ModuleList, tokens_BTD: Tensor, mask_BT: Tensor, visible: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Tokens through transformer blocks, packed where that pays; padding comes back as zeros then.

    Beside the tokens blocks take ``visible``, by default ``mask_BT``, or the runs of the texts. ``causal``: what is
    visible are the tokens before each, instead of all real ones.
    """
    runs = runs_of(mask_BT, tokens_BTD.dtype, causal)
    if runs is None:
        for block in blocks:
            tokens_BTD = block(tokens_BTD, mask_BT if visible is None else visible)
        return tokens_BTD
    tokens_1ND = runs.pack(tokens_BTD)
    for block in blocks:
        tokens_1ND = block(tokens_1ND, runs)
    return runs.unpack(tokens_1ND)


def runs_of(mask_BT: Tensor, dtype: torch.dtype, causal: bool = False) -> Runs | None:
    """The runs of a batch; nothing where padding is kept: in training, on accelerators, and in lower precision.

    There every new shape of a product would be compiled when it is first met (:func:`~..text.tokenizer.padded`), or
    started as a kernel of its own.
    """
    slow = torch.is_grad_enabled() or mask_BT.device.type != "cpu" or dtype != torch.float32
    if slow or torch.compiler.is_compiling() or bool(mask_BT.all()):  # an exported graph is for texts of any length
        return None
    length_B = mask_BT.sum(1)
    order_B = torch.argsort(length_B, stable=True)
    place_BT = order_B[:, None] * mask_BT.shape[1] + torch.arange(mask_BT.shape[1])
    lengths, texts = torch.unique_consecutive(length_B[order_B], return_counts=True)
    shapes = tuple((some, each) for some, each in zip(texts.tolist(), lengths.tolist(), strict=True) if each)
    return Runs(place_BT[mask_BT[order_B]], shapes, len(mask_BT), mask_BT.shape[1], causal)
