"""SigLIP's image tower (Zhai et al. 2023): a Vision Transformer with an attention pooling head."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...types import Features, ImageSpec
from ..layers import heads_of, merged
from ._published import MLP, Activation, TowerConfig, all_real, attend, blocks
from .vit import patches


class Config(TowerConfig):
    """The size of SigLIP's image tower; the defaults are those of B/16."""

    modality: ClassVar[str] = "image"
    patch_size: int = Field(default=16, gt=0)
    """Side of a patch in pixels; it divides the image size."""
    activation: Activation = "gelu_tanh"
    """Activation of the MLPs: ``gelu``, ``gelu_tanh`` (its tanh approximation), ``quick_gelu`` or ``relu``."""
    layer_norm_eps: float = Field(default=1e-6, gt=0)
    """Epsilon of the layer norms."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(patch_size=4, width=16, depth=2, heads=2, mlp_dim=32)

    def build(self, spec: ImageSpec) -> SiglipViT:
        return SiglipViT(self, spec)


class SiglipViT(nn.Module):
    """Patches, learned positions, pre-norm blocks, a norm, the head, which leads into the space."""

    in_space = True

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Conv2d(spec.channels, config.width, config.patch_size, stride=config.patch_size)
        count = patches(spec.size, config.patch_size) ** 2
        self.positions_TD = nn.Parameter(config.width**-0.5 * torch.randn(count, config.width))
        self.blocks = blocks(config)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.head = Head(config)

    def forward(self, images_B3SS: Tensor) -> Features:
        tokens_BTD = self.embed(images_B3SS).flatten(2).transpose(1, 2) + self.positions_TD
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(self.head(tokens_BTD), tokens_BTD, all_real(tokens_BTD))


class Head(nn.Module):
    """Attention pooling by a learned query, followed by a residual MLP (Zhai et al. 2022)."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Parameter(torch.randn(1, 1, config.width))
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.mlp = MLP(config.width, config.mlp_dim, config.activation)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        width = tokens_BTD.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = nn.functional.linear(self.query, weight[:width], bias[:width]).expand(tokens_BTD.shape[0], -1, -1)
        both_BTD = nn.functional.linear(tokens_BTD, weight[width:], bias[width:])
        key, value = (heads_of(part, self.heads) for part in both_BTD.chunk(2, dim=-1))
        seen_B1D = self.out(merged(attend(heads_of(query, self.heads), key, value)))
        pooled_BD: Tensor = (seen_B1D + self.mlp(self.norm(seen_B1D)))[:, 0]
        return pooled_BD
