"""Folders as OpenCLIP writes them: CLIP with a Vision Transformer or a ResNet, its settings, weights and tokenizer.

Names are those of ``open_clip.CLIP`` in OpenCLIP 3, which are the first CLIP's own; a setting that
``open_clip_config.json`` leaves out has the value that OpenCLIP gives it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import PartConfig, validate
from ..modalities.image.processing import ImageProcessor
from ..modalities.text.tokenizer import Manner, Tokenizer
from ..models.encoders import clip_text, clip_vit
from ..models.encoders._published import Activation
from ..reading import read_json
from ..types import UserError
from . import openclip_siglip, resnet
from .published import ConversionPlan
from .renames import Rule, affine, in_blocks, same
from .resblocks import resblock_rules
from .vocabulary import clip_tokenizer, tokenizer_in

CONFIG, MERGES = "open_clip_config.json", "bpe_simple_vocab_16e6.txt.gz"

IMAGE_KNOWN = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"}
TEXT_KNOWN = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "hf_tokenizer_name"}
"""Settings that are understood; any other that is not empty means another architecture."""

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training images (Radford et al. 2021, published code)."""

FITS = {"shortest": "crop", "squash": "squash"}


def plan(folder: Path) -> ConversionPlan:
    """How to read a folder with an ``open_clip_config.json``."""
    return planned(read_json(folder / CONFIG), folder, folder / CONFIG)


def planned(read: Mapping[str, Any], folder: Path, path: Path) -> ConversionPlan:
    """The same for settings that were read, or guessed, from ``path``; the tokenizer is looked for in ``folder``."""
    settings = read.get("model_cfg", read)
    image, text = settings.get("vision_cfg") or {}, settings.get("text_cfg") or {}
    prepare = image_processor(read.get("preprocess_cfg") or {}, int(image.get("image_size", 224)), path)
    if image.get("timm_model_name"):
        return openclip_siglip.plan(read, folder, path, prepare)
    _refuse_others(path, image, IMAGE_KNOWN)
    _refuse_others(path, text, TEXT_KNOWN)
    activation: Activation = "quick_gelu" if settings.get("quick_gelu") else "gelu"
    words = int(text.get("width", 512))
    space = int(settings.get("embed_dim", 512))
    tower, tower_rules = _image_tower(image, activation, space)
    config = clip_text.Config(
        width=words,
        depth=int(text.get("layers", 12)),
        heads=int(text.get("heads", 8)),
        mlp_dim=int(words * text.get("mlp_ratio", 4.0)),
        activation=activation,
    )
    configs = {"image": tower, "text": config}
    length = int(text.get("context_length", 77))
    processors = {"image": prepare, "text": tokenizer(folder, length)}
    rules = [*tower_rules, *text_rules(config.depth)]
    return ConversionPlan("CLIP", "OpenCLIP", configs, processors, space, rules, ("attn_mask",))


def _image_tower(settings: Mapping[str, Any], activation: Activation, space: int) -> tuple[PartConfig, list[Rule]]:
    """A Vision Transformer, or a ResNet where ``layers`` lists the blocks of its stages; and its rules."""
    if isinstance(settings.get("layers"), list):
        network = resnet.config(settings, space)
        return network, resnet.image_rules(network.depths)
    width = int(settings.get("width", 768))
    tower = clip_vit.Config(
        patch_size=int(settings.get("patch_size", 16)),
        width=width,
        depth=int(settings.get("layers", 12)),
        heads=width // int(settings.get("head_width", 64)),
        mlp_dim=int(width * settings.get("mlp_ratio", 4.0)),
        activation=activation,
    )
    return tower, image_rules(tower.depth)


def _refuse_others(path: Path, settings: Mapping[str, Any], known: set[str]) -> None:
    for key, value in settings.items():
        if key not in known and value not in (None, False, {}, 0, 0.0):
            raise UserError(f"{path} sets {key}={value!r}, an architecture that is not read here")


def image_processor(asked: Mapping[str, Any], size: int, path: Path) -> ImageProcessor:
    """What ``preprocess_cfg`` asks for; OpenCLIP's own for what is left out."""
    mode, resample = asked.get("resize_mode", "shortest"), asked.get("interpolation", "bicubic")
    if mode not in FITS or resample not in ("bicubic", "bilinear"):
        raise UserError(f"{path} asks for resize_mode={mode!r}, interpolation={resample!r}, which are not known here")
    mean, std = asked.get("mean") or MEAN, asked.get("std") or STD
    steps = {
        "size": size,
        "fit": FITS[mode],
        "resample": resample,
        "mean": mean,
        "std": std,
        "to_rgb": "resize_convert",
        "follows": "torchvision",
    }
    return validate(ImageProcessor, steps, where=str(path))


def tokenizer(folder: Path, length: int) -> Tokenizer:
    """The folder's own, or CLIP's from the list of merges in the folder or in an installed OpenCLIP."""
    if (folder / "tokenizer.json").is_file():
        return tokenizer_in(folder, length, Manner(clean=True))
    found = importlib.util.find_spec("open_clip")
    installed = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    for place in (folder, *installed):
        if (place / MERGES).is_file():
            return clip_tokenizer(place / MERGES, length)
    raise UserError(f"{folder} holds neither tokenizer.json nor {MERGES}; put one of them there, or install OpenCLIP")


def image_rules(depth: int) -> list[Rule]:
    """CLIP's image tower."""
    return [
        *same("encoders.image.embed.weight", "visual.conv1.weight"),
        *same("encoders.image.first", "visual.class_embedding"),
        *same("encoders.image.positions_TD", "visual.positional_embedding"),
        *affine("encoders.image.norm_in", "visual.ln_pre"),
        *in_blocks(depth, resblock_rules("encoders.image", "visual.transformer.resblocks")),
        *affine("encoders.image.norm", "visual.ln_post"),
        Rule("projections.image.weight", ("visual.proj",), "transposed"),
    ]


def text_rules(depth: int) -> list[Rule]:
    """CLIP's text tower."""
    return [
        *same("encoders.text.embed.weight", "token_embedding.weight"),
        *same("encoders.text.positions.weight", "positional_embedding"),
        *in_blocks(depth, resblock_rules("encoders.text", "transformer.resblocks")),
        *affine("encoders.text.norm", "ln_final"),
        Rule("projections.text.weight", ("text_projection",), "transposed"),
    ]
