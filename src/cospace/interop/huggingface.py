"""Folders as the transformers library writes them: CLIP and SigLIP, with their tokenizer and their preparation.

Names are those of ``CLIPModel`` and ``SiglipModel`` in transformers 5; a setting that a ``config.json`` leaves out has
the value that these classes give it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..modalities.image.processing import ImageProcessor
from ..models.encoders import clip_text, clip_vit, siglip_text, siglip_vit
from ..reading import read_json
from ..types import UserError
from .published import ConversionPlan
from .renames import Rule, affine, in_blocks, same, stacked
from .vocabulary import pad_token_id_of, siglip_tokenizer, tokenizer_in

ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""Their names of activations and ours."""

IGNORED = ("*.position_ids",)
"""Numbers that count places, saved by older versions."""


def clip(folder: Path, settings: Mapping[str, Any]) -> ConversionPlan:
    width = int(settings.get("projection_dim", 512))
    image, text = settings.get("vision_config") or {}, settings.get("text_config") or {}
    size, patch_size = int(image.get("image_size", 224)), int(image.get("patch_size", 32))
    tower = tower_settings(image, (768, 12, 12, 3072), "quick_gelu", 1e-5, folder)
    configs = {
        "image": clip_vit.Config(patch_size=patch_size, **tower),
        "text": clip_text.Config(**tower_settings(text, (512, 12, 8, 2048), "quick_gelu", 1e-5, folder)),
    }
    processors = {
        "image": image_processor(folder, size),
        "text": tokenizer_in(folder, int(text.get("max_position_embeddings", 77))),
    }
    rules = [*clip_image_rules(configs["image"].depth), *clip_text_rules(configs["text"].depth)]
    return ConversionPlan("CLIP", "transformers", configs, processors, width, rules, IGNORED)


def siglip(folder: Path, settings: Mapping[str, Any]) -> ConversionPlan:
    image, text = settings.get("vision_config") or {}, settings.get("text_config") or {}
    size, patch_size = int(image.get("image_size", 224)), int(image.get("patch_size", 16))
    towers = tower_settings(image, (768, 12, 12, 3072), "gelu_pytorch_tanh", 1e-6, folder)
    words = tower_settings(text, (768, 12, 12, 3072), "gelu_pytorch_tanh", 1e-6, folder)
    space = int(text.get("projection_size") or words["width"])
    tokenizer = siglip_tokenizer(folder, int(text.get("max_position_embeddings", 64)))
    configs = {
        "image": siglip_vit.Config(patch_size=patch_size, **towers),
        "text": siglip_text.Config(projection_dim=space, pad_token_id=pad_token_id_of(folder, tokenizer), **words),
    }
    processors = {"image": image_processor(folder, size), "text": tokenizer}
    rules = [*siglip_image_rules(configs["image"].depth), *siglip_text_rules(configs["text"].depth)]
    return ConversionPlan("SigLIP", "transformers", configs, processors, space, rules, IGNORED, bias="logit_bias")


def tower_settings(
    settings: Mapping[str, Any], sizes: tuple[int, int, int, int], activation: str, eps: float, folder: Path
) -> dict[str, Any]:
    """The settings of one tower under our names; ``sizes`` are the library's own, for what is left out."""
    named = settings.get("hidden_act", activation)
    if named not in ACTIVATIONS:
        raise UserError(f"{folder / 'config.json'} asks for the activation {named!r}; known: {', '.join(ACTIVATIONS)}")
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    width, depth, heads, mlp_dim = (int(settings.get(key, size)) for key, size in zip(keys, sizes, strict=True))
    return {
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_dim": mlp_dim,
        "activation": ACTIVATIONS[named],
        "layer_norm_eps": float(settings.get("layer_norm_eps", eps)),
    }


RESAMPLES = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the two filters that published models use."""


def preparation_in(folder: Path) -> tuple[Path, dict[str, Any]]:
    """How images are prepared, and the file that says so; transformers 5 has it in a file with the tokenizer's."""
    path, both = folder / "preprocessor_config.json", folder / "processor_config.json"
    if path.is_file():
        return path, dict(read_json(path))
    asked = read_json(both).get("image_processor") if both.is_file() else None
    if not isinstance(asked, Mapping):
        raise UserError(f"{path} is missing; without it nobody knows how images are to be prepared")
    return both, dict(asked)


def image_processor(folder: Path, size: int) -> ImageProcessor:
    """What ``preprocessor_config.json`` asks for, or one sentence for a step that we do not have."""
    path, asked = preparation_in(folder)
    crops = bool(asked.get("do_center_crop", False))
    target, side = _sides(asked.get("size", size)), _sides(asked.get("crop_size", size))
    final = side if crops else target
    resample = asked.get("resample", 3)
    known = (
        final in ((size, size), (size, None))
        and (crops or target[1] is not None)
        and resample in RESAMPLES
        and bool(asked.get("do_normalize", True))
        and abs(float(asked.get("rescale_factor", 1 / 255)) - 1 / 255) < 1e-9
    )
    if not known:
        raise UserError(f"{path} asks for steps that are not known here: {asked}")
    return ImageProcessor(
        size=size,
        fit="crop" if crops else "squash",
        before_crop=target[0] if crops and target[0] != size else None,
        resample=RESAMPLES[resample],  # type: ignore[arg-type]
        mean=asked.get("image_mean", (0.5, 0.5, 0.5)),
        std=asked.get("image_std", (0.5, 0.5, 0.5)),
        to_rgb="convert",
        follows="transformers",
    )


def _sides(given: Any) -> tuple[int, int | None]:
    """Height and width, or the shorter side and nothing."""
    if isinstance(given, Mapping):
        if "shortest_edge" in given:
            return int(given["shortest_edge"]), None
        return int(given["height"]), int(given["width"])
    return int(given), None


def clip_image_rules(depth: int) -> list[Rule]:
    """CLIP's image tower."""
    tower = "vision_model"
    return [
        *same("encoders.image.embed.weight", f"{tower}.embeddings.patch_embedding.weight"),
        *same("encoders.image.first", f"{tower}.embeddings.class_embedding"),
        *same("encoders.image.positions_TD", f"{tower}.embeddings.position_embedding.weight"),
        *affine("encoders.image.norm_in", f"{tower}.pre_layrnorm"),
        *in_blocks(depth, block_rules("encoders.image", f"{tower}.encoder.layers")),
        *affine("encoders.image.norm", f"{tower}.post_layernorm"),
        *same("projections.image.weight", "visual_projection.weight"),
    ]


def clip_text_rules(depth: int) -> list[Rule]:
    """CLIP's text tower."""
    return [
        *text_rules(depth),
        *affine("encoders.text.norm", "text_model.final_layer_norm"),
        *same("projections.text.weight", "text_projection.weight"),
    ]


def siglip_image_rules(depth: int) -> list[Rule]:
    """SigLIP's image tower with its head."""
    tower, head = "vision_model", "vision_model.head"
    return [
        *affine("encoders.image.embed", f"{tower}.embeddings.patch_embedding"),
        *same("encoders.image.positions_TD", f"{tower}.embeddings.position_embedding.weight"),
        *in_blocks(depth, block_rules("encoders.image", f"{tower}.encoder.layers")),
        *affine("encoders.image.norm", f"{tower}.post_layernorm"),
        *same("encoders.image.head.query", f"{head}.probe"),
        *same("encoders.image.head.qkv.weight", f"{head}.attention.in_proj_weight"),
        *same("encoders.image.head.qkv.bias", f"{head}.attention.in_proj_bias"),
        *affine("encoders.image.head.out", f"{head}.attention.out_proj"),
        *affine("encoders.image.head.norm", f"{head}.layernorm"),
        *affine("encoders.image.head.mlp.up", f"{head}.mlp.fc1"),
        *affine("encoders.image.head.mlp.down", f"{head}.mlp.fc2"),
    ]


def siglip_text_rules(depth: int) -> list[Rule]:
    """SigLIP's text tower with its head."""
    return [
        *text_rules(depth),
        *affine("encoders.text.norm", "text_model.final_layer_norm"),
        *affine("encoders.text.head", "text_model.head"),
    ]


def text_rules(depth: int) -> list[Rule]:
    """Embeddings and blocks of either's text tower."""
    return [
        *same("encoders.text.embed.weight", "text_model.embeddings.token_embedding.weight"),
        *same("encoders.text.positions.weight", "text_model.embeddings.position_embedding.weight"),
        *in_blocks(depth, block_rules("encoders.text", "text_model.encoder.layers")),
    ]


def block_rules(ours: str, theirs: str) -> list[Rule]:
    """One transformer block."""
    block, layer = f"{ours}.blocks.{{n}}", f"{theirs}.{{n}}"
    return [
        *affine(f"{block}.attention_norm", f"{layer}.layer_norm1"),
        *stacked(f"{block}.attention.qkv", *(f"{layer}.self_attn.{part}_proj" for part in "qkv")),
        *affine(f"{block}.attention.out", f"{layer}.self_attn.out_proj"),
        *affine(f"{block}.mlp_norm", f"{layer}.layer_norm2"),
        *affine(f"{block}.mlp.up", f"{layer}.mlp.fc1"),
        *affine(f"{block}.mlp.down", f"{layer}.mlp.fc2"),
    ]
