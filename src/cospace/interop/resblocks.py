"""A transformer block as OpenCLIP names its parts, which all of its own towers are made of."""

from __future__ import annotations

from .renames import Rule, affine, same


def resblock_rules(ours: str, theirs: str) -> list[Rule]:
    """One transformer block."""
    block, layer = f"{ours}.blocks.{{n}}", f"{theirs}.{{n}}"
    return [
        *affine(f"{block}.attention_norm", f"{layer}.ln_1"),
        *same(f"{block}.attention.qkv.weight", f"{layer}.attn.in_proj_weight"),
        *same(f"{block}.attention.qkv.bias", f"{layer}.attn.in_proj_bias"),
        *affine(f"{block}.attention.out", f"{layer}.attn.out_proj"),
        *affine(f"{block}.mlp_norm", f"{layer}.ln_2"),
        *affine(f"{block}.mlp.up", f"{layer}.mlp.c_fc"),
        *affine(f"{block}.mlp.down", f"{layer}.mlp.c_proj"),
    ]
