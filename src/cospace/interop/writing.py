"""A space in the layout of another library, which loads it back: transformers and OpenCLIP.

Only towers that such a library knows can be written in its layout, which are those that came from one, trained further
or not.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .. import files
from ..modalities.image.processing import ImageProcessor
from ..modalities.text.tokenizer import Tokenizer
from ..models.encoders import bert, clip_resnet, clip_text, clip_vit, efficientnet, siglip_text, siglip_vit
from ..models.encoders._published import TowerConfig
from ..models.space import Space
from ..tensors import writer
from ..types import UserError
from . import align, huggingface, openclip, resnet
from . import bert as bert_layout
from .renames import SEGMENTS, Rule, in_blocks, renamed

RESAMPLES = {name: number for number, name in huggingface.RESAMPLES.items()}
ACTIVATIONS = {ours: theirs for theirs, ours in huggingface.ACTIVATIONS.items()}


@dataclass(frozen=True, slots=True)
class LogitScale:
    """The numbers that turn a cosine into a logit: ``scale * cosine + bias``."""

    scale: float = 100.0
    bias: float = 0.0


def transformers_folder(space: Space, logits: LogitScale) -> dict[str, files.Content]:
    """Files of a folder that ``AutoModel``, ``AutoTokenizer`` and ``AutoImageProcessor`` load."""
    kinds = {name: type(config) for name, config in space.configs.items()}
    known: list[tuple[dict[str, type], Callable[[Space], Any]]] = [
        ({"image": clip_vit.Config, "text": clip_text.Config}, _clip),
        ({"image": siglip_vit.Config, "text": siglip_text.Config}, _siglip),
        ({"image": efficientnet.Config, "text": bert.Config}, _align),
        ({"text": bert.Config}, _bert),
    ]
    for towers, describe in known:
        if kinds == towers:
            settings, rules = describe(space)
            break
    else:
        raise _unknown(space, "transformers")
    tensors = renamed(space, rules)
    if kinds.get("image") is efficientnet.Config:
        tensors["temperature"] = torch.tensor(1 / logits.scale)
    elif "image" in space.modalities:
        tensors["logit_scale"] = torch.tensor(math.log(logits.scale))
    if kinds.get("text") is siglip_text.Config:
        tensors = {**tensors, "logit_scale": torch.tensor([math.log(logits.scale)])}
        tensors["logit_bias"] = torch.tensor([logits.bias])
    content: dict[str, files.Content] = {
        "config.json": files.as_json(settings),
        "model.safetensors": writer(tensors),
        **tokenizer_files(space),
    }
    if "image" in space.modalities:
        content["preprocessor_config.json"] = files.as_json(preparation(space))
    return content


def openclip_folder(space: Space, logits: LogitScale) -> dict[str, files.Content]:
    """Files of a folder that ``open_clip.create_model("local-dir:...")`` loads."""
    image, text = space.configs.get("image"), space.configs.get("text")
    if not (isinstance(image, clip_vit.Config | clip_resnet.Config) and isinstance(text, clip_text.Config)):
        raise _unknown(space, "OpenCLIP")
    processor: ImageProcessor = space.processors["image"]  # type: ignore[assignment]
    fits = {ours: theirs for theirs, ours in openclip.FITS.items()}
    tower, rules = _openclip_image(image, text)
    if (
        tower is None
        or text.activation not in ("gelu", "quick_gelu")
        or text.layer_norm_eps != 1e-5
        or processor.fit not in fits
    ):
        raise UserError("OpenCLIP's layout cannot describe these towers' activations, norms, strides or preparation")
    if processor.before_crop is not None:
        raise UserError("OpenCLIP's layout cannot describe images that are resized to more than they are cropped to")
    spec = space.processors["text"].spec
    settings = {
        "embed_dim": space.width,
        "quick_gelu": text.activation == "quick_gelu",
        "vision_cfg": {"image_size": processor.size, **tower},
        "text_cfg": {
            "context_length": spec.length, "vocab_size": spec.vocabulary, "width": text.width, "heads": text.heads,
            "layers": text.depth, "mlp_ratio": text.mlp_dim / text.width, "hf_tokenizer_name": "cospace",
        },
    }  # fmt: skip
    preparation = {
        "mean": list(processor.mean), "std": list(processor.std), "interpolation": processor.resample,
        "resize_mode": fits[processor.fit],
    }  # fmt: skip
    tensors = {
        **renamed(space, [*rules, *openclip.text_rules(text.depth)]),
        "logit_scale": torch.tensor(math.log(logits.scale)),
    }
    return {
        openclip.CONFIG: files.as_json({"model_cfg": settings, "preprocess_cfg": preparation}),
        "open_clip_model.safetensors": writer(tensors),
        **tokenizer_files(space),
    }


def _openclip_image(
    image: clip_vit.Config | clip_resnet.Config, text: clip_text.Config
) -> tuple[dict[str, Any] | None, list[Rule]]:
    """The settings of an image tower, or nothing where OpenCLIP cannot describe it, and its rules."""
    if isinstance(image, clip_resnet.Config):
        settings = {
            "layers": list(image.depths), "width": image.width, "patch_size": None,
            "head_width": 32 * image.width // image.heads,
        }  # fmt: skip
        known = image.strides == clip_resnet.Config().strides
        return settings if known else None, resnet.image_rules(image.depths)
    settings = {
        "layers": image.depth, "width": image.width, "patch_size": image.patch_size,
        "head_width": image.width // image.heads, "mlp_ratio": image.mlp_dim / image.width,
    }  # fmt: skip
    same = (image.activation, image.layer_norm_eps) == (text.activation, text.layer_norm_eps)
    return settings if same else None, openclip.image_rules(image.depth)


def tokenizer_files(space: Space) -> dict[str, files.Content]:
    """The text tower's tokenizer as ``AutoTokenizer`` reads it."""
    tokenizer: Tokenizer = space.processors["text"]  # type: ignore[assignment]
    first, last = tokenizer.ends()
    padding = getattr(space.configs["text"], "pad_token_id", None)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.length,
        "eos_token": last,
        "pad_token": last if padding is None else tokenizer.entry(padding),
        **({} if first is None else {"bos_token": first}),
    }
    return {
        "tokenizer.json": json.dumps(_normalising(tokenizer), ensure_ascii=False).encode("utf-8"),
        "tokenizer_config.json": files.as_json(settings),
    }


def _normalising(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer's file, with the lower case and the bare text that its class brings along as normalizers."""
    described: dict[str, Any] = tokenizer.state()["bpe"]
    blank = {"type": "Replace", "pattern": {"String": "_"}, "content": " "}
    steps: list[dict[str, Any]] = [blank] if tokenizer.manner.blank else []
    steps += [{"type": "Lowercase"}] if tokenizer.manner.lower else []
    if tokenizer.manner.bare:
        signs = "[" + re.escape(string.punctuation) + "]"
        steps += [
            {"type": "Replace", "pattern": {"Regex": pattern}, "content": to}
            for pattern, to in ((signs, ""), (r"\s+", " "))
        ]
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
    own = described.get("normalizer")
    return (
        {**described, "normalizer": {"type": "Sequence", "normalizers": [*steps, *([own] if own else [])]}}
        if steps
        else described
    )


def _unknown(space: Space, library: str) -> UserError:
    towers = " and ".join(str(type(config).__module__.rsplit(".", 1)[-1]) for config in space.configs.values())
    return UserError(
        f"{library} has no model made of {towers}; only towers that it knows can be written in its layout "
        "(--format onnx writes any)"
    )


def _clip(space: Space) -> tuple[dict[str, Any], list[Rule]]:
    image, text = space.configs["image"], space.configs["text"]
    assert isinstance(image, clip_vit.Config)
    assert isinstance(text, clip_text.Config)
    settings = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": space.width,
        "vision_config": _vision(space, image),
        "text_config": {**_tower(text), **_words(space)},
    }
    return settings, [*huggingface.clip_image_rules(image.depth), *huggingface.clip_text_rules(text.depth)]


def _siglip(space: Space) -> tuple[dict[str, Any], list[Rule]]:
    image, text = space.configs["image"], space.configs["text"]
    assert isinstance(image, siglip_vit.Config)
    assert isinstance(text, siglip_text.Config)
    settings = {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "vision_config": _vision(space, image),
        "text_config": {
            **_tower(text),
            **_words(space),
            "projection_size": space.width,
            "pad_token_id": text.pad_token_id,
        },
    }
    return settings, [*huggingface.siglip_image_rules(image.depth), *huggingface.siglip_text_rules(text.depth)]


def _align(space: Space) -> tuple[dict[str, Any], list[Rule]]:
    image, text = space.configs["image"], space.configs["text"]
    assert isinstance(image, efficientnet.Config)
    assert isinstance(text, bert.Config)
    known = image.in_space and image.stem_channels == efficientnet.Config().stem_channels
    if not (known and text.pooling == "cls" and text.projection_dim):
        raise UserError("transformers' ALIGN ends in the mean over its last grid, and in its text's first token")
    given = image.model_dump(mode="json")
    vision = {name: given[name] for name in align.SAME_NAMES}
    settings = {
        "model_type": "align",
        "architectures": ["AlignModel"],
        "projection_dim": space.width,
        "vision_config": {
            **vision,
            "in_channels": [image.stem_channels, *image.out_channels[:-1]],
            "image_size": space.processors["image"].spec.size,
            "hidden_dim": space.width,
            "num_hidden_layers": 4 * sum(image.num_block_repeats),
        },
        "text_config": {**_tower(text), **_words(space), "type_vocab_size": SEGMENTS},
    }
    return settings, [*align.image_rules(image), *align.text_rules(text.depth)]


def _bert(space: Space) -> tuple[dict[str, Any], list[Rule]]:
    config = space.configs["text"]
    assert isinstance(config, bert.Config)
    settings = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "type_vocab_size": SEGMENTS,
        **_tower(config),
        **_words(space),
    }
    return settings, in_blocks(config.depth, bert_layout.bert_rules("encoders.text"))


def _tower(config: TowerConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_dim,
        "hidden_act": ACTIVATIONS[config.activation],
        "layer_norm_eps": config.layer_norm_eps,
    }


def _vision(space: Space, config: clip_vit.Config | siglip_vit.Config) -> dict[str, Any]:
    return {**_tower(config), "patch_size": config.patch_size, "image_size": space.processors["image"].spec.size}


def _words(space: Space) -> dict[str, Any]:
    tokenizer: Tokenizer = space.processors["text"]  # type: ignore[assignment]
    first, last = (None if token is None else tokenizer.id_of(token) for token in tokenizer.ends())
    return {
        "vocab_size": tokenizer.spec.vocabulary,
        "max_position_embeddings": tokenizer.length,
        "bos_token_id": first,
        "eos_token_id": last,
        "pad_token_id": last,
    }


def preparation(space: Space) -> dict[str, Any]:
    """How images are prepared, as a processor of transformers reads it."""
    processor: ImageProcessor = space.processors["image"]  # type: ignore[assignment]
    if not isinstance(space.configs["image"], efficientnet.Config):
        if processor.fit == "squash" and processor.before_crop is not None:
            raise UserError("transformers' CLIP cannot describe images that are squashed and then cropped")
        return _preparation(processor, "CLIPImageProcessor")
    if processor.fit != "squash":
        raise UserError("transformers' ALIGN cannot describe images that keep their proportions")
    whole = processor.before_crop or processor.size
    asked = _preparation(processor, "EfficientNetImageProcessor")
    size = {"height": whole, "width": whole}
    return {
        **asked,
        "size": size,
        "do_center_crop": whole != processor.size,
        "include_top": False,
        "rescale_offset": False,
    }


def _preparation(processor: ImageProcessor, kind: str) -> dict[str, Any]:
    crops = processor.fit == "crop"
    if processor.fit == "pad":
        raise UserError("transformers' layout cannot describe images that get white borders")
    square = {"height": processor.size, "width": processor.size}
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"shortest_edge": processor.before_crop or processor.size} if crops else square,
        "resample": RESAMPLES[processor.resample],
        "do_center_crop": crops,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(processor.mean),
        "image_std": list(processor.std),
        "do_convert_rgb": True,
    }
