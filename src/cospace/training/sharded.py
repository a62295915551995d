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

from ..models.space import Space, learns
from ..ranks import Ranks
from ..types import Features, UserError
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
        if not learns(encoder):
            continue
        for parameter in encoder.parameters():
            parameter.data = parameter.data.contiguous()  # no other order can be cut
        norms = {parameter for norm in _norms(encoder) for parameter in norm.parameters()}
        _constants_in(dtype, encoder)
        for part in (*_blocks(encoder), encoder):
            fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=norms, reshard_after_forward=True)
            if not hasattr(part, "set_force_sum_reduction_for_comms"):
                raise UserError("training.parallel=fsdp needs a newer torch than this one; use training.parallel=ddp")
            part.set_gradient_divide_factor(1.0)  # the loss is the whole batch's: parts of its gradient are summed
            part.set_force_sum_reduction_for_comms(True)
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
    """What training changes: parameters, and running statistics."""
    yield from module.named_parameters()
    for norm in _norms(module):
        yield from norm.named_buffers()


def _norms(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))


def _constants_in(dtype: torch.dtype, encoder: nn.Module) -> None:
    """Tables that an encoder computes with in the format that it computes in; statistics keep theirs."""
    if dtype == torch.float32:
        return
    kept = set(_norms(encoder))
    for part in (part for part in encoder.modules() if part not in kept):
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(part, name, buffer.to(dtype))


def _blocks(encoder: nn.Module) -> list[Any]:
    """The parts of an encoder that gather their weights one after the other."""
    return [block for block in getattr(encoder, "blocks", ()) if learns(block)]


def _let_features_through() -> None:
    """Let torch find the tensors in what encoders return: a backward pass begins there."""
    from torch.utils import _pytree

    if Features not in _pytree.SUPPORTED_NODES:
        _pytree.register_pytree_node(
            Features,
            lambda features: ([features.pooled_BD, features.tokens_BTD, features.mask_BT], None),
            lambda parts, _: Features(*parts),
        )
