"""SigLIP and SigLIP 2 as OpenCLIP writes them: an image tower of timm's beside a text tower of OpenCLIP's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..modalities.image.processing import ImageProcessor
from ..modalities.text.tokenizer import Manner
from ..models.encoders import siglip_text, siglip_vit
from ..models.encoders._published import Activation
from ..types import UserError
from .published import ConversionPlan
from .renames import Rule, affine, in_blocks, same, stacked
from .resblocks import resblock_rules
from .vocabulary import pad_token_id_of, tokenizer_in

TRUNKS = {
    "vit_base": (768, 12, 12, 3072),
    "vit_large": (1024, 24, 16, 4096),
    "vit_so400m": (1152, 27, 16, 4304),
    "vit_giantopt": (1536, 40, 16, 6144),
}
"""Width, depth, heads and width of the MLP of timm's towers, by the opening of their names."""

_NAME = re.compile(r"(vit_[a-z0-9]+)_patch(\d+)_siglip_(\d+)")

REQUIRED: dict[str, dict[str, Any]] = {
    "vision_cfg": {"timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
"""What makes the two towers SigLIP's; another value is another architecture."""

CLEANED = {"canonicalize": Manner(clean=True, blank=True, lower=True, bare=True), "whitespace": Manner(clean=True)}
"""What OpenCLIP's names of treatments do to texts."""


def plan(read: Mapping[str, Any], folder: Path, path: Path, image: ImageProcessor) -> ConversionPlan:
    """How to read a folder whose settings name an image tower of timm's; ``image`` prepares its images."""
    settings = read.get("model_cfg", read)
    vision, words = settings["vision_cfg"], settings.get("text_cfg") or {}
    named = _NAME.fullmatch(str(vision["timm_model_name"]))
    asked = [(tower, key, settings[tower].get(key)) for tower, keys in REQUIRED.items() for key in keys]
    wrong = [f"{tower}.{key}={value!r}" for tower, key, value in asked if value != REQUIRED[tower][key]]
    treatment = (words.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
    if named is None or named[1] not in TRUNKS or wrong or treatment not in CLEANED:
        raise UserError(
            f"{path} describes {vision['timm_model_name']!r} ({', '.join(wrong) or treatment}), which is not "
            f"read here; of timm's towers SigLIP's are: {', '.join(TRUNKS)}"
        )
    tokenizer = tokenizer_in(folder, int(words.get("context_length", 64)), CLEANED[treatment])
    space = int(settings["embed_dim"])
    width, depth, heads, mlp_dim = TRUNKS[named[1]]
    tower = siglip_vit.Config(
        patch_size=int(named[2]), width=width, depth=depth, heads=heads, mlp_dim=mlp_dim,
        activation="gelu_tanh" if named[1] == "vit_giantopt" else "gelu",
    )  # fmt: skip
    text = _text_tower(words, space, pad_token_id_of(folder, tokenizer))
    return ConversionPlan(
        "SigLIP",
        "OpenCLIP",
        {"image": tower, "text": text},
        {"image": image, "text": tokenizer},
        space,
        [*image_rules(depth), *text_rules(text.depth)],
        ("text.attn_mask",),
        bias="logit_bias",
    )


def _text_tower(words: Mapping[str, Any], projection_dim: int, pad_token_id: int) -> siglip_text.Config:
    width = int(words.get("width", 768))
    rough = (words.get("act_kwargs") or {}).get("approximate") == "tanh"
    activation: Activation = "gelu_tanh" if rough else "gelu"
    return siglip_text.Config(
        width=width,
        depth=int(words.get("layers", 12)),
        heads=int(words.get("heads", 12)),
        mlp_dim=int(width * words.get("mlp_ratio", 4.0)),
        activation=activation,
        layer_norm_eps=float((words.get("norm_kwargs") or {}).get("eps", 1e-5)),
        projection_dim=projection_dim,
        pad_token_id=pad_token_id,
    )


def image_rules(depth: int) -> list[Rule]:
    """The image tower with its head."""
    trunk, block, layer = "visual.trunk", "encoders.image.blocks.{n}", "visual.trunk.blocks.{n}"
    pool, head = f"{trunk}.attn_pool", "encoders.image.head"
    rules = [
        *affine("encoders.image.embed", f"{trunk}.patch_embed.proj"),
        Rule("encoders.image.positions_TD", (f"{trunk}.pos_embed",), "only"),
        *affine(f"{block}.attention_norm", f"{layer}.norm1"),
        *affine(f"{block}.attention.qkv", f"{layer}.attn.qkv"),
        *affine(f"{block}.attention.out", f"{layer}.attn.proj"),
        *affine(f"{block}.mlp_norm", f"{layer}.norm2"),
        *affine(f"{block}.mlp.up", f"{layer}.mlp.fc1"),
        *affine(f"{block}.mlp.down", f"{layer}.mlp.fc2"),
        *affine("encoders.image.norm", f"{trunk}.norm"),
        *same(f"{head}.query", f"{pool}.latent"),
        *stacked(f"{head}.qkv", f"{pool}.q", f"{pool}.kv"),
        *affine(f"{head}.out", f"{pool}.proj"),
        *affine(f"{head}.norm", f"{pool}.norm"),
        *affine(f"{head}.mlp.up", f"{pool}.mlp.fc1"),
        *affine(f"{head}.mlp.down", f"{pool}.mlp.fc2"),
    ]
    return in_blocks(depth, rules)


def text_rules(depth: int) -> list[Rule]:
    """The text tower with its head."""
    rules = [
        *same("encoders.text.embed.weight", "text.token_embedding.weight"),
        *same("encoders.text.positions.weight", "text.positional_embedding"),
        *resblock_rules("encoders.text", "text.transformer.resblocks"),
        *affine("encoders.text.norm", "text.ln_final"),
        *affine("encoders.text.head", "text.text_projection"),
    ]
    return in_blocks(depth, rules)
