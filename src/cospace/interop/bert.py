"""BERT, MiniLM and DistilBERT as transformers and sentence-transformers write them: spaces of texts alone.

A space with one modality embeds and searches texts; trained further on pairs (``cospace train --from``) its tower
becomes the text side of a new space.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import validate
from ..modalities.text.tokenizer import Manner
from ..models.encoders import bert
from ..types import UserError
from .huggingface import ACTIVATIONS, IGNORED, tower_settings
from .published import ConversionPlan
from .renames import Rule, affine, in_blocks, same, stacked
from .sentence_transformers import longest_text, lower_case, modules_in
from .vocabulary import tokenizer_in

WRAPPINGS = ("bert.", "distilbert.")
"""What stands before the names where a head for another task was saved around the tower."""

HEADS = ("pooler.*", "cls.*", "classifier.*", "qa_outputs.*", "vocab_*", "pre_classifier.*")
"""Parts for other tasks, which no text's vector needs."""


def fits(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether our own tower can be it: its activation is known, and the mean or the first token stands for a text."""
    modules = modules_in(folder)
    activation = settings.get("hidden_act", settings.get("activation", "gelu"))
    plain = not settings.get("sinusoidal_pos_embds") and settings.get("position_embedding_type") in (None, "absolute")
    return modules.pooling in ("mean", "cls") and not modules.dense and activation in ACTIVATIONS and plain


def plan(folder: Path, settings: Mapping[str, Any]) -> ConversionPlan:
    """BERT and MiniLM."""
    tower = tower_settings(settings, (768, 12, 12, 3072), "gelu", 1e-12, folder)
    return _plan("BERT", folder, tower, int(settings.get("max_position_embeddings", 512)), bert_rules("encoders.text"))


def distil_plan(folder: Path, settings: Mapping[str, Any]) -> ConversionPlan:
    """DistilBERT, whose settings have names of their own."""
    activation = settings.get("activation", "gelu")
    if activation not in ACTIVATIONS or settings.get("sinusoidal_pos_embds"):
        raise UserError(f"{folder / 'config.json'} asks for an activation or positions that are not known here")
    sizes = {"width": ("dim", 768), "depth": ("n_layers", 6), "heads": ("n_heads", 12), "mlp_dim": ("hidden_dim", 3072)}
    tower: dict[str, Any] = {ours: int(settings.get(key, size)) for ours, (key, size) in sizes.items()}
    tower |= {"activation": ACTIVATIONS[activation], "layer_norm_eps": 1e-12}
    length = int(settings.get("max_position_embeddings", 512))
    return _plan("DistilBERT", folder, tower, length, distil_rules("encoders.text"))


def _plan(family: str, folder: Path, tower: Mapping[str, Any], positions: int, rules: list[Rule]) -> ConversionPlan:
    config = validate(bert.Config, {"pooling": modules_in(folder).pooling, **tower}, where=str(folder))
    length = min(positions, longest_text(folder))
    tokenizer = tokenizer_in(folder, length, Manner(lower=lower_case(folder)))
    numbered = in_blocks(config.depth, rules)
    return ConversionPlan(
        family,
        "transformers",
        {"text": config},
        {"text": tokenizer},
        config.width,
        numbered,
        (*IGNORED, *HEADS),
        wrappings=WRAPPINGS,
    )


def bert_rules(ours: str, theirs: str = "") -> list[Rule]:
    """BERT's tower, one block of it; every token of a single text is of the first kind of segment."""
    embeddings, block, layer = f"{theirs}embeddings", f"{ours}.blocks.{{n}}", f"{theirs}encoder.layer.{{n}}"
    tables = (f"{embeddings}.position_embeddings.weight", f"{embeddings}.token_type_embeddings.weight")
    return [
        *same(f"{ours}.embed.weight", f"{embeddings}.word_embeddings.weight"),
        Rule(f"{ours}.positions.weight", tables, "segment", cut=True),
        *affine(f"{ours}.norm_in", f"{embeddings}.LayerNorm"),
        *stacked(f"{block}.attention.qkv", *(f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))),
        *affine(f"{block}.attention.out", f"{layer}.attention.output.dense"),
        *affine(f"{block}.attention_norm", f"{layer}.attention.output.LayerNorm"),
        *affine(f"{block}.mlp.up", f"{layer}.intermediate.dense"),
        *affine(f"{block}.mlp.down", f"{layer}.output.dense"),
        *affine(f"{block}.mlp_norm", f"{layer}.output.LayerNorm"),
    ]


def distil_rules(ours: str) -> list[Rule]:
    """DistilBERT's tower."""
    block, layer = f"{ours}.blocks.{{n}}", "transformer.layer.{n}"
    return [
        *same(f"{ours}.embed.weight", "embeddings.word_embeddings.weight"),
        Rule(f"{ours}.positions.weight", ("embeddings.position_embeddings.weight",), cut=True),
        *affine(f"{ours}.norm_in", "embeddings.LayerNorm"),
        *stacked(f"{block}.attention.qkv", *(f"{layer}.attention.{part}_lin" for part in "qkv")),
        *affine(f"{block}.attention.out", f"{layer}.attention.out_lin"),
        *affine(f"{block}.attention_norm", f"{layer}.sa_layer_norm"),
        *affine(f"{block}.mlp.up", f"{layer}.ffn.lin1"),
        *affine(f"{block}.mlp.down", f"{layer}.ffn.lin2"),
        *affine(f"{block}.mlp_norm", f"{layer}.output_layer_norm"),
    ]
