"""Copies of a space that compute in a number format that the hardware is fast at."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .space import Space


PRECISE = (nn.BatchNorm2d, nn.Embedding)
"""Modules of an encoder that stay in float32 where it does not say which by its own ``precise``."""


@dataclass(frozen=True, slots=True)
class LowPrecisionCopy:
    """A compute copy, and the addresses and versions of the weights that it was made from."""

    state: tuple[tuple[int, int], ...]
    space: Space


def compute_copy(space: Space, dtype: torch.dtype) -> Space:
    """A copy of the space whose encoders compute in ``dtype``; the space itself for float32.

    Projections, batch norms and tables of embeddings are shared with the original, in float32: similarities,
    statistics and sums of many small gradients keep their precision, and there is nothing to copy back.
    """
    if dtype == torch.float32:
        return space
    precise = [
        module for encoder in space.encoders.values() for module in encoder.modules()
        if isinstance(module, getattr(encoder, "precise", PRECISE))
    ]  # fmt: skip
    memo: dict[int, Any] = {id(item): item for item in (*precise, space.projections, space.processors, space.configs)}
    memo[id(space.low_precision)] = None
    for module in (module for module in space.encoders.modules() if module not in precise):
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point():
                memo[id(tensor)] = _in_dtype(tensor, dtype)
    return copy.deepcopy(space, memo)


def _in_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of a parameter or buffer, without its gradient."""
    made = tensor.detach().to(dtype, copy=True)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made
