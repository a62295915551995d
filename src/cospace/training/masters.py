"""Float32 masters and the copy that computes: gradients one way, updated weights the other."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..models.generation.decoder import Decoder
from .distributed import Gradients, held_whole
from .shards import local


def in_dtype(decoder: Decoder, dtype: torch.dtype) -> Decoder:
    """A copy of the decoder that computes in ``dtype``; its norms' statistics and its logits stay float32."""
    return copy.deepcopy(decoder).to(dtype)


def collect_gradients(masters: nn.Module, low_precision_modules: nn.Module) -> None:
    """Hand the compute copy's gradients to the float32 masters."""
    for master, low_precision in zip(masters.parameters(), low_precision_modules.parameters(), strict=True):
        if master is not low_precision:
            master.grad = None if low_precision.grad is None else low_precision.grad.float()


def assign_gradients(masters: nn.Module, gradients: Gradients) -> None:
    """Hand the sums over all ranks to the float32 masters; sharded ones have theirs."""
    for master, gradient in zip(held_whole(masters), gradients, strict=True):
        master.grad = None if gradient is None else gradient.to(master.dtype)


@torch.no_grad()
def refresh(masters: nn.Module, low_precision_modules: nn.Module) -> None:
    """Copy the updated masters into the compute copy."""
    for master, low_precision in zip(masters.parameters(), low_precision_modules.parameters(), strict=True):
        if master is not low_precision:
            low_precision.copy_(master)


def is_finite(loss: Tensor, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether the loss and every gradient are finite; one number suffices, since NaN and infinity survive sums."""
    sums = [local(p.grad).float().sum() for p in parameters if p.grad is not None]
    return bool(torch.isfinite(torch.stack([loss.float(), *sums])).all())
