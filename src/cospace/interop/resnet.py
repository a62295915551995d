"""CLIP's residual networks as OpenCLIP writes them (Radford et al. 2021); the text tower beside them is CLIP's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.encoders import clip_resnet
from ..types import UserError
from .renames import Rule, affine, convolved, same, stacked


def config(settings: Mapping[str, Any], space: int) -> clip_resnet.Config:
    """The image tower of a ``vision_cfg`` whose ``layers`` lists the blocks of four stages."""
    layers, width = settings["layers"], int(settings.get("width", 768))
    if len(layers) != 4:
        raise UserError(f"a ResNet with {len(layers)} stages {layers} is an architecture that is not read here")
    heads = 32 * width // int(settings.get("head_width", 64))
    return clip_resnet.Config(depths=tuple(layers), width=width, heads=heads, projection_dim=space)


def image_rules(depths: Sequence[int]) -> list[Rule]:
    """The image tower. Batch norms have a rule for the count of their batches too, so that it is written back."""
    ours, pool = "encoders.image", "encoders.image.pool"
    rules = [
        rule for n in range(3) for rule in convolved(f"{ours}.stem.{n}", f"visual.conv{n + 1}", f"visual.bn{n + 1}")
    ]
    for stage, depth in enumerate(depths):
        for block in range(depth):
            rules += block_rules(f"{ours}.stages.{stage}.{block}", f"visual.layer{stage + 1}.{block}", first=block == 0)
    return [
        *rules,
        *same(f"{pool}.positions_TD", "visual.attnpool.positional_embedding"),
        *stacked(f"{pool}.qkv", *(f"visual.attnpool.{part}_proj" for part in "qkv")),
        *affine(f"{pool}.out", "visual.attnpool.c_proj"),
    ]


def block_rules(ours: str, theirs: str, first: bool) -> list[Rule]:
    """One block; the first of a stage has a convolution around it as well."""
    rules = [
        rule
        for number, part in enumerate(("narrow", "mix", "widen"), 1)
        for rule in convolved(f"{ours}.{part}", f"{theirs}.conv{number}", f"{theirs}.bn{number}")
    ]
    around = convolved(f"{ours}.skip", f"{theirs}.downsample.0", f"{theirs}.downsample.1") if first else []
    return rules + around
