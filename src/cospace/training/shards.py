"""Tensors of which a rank holds a part: torch's ``DTensor``, cut along the first dimension.

Whatever is no such tensor is its own whole and its own part, so that optimizers and checkpoints need not ask.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether other ranks hold parts of it. (Its class is not asked for: importing it takes a second.)"""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of it, which shares its memory."""
    return cast("Any", tensor).to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All parts together; every rank has to ask for it."""
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def own_part(like: Tensor, tensor: Tensor) -> Tensor:
    """What this rank holds of a whole tensor, cut as ``like`` is."""
    if not is_sharded(like):
        return tensor
    mesh = cast("Any", like).device_mesh
    parts = tensor.chunk(mesh.size())
    rank = mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else tensor[:0]


def sharded_like(like: Tensor, part: Tensor) -> Tensor:
    """What this rank holds as a part of a tensor of the shape of ``like``."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    one = cast("Any", like)
    made: Tensor = DTensor.from_local(part, one.device_mesh, one.placements, shape=like.shape, stride=like.stride())
    return made
