"""The blocks that published transformers are made of: biases everywhere, plain attention, pre-norm or post-norm.

The towers made of :mod:`cospace.models.layers` normalise queries and keys, use a squared ReLU and have no biases, which
learns sooner from few pairs. Published weights need the arithmetic that they were trained with, to the last epsilon.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention

from ...config import PartConfig
from ..layers import checked_heads, heads_of, merged
from ..packing import Runs

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]
"""GELU (Hendrycks and Gimpel 2016), its tanh approximation, ``x sigmoid(1.702 x)`` as in the first CLIP, and ReLU."""


class TowerConfig(PartConfig):
    """The size of a published transformer."""

    any_size: ClassVar[bool] = False
    """Its positions are learned, so images must have the size that it was built for."""
    width: int = Field(default=768, gt=0)
    """Width of the tokens."""
    depth: int = Field(default=12, gt=0)
    """Number of transformer blocks."""
    heads: int = Field(default=12, gt=0)
    """Attention heads; they divide the width."""
    mlp_dim: int = Field(default=3072, gt=0)
    """Width of the hidden layer of each block's MLP."""
    activation: Activation = "gelu"
    """Activation of the MLPs: ``gelu``, ``gelu_tanh`` (its tanh approximation), ``quick_gelu`` or ``relu``."""
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    """Epsilon of the layer norms."""


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with biases; ``visible`` broadcasts to ``(B, H, T, T)``.

    Packed texts (:mod:`~cospace.models.packing`) are one row of tokens with their runs in its place.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = checked_heads(width, heads)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_BTD: Tensor, visible: Tensor | Runs | None = None) -> Tensor:
        qkv_BTD = self.qkv(tokens_BTD)
        seen_BTD = (
            visible.each(qkv_BTD, self._attended) if isinstance(visible, Runs) else self._attended(qkv_BTD, visible)
        )
        mixed_BTD: Tensor = self.out(seen_BTD)
        return mixed_BTD

    def _attended(self, qkv_BTD: Tensor, visible: Tensor | None) -> Tensor:
        query, key, value = (heads_of(part, self.heads) for part in qkv_BTD.chunk(3, dim=-1))
        return merged(attend(query, key, value, visible))


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
    """``softmax(q k' / sqrt(d)) v``: fused by torch on an accelerator, plain products on a CPU, faster to learn by."""
    if query.device.type != "cpu":
        fused: Tensor = scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return fused
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    if visible is not None:
        logits = logits.masked_fill(~visible, float("-inf"))
    seen: Tensor = logits.softmax(-1) @ value
    return seen


class MLP(nn.Module):
    """Two linear maps around an activation."""

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.up, self.down, self.activation = nn.Linear(width, hidden), nn.Linear(hidden, width), activation

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        mapped_BTD: Tensor = self.down(activated(self.up(tokens_BTD), self.activation))
        return mapped_BTD


def activated(inputs: Tensor, name: Activation) -> Tensor:
    """An activation by name."""
    if name == "quick_gelu":
        return inputs * torch.sigmoid(1.702 * inputs)
    if name == "relu":
        return relu(inputs)
    return gelu(inputs, approximate="tanh" if name == "gelu_tanh" else "none")


class Block(nn.Module):
    """Attention, then the MLP, each added to its input; norms before them, or after the sums as in BERT."""

    def __init__(self, config: TowerConfig, norm_first: bool = True) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attention = Attention(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = MLP(config.width, config.mlp_dim, config.activation)

    def forward(self, tokens_BTD: Tensor, visible: Tensor | Runs | None = None) -> Tensor:
        if self.norm_first:
            tokens_BTD = tokens_BTD + self.attention(self.attention_norm(tokens_BTD), visible)
            tokens_BTD = tokens_BTD + self.mlp(self.mlp_norm(tokens_BTD))
        else:
            tokens_BTD = self.attention_norm(tokens_BTD + self.attention(tokens_BTD, visible))
            tokens_BTD = self.mlp_norm(tokens_BTD + self.mlp(tokens_BTD))
        return tokens_BTD


def blocks(config: TowerConfig, norm_first: bool = True) -> nn.ModuleList:
    """All blocks of a tower."""
    return nn.ModuleList(Block(config, norm_first) for _ in range(config.depth))


def table(count: int, width: int, std: float = 0.02) -> nn.Embedding:
    """A vector for each of ``count`` numbers, drawn small as published towers begin."""
    made = nn.Embedding(count, width)
    nn.init.normal_(made.weight, std=std)
    return made


def all_real(tokens_BTD: Tensor) -> Tensor:
    """The mask ``(B, T)`` of an image's tokens: none of them is padding."""
    return tokens_BTD.new_ones(tokens_BTD.shape[:2], dtype=torch.bool)
