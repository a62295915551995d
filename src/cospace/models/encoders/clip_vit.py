"""CLIP's image tower (Radford et al. 2021): a Vision Transformer, pooled at its class token."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ...types import Features, ImageSpec
from ._published import TowerConfig, all_real, blocks
from .vit import patches


class Config(TowerConfig):
    """The size of CLIP's image tower; the defaults are those of ViT-B/32."""

    modality: ClassVar[str] = "image"
    patch_size: int = Field(default=32, gt=0)
    """Side of a patch in pixels; it divides the image size."""

    @classmethod
    def tiny(cls) -> Config:
        return cls(patch_size=4, width=16, depth=2, heads=2, mlp_dim=32)

    def build(self, spec: ImageSpec) -> ClipViT:
        return ClipViT(self, spec)


class ClipViT(nn.Module):
    """Patches and a class token, learned positions, a norm, pre-norm blocks; the class token's last state, normed."""

    def __init__(self, config: Config, spec: ImageSpec) -> None:
        super().__init__()
        self.width = config.width
        self.embed = nn.Conv2d(spec.channels, config.width, config.patch_size, stride=config.patch_size, bias=False)
        self.first = nn.Parameter(config.width**-0.5 * torch.randn(config.width))
        count = 1 + patches(spec.size, config.patch_size) ** 2
        self.positions_TD = nn.Parameter(config.width**-0.5 * torch.randn(count, config.width))
        self.norm_in = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.blocks = blocks(config)
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def forward(self, images_B3SS: Tensor) -> Features:
        cells_BTD = self.embed(images_B3SS).flatten(2).transpose(1, 2)
        first_B1D = self.first.expand(cells_BTD.shape[0], 1, -1)
        tokens_BTD = torch.cat([first_B1D, cells_BTD], dim=1) + self.positions_TD
        tokens_BTD = self.norm_in(tokens_BTD)
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        tokens_BTD = self.norm(tokens_BTD)
        return Features(tokens_BTD[:, 0], tokens_BTD, all_real(tokens_BTD))
