"""Weights, gradients and optimizer state in shards, one a rank: ``fully_shard`` of torch (FSDP2) on every encoder.

A rank holds its part of each parameter. An encoder's blocks gather theirs when they compute and let them go
afterwards; gradients arrive summed over ranks, each part at its rank. So all ranks have to compute the same number of
micro-batches of a modality, and where one has fewer it computes some that count for nothing (:mod:`.step`).

Projections into the space, batch norms and the objective are small, and every rank has them whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..models.space import Space
from ..ranks import Ranks
from ..types import Features
from .shards import local, own_part, whole


def sharded_copy(space: Space, ranks: Ranks, dtype: torch.dtype) -> Space:
    """A copy whose encoders that learn are sharded over all ranks and compute in ``dtype``."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    _let_features_through()
    made = copy.deepcopy(space)
    mesh = init_device_mesh(space.device.type, (ranks.size,))
    rough = dtype != torch.float32
    policy = MixedPrecisionPolicy(dtype, torch.float32) if rough else MixedPrecisionPolicy()
    for encoder in made.encoders.values():
        learns = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
        if not learns:
            continue
        norms = {p for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) for p in m.parameters()}
        for part in (*_blocks(encoder), encoder):
            fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=norms, reshard_after_forward=True)
            part.set_gradient_divide_factor(1.0)  # the loss is the whole batch's: parts of its gradient are summed
    return made


def gather_weights(sharded: nn.Module, plain: nn.Module, ranks: Ranks) -> None:
    """Bring the first rank's plain module up to date; all ranks have to come here."""
    with torch.no_grad():
        for (name, value), (_, target) in zip(_state(sharded), _state(plain), strict=True):
            found = whole(value)
            if ranks.first:
                assert found.shape == target.shape, name
                target.copy_(found)


def scatter_weights(plain: nn.Module, sharded: nn.Module) -> None:
    """Give each rank its parts of a plain module that every rank has."""
    with torch.no_grad():
        for (_, value), (_, target) in zip(_state(plain), _state(sharded), strict=True):
            local(target).copy_(own_part(target, value))


def _state(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _blocks(encoder: nn.Module) -> list[Any]:
    """The parts of an encoder that gather their weights one after the other."""
    return [block for block in getattr(encoder, "blocks", ()) if any(p.requires_grad for p in block.parameters())]


def _let_features_through() -> None:
    """Let torch find the tensors in what encoders return: a backward pass begins there."""
    from torch.utils import _pytree

    if Features not in _pytree.SUPPORTED_NODES:
        _pytree.register_pytree_node(
            Features,
            lambda features: ([features.pooled_BD, features.tokens_BTD, features.mask_BT], None),
            lambda parts, _: Features(*parts),
        )
