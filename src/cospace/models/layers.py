"""Building blocks of the encoders, written as plain matrix products.

Attention is two batched matmuls and a softmax: at the 16 to 64 tokens of a small tower that is several times faster
on a CPU, forward and backward, than the built-in fused kernel, and it runs in bfloat16 as it stands.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..types import UserError
from .packing import Runs


class Norm(nn.LayerNorm):
    """Layer norm over the last axis, whose statistics stay float32 in a bfloat16 tower (done inside the kernel)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-5, bias=False)


def checked_heads(width: int, heads: int) -> int:
    """The number of heads, where a width can be split among them."""
    if width % heads:
        raise UserError(f"a width of {width} cannot be split among {heads} heads; choose heads that divide it")
    return heads


def heads_of(tokens_BTD: Tensor, heads: int) -> Tensor:
    """``(B, T, D)`` to ``(B, H, T, D / H)``."""
    batch, length, width = tokens_BTD.shape
    return tokens_BTD.view(batch, length, heads, width // heads).transpose(1, 2)


def merged(heads_BHTd: Tensor) -> Tensor:
    """The inverse of :func:`heads_of`."""
    return heads_BHTd.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, scale_H11: Tensor, visible: Tensor | None = None) -> Tensor:
    """Multi-head attention (Vaswani et al. 2017, eq. 1) with normalised queries and keys (Henry et al. 2020).

    ``query`` is ``(B, H, T, d)``, ``key`` (of :func:`unit` length already, since it may be attended to many times) and
    ``value`` are ``(B, H, M, d)``; ``visible`` is true where a query may attend, in any shape that broadcasts to
    ``(B, H, T, M)``.
    """
    logits = unit(query, scale_H11) @ key.transpose(-1, -2)
    if visible is not None:
        logits = logits.masked_fill(~visible, float("-inf"))
    return logits.softmax(-1) @ value


def unit(vectors: Tensor, length: Tensor | None = None) -> Tensor:
    """The same directions, along the last axis of length one or ``length``, which broadcasts; zeros stay zeros."""
    made: Tensor = Unit.apply(vectors, length)  # type: ignore[no-untyped-call]
    return made


class Unit(torch.autograd.Function):
    """``y = s x / |x|``, its gradients written out: half the passes over memory of autograd's.

    ``dx = (g - y (g . y) / s^2) s / |x|`` and ``ds = (g . y) / s``, summed to the shape of ``s``.
    """

    @staticmethod
    def forward(context: Any, vectors: Tensor, length: Tensor | None) -> Tensor:
        factor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_(min=1e-12).reciprocal_()
        if length is not None:
            factor *= length.to(factor.dtype)
        scaled: Tensor = vectors * factor
        context.save_for_backward(scaled, factor, length)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        scaled, factor, length = context.saved_tensors
        along = (gradient * scaled).sum(-1, keepdim=True)
        for_length = None
        if length is not None:
            for_length = (precise(along) / length).sum_to_size(length.shape).to(length.dtype)
            along = (along / length.square()).to(gradient.dtype)
        return torch.addcmul(gradient, scaled, along, value=-1).mul_(factor), for_length


def precise(tensor: Tensor) -> Tensor:
    """In float32 at least, for sums of many."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class SquaredReLU(torch.autograd.Function):
    """``relu(x)^2`` (So et al. 2021) with its gradient ``2 relu(x) g`` in one pass over memory instead of four."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        positive = inputs.relu()
        context.save_for_backward(positive)
        return positive.square()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (positive,) = context.saved_tensors
        return torch.addcmul(gradient.new_zeros(()), gradient, positive, value=2)


def squared_relu(inputs: Tensor) -> Tensor:
    """``relu(x)^2``; written over its input where nobody will ask for a gradient, which spares two passes of memory."""
    if not torch.is_grad_enabled():
        positive = inputs.relu_()
        return positive.square_()
    made: Tensor = SquaredReLU.apply(inputs)  # type: ignore[no-untyped-call]
    return made


class SelfAttention(torch.autograd.Function):
    """:func:`attend` on queries, keys and values of the same tokens, side by side as one product makes them.

    Head by head they are brought together in one pass, and no copy is made of them from there on; autograd's gradients
    of the same steps go over them nine times more.
    """

    @staticmethod
    def forward(context: Any, qkv_BTD: Tensor, scale_H11: Tensor, visible: Tensor | None) -> Tensor:
        batch, length, width = qkv_BTD.shape
        heads = len(scale_H11)
        parts = qkv_BTD.view(batch, length, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4).contiguous()
        turned = parts[:2]
        factor = torch.linalg.vector_norm(turned, dim=-1, keepdim=True).clamp_(min=1e-12).reciprocal_()
        factor[0] *= scale_H11.to(factor.dtype)
        query, key, value = parts.flatten(1, 2)
        turned *= factor
        logits = (query @ key.mT).view(batch, heads, length, length)
        if visible is not None:
            logits.masked_fill_(~visible, float("-inf"))
        share = logits.softmax(-1)
        seen = (share.flatten(0, 1) @ value).view(batch, heads, length, -1)
        context.save_for_backward(parts, factor, share, scale_H11)
        return merged(seen)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient_BTD: Tensor) -> tuple[Tensor, Tensor, None]:
        parts, factor, share, scale_H11 = context.saved_tensors
        _, batch, heads, length, each = parts.shape
        query, key, value = parts.flatten(1, 2)
        share = share.flatten(0, 1)
        arrived = heads_of(gradient_BTD, heads).reshape(-1, length, each)
        made = torch.empty_like(parts)
        for_query, for_key, for_value = made.flatten(1, 2)
        torch.bmm(share.mT, arrived, out=for_value)
        for_logits = torch._softmax_backward_data(arrived @ value.mT, share, -1, share.dtype)
        torch.bmm(for_logits, key, out=for_query)
        torch.bmm(for_logits.mT, query, out=for_key)
        turned, for_turned = parts[:2], made[:2]
        along = (for_turned * turned).sum(-1, keepdim=True)
        for_scale = (precise(along[0]).sum((0, 2))[..., None] / scale_H11).to(scale_H11.dtype)
        along[0] /= scale_H11.square()
        for_turned.addcmul_(turned, along, value=-1).mul_(factor)
        return made.permute(1, 3, 0, 2, 4).reshape(batch, length, -1), for_scale, None


class Attention(nn.Module):
    """All tokens of an item attend to all of its tokens where ``mask_BT`` is true: see :func:`attend`.

    Packed texts (:mod:`.packing`) are one row of tokens with their runs in place of a mask.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = checked_heads(width, heads)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), math.sqrt(width / heads)))

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor | Runs | None = None) -> Tensor:
        qkv_BTD = self.qkv(tokens_BTD)
        if isinstance(mask_BT, Runs):
            attended_BTD = mask_BT.each(qkv_BTD, self._attended)
        else:
            attended_BTD = self._attended(qkv_BTD, None if mask_BT is None else mask_BT[:, None, None, :])
        mixed_BTD: Tensor = self.out(attended_BTD)
        return mixed_BTD

    def _attended(self, qkv_BTD: Tensor, visible: Tensor | None = None) -> Tensor:
        attended_BTD: Tensor = SelfAttention.apply(qkv_BTD, self.scale, visible)  # type: ignore[no-untyped-call]
        return attended_BTD


class MLP(nn.Module):
    """Two linear maps around a squared ReLU (So et al. 2021), which is cheaper than GELU on a CPU and no worse."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        mapped_BTD: Tensor = self.down(squared_relu(self.up(tokens_BTD)))
        return mapped_BTD


class Block(nn.Module):
    """A pre-norm transformer block; both branches start at zero, so a fresh block passes its input on."""

    def __init__(self, width: int, heads: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.attention_norm, self.attention = Norm(width), Attention(width, heads)
        self.mlp_norm, self.mlp = Norm(width), MLP(width, int(width * ratio))

    def start_at_identity(self) -> None:
        """Zero the last linear map of both branches."""
        nn.init.zeros_(self.attention.out.weight)
        nn.init.zeros_(self.mlp.down.weight)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor | Runs | None = None) -> Tensor:
        tokens_BTD = tokens_BTD + self.attention(self.attention_norm(tokens_BTD), mask_BT)
        mixed_BTD: Tensor = tokens_BTD + self.mlp(self.mlp_norm(tokens_BTD))
        return mixed_BTD


class AttentionPool(nn.Module):
    """One learned query per head attends to all tokens and gives their weighted mean (as in Zhai et al. 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(width, heads, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, tokens_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        batch, length, width = tokens_BTD.shape
        logits_BHT = self.key(tokens_BTD).transpose(1, 2)
        if mask_BT is not None:
            logits_BHT = logits_BHT.masked_fill(~mask_BT[:, None, :], float("-inf"))
        value = self.value(tokens_BTD).view(batch, length, self.heads, width // self.heads)
        return torch.einsum("bht,bthd->bhd", logits_BHT.softmax(-1), value).reshape(batch, width)


def masked_mean(tokens_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over the real tokens; padding has no weight."""
    weight_BT1 = mask_BT[..., None].to(tokens_BTD.dtype)
    return (tokens_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)


class Positions(nn.Module):
    """Adds a fixed position to every cell of a square grid of ``side * side`` cells.

    A coarser or finer grid is the same image with other cells: their centres get the positions between.
    """

    positions_TD: Tensor

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side, self.width = side, width
        self.register_buffer("positions_TD", sincos_positions(torch.arange(side), width), persistent=False)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        cells = math.isqrt(tokens_BTD.shape[1])
        if cells == self.side:
            return tokens_BTD + self.positions_TD.to(tokens_BTD.dtype)
        centres = (torch.arange(cells) + 0.5) * (self.side / cells) - 0.5
        return tokens_BTD + sincos_positions(centres, self.width).to(tokens_BTD)


def sincos_positions(places_S: Tensor, width: int) -> Tensor:
    """Two-dimensional sine-cosine positions ``(S * S, width)`` of a grid with these coordinates (Chen et al. 2021)."""
    side, quarter = len(places_S), width // 4
    frequency = 1.0 / 100.0 ** (torch.arange(quarter) / max(1, quarter - 1))
    angle = places_S[:, None] * frequency[None, :]
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    grid = torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
    return nn.functional.pad(grid, (0, width - grid.shape[1]))
