"""BERT, MiniLM and DistilBERT as transformers and sentence-transformers write them: spaces of texts alone.

A space with one modality embeds and searches texts; trained further on pairs (``cospace train --from``) its tower
becomes the text side of a new space.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..models.encoders import bert
from ..reading import read_json
from ..types import UserError
from .huggingface import ACTIVATIONS, IGNORED, tower_settings
from .published import ConversionPlan
from .renames import Rule, affine, in_blocks, same, stacked
from .vocabulary import longest_in, tokenizer_in

WRAPPINGS = ("bert.", "distilbert.")
"""What stands before the names where a head for another task was saved around the tower."""

HEADS = ("pooler.*", "cls.*", "classifier.*", "qa_outputs.*", "vocab_*", "pre_classifier.*")
"""Parts for other tasks, which no text's vector needs."""


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
    config = bert.Config(pooling=pooling(folder), **tower)
    length = min(positions, longest_in(folder / "sentence_bert_config.json", "max_seq_length"))
    tokenizer = tokenizer_in(folder, length)
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


def pooling(folder: Path) -> Literal["mean", "cls"]:
    """As sentence-transformers' settings beside the model say; the mean where nobody says."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    asked = read_json(path)
    modes = [key for key, value in asked.items() if key.startswith("pooling_mode") and value is True]
    named = [str(asked["pooling_mode"])] if isinstance(asked.get("pooling_mode"), str) else modes
    known: dict[str, Literal["mean", "cls"]] = {
        "pooling_mode_mean_tokens": "mean",
        "mean": "mean",
        "pooling_mode_cls_token": "cls",
        "cls": "cls",
    }
    if len(named) != 1 or named[0] not in known:
        raise UserError(f"{path} asks for the pooling {named}; the mean of all tokens and the first one are known")
    return known[named[0]]


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
