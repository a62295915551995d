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
from ..encoders import bert, clip_resnet, clip_text, clip_vit, efficientnet, siglip_text, siglip_vit
from ..encoders._published import TowerConfig
from ..preprocess import ImagePreparer
from ..space import Space
from ..tensors import writer
from ..tokens import Tokenizer
from ..types import UserError
from . import align, huggingface, openclip, resnet
from . import bert as bert_layout
from .renames import SEGMENTS, Rule, in_blocks, renamed

RESAMPLES = {name: number for number, name in huggingface.RESAMPLES.items()}
ACTIVATIONS = {ours: theirs for theirs, ours in huggingface.ACTIVATIONS.items()}


@dataclass(frozen=True, slots=True)
class Judged:
    """The numbers that turn a cosine into a logit: ``scale * cosine + bias``."""

    scale: float = 100.0
    bias: float = 0.0


def transformers_folder(space: Space, judged: Judged) -> dict[str, files.Content]:
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
        tensors["temperature"] = torch.tensor(1 / judged.scale)
    elif "image" in space.modalities:
        tensors["logit_scale"] = torch.tensor(math.log(judged.scale))
    if kinds.get("text") is siglip_text.Config:
        tensors = {**tensors, "logit_scale": torch.tensor([math.log(judged.scale)])}
        tensors["logit_bias"] = torch.tensor([judged.bias])
    content: dict[str, files.Content] = {
        "config.json": files.as_json(settings),
        "model.safetensors": writer(tensors),
        **tokenizer_files(space),
    }
    if "image" in space.modalities:
        content["preprocessor_config.json"] = files.as_json(preparation(space))
    return content


def openclip_folder(space: Space, judged: Judged) -> dict[str, files.Content]:
    """Files of a folder that ``open_clip.create_model("local-dir:...")`` loads."""
    image, text = space.configs.get("image"), space.configs.get("text")
    if not (isinstance(image, clip_vit.Config | clip_resnet.Config) and isinstance(text, clip_text.Config)):
        raise _unknown(space, "OpenCLIP")
    preparer: ImagePreparer = space.preparers["image"]  # type: ignore[assignment]
    fits = {ours: theirs for theirs, ours in openclip.FITS.items()}
    tower, rules = _openclip_image(image, text)
    if tower is None or text.activation not in ("gelu", "quick_gelu") or text.eps != 1e-5 or preparer.fit not in fits:
        raise UserError("OpenCLIP's layout has no words for these towers' activations, norms, strides or preparation")
    if preparer.before_crop is not None:
        raise UserError("OpenCLIP's layout has no words for pictures that are resized to more than they are cropped to")
    spec = space.preparers["text"].spec
    settings = {
        "embed_dim": space.width,
        "quick_gelu": text.activation == "quick_gelu",
        "vision_cfg": {"image_size": preparer.size, **tower},
        "text_cfg": {
            "context_length": spec.length, "vocab_size": spec.vocabulary, "width": text.width, "heads": text.heads,
            "layers": text.depth, "mlp_ratio": text.hidden / text.width, "hf_tokenizer_name": "cospace",
        },
    }  # fmt: skip
    preparation = {
        "mean": list(preparer.mean), "std": list(preparer.std), "interpolation": preparer.resample,
        "resize_mode": fits[preparer.fit],
    }  # fmt: skip
    tensors = {
        **renamed(space, [*rules, *openclip.text_rules(text.depth)]),
        "logit_scale": torch.tensor(math.log(judged.scale)),
    }
    return {
        openclip.CONFIG: files.as_json({"model_cfg": settings, "preprocess_cfg": preparation}),
        "open_clip_model.safetensors": writer(tensors),
        **tokenizer_files(space),
    }


def _openclip_image(
    image: clip_vit.Config | clip_resnet.Config, text: clip_text.Config
) -> tuple[dict[str, Any] | None, list[Rule]]:
    """The settings of a picture tower, or nothing where OpenCLIP has no words for it, and its rules."""
    if isinstance(image, clip_resnet.Config):
        settings = {
            "layers": list(image.depths), "width": image.width, "patch_size": None,
            "head_width": 32 * image.width // image.heads,
        }  # fmt: skip
        known = image.strides == clip_resnet.Config().strides
        return settings if known else None, resnet.image_rules(image.depths)
    settings = {
        "layers": image.depth, "width": image.width, "patch_size": image.patch,
        "head_width": image.width // image.heads, "mlp_ratio": image.hidden / image.width,
    }  # fmt: skip
    same = (image.activation, image.eps) == (text.activation, text.eps)
    return settings if same else None, openclip.image_rules(image.depth)


def tokenizer_files(space: Space) -> dict[str, files.Content]:
    """The text tower's tokenizer as ``AutoTokenizer`` reads it."""
    tokenizer: Tokenizer = space.preparers["text"]  # type: ignore[assignment]
    first, last = tokenizer.ends()
    filler = getattr(space.configs["text"], "filler", None)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.length,
        "eos_token": last,
        "pad_token": last if filler is None else tokenizer.entry(filler),
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
        "text_config": {**_tower(text), **_words(space), "projection_size": space.width, "pad_token_id": text.filler},
    }
    return settings, [*huggingface.siglip_image_rules(image.depth), *huggingface.siglip_text_rules(text.depth)]


def _align(space: Space) -> tuple[dict[str, Any], list[Rule]]:
    image, text = space.configs["image"], space.configs["text"]
    assert isinstance(image, efficientnet.Config)
    assert isinstance(text, bert.Config)
    if not (image.in_space and image.stem == efficientnet.Config().stem and text.pool == "first" and text.space):
        raise UserError("transformers' ALIGN ends in the mean over its last grid, and in its text's first token")
    given = image.model_dump(mode="json")
    vision = {theirs: given[ours] for ours, theirs in align.NAMES.items()}
    settings = {
        "model_type": "align",
        "architectures": ["AlignModel"],
        "projection_dim": space.width,
        "vision_config": {
            **vision,
            "in_channels": [image.stem, *image.channels[:-1]],
            "image_size": space.preparers["image"].spec.size,
            "hidden_dim": space.width,
            "num_hidden_layers": 4 * sum(image.repeats),
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
        "intermediate_size": config.hidden,
        "hidden_act": ACTIVATIONS[config.activation],
        "layer_norm_eps": config.eps,
    }


def _vision(space: Space, config: clip_vit.Config | siglip_vit.Config) -> dict[str, Any]:
    return {**_tower(config), "patch_size": config.patch, "image_size": space.preparers["image"].spec.size}


def _words(space: Space) -> dict[str, Any]:
    tokenizer: Tokenizer = space.preparers["text"]  # type: ignore[assignment]
    first, last = (None if token is None else tokenizer.id_of(token) for token in tokenizer.ends())
    return {
        "vocab_size": tokenizer.spec.vocabulary,
        "max_position_embeddings": tokenizer.length,
        "bos_token_id": first,
        "eos_token_id": last,
        "pad_token_id": last,
    }


def preparation(space: Space) -> dict[str, Any]:
    """How pictures are prepared, as a processor of transformers reads it."""
    preparer: ImagePreparer = space.preparers["image"]  # type: ignore[assignment]
    if not isinstance(space.configs["image"], efficientnet.Config):
        if preparer.fit == "squash" and preparer.before_crop is not None:
            raise UserError("transformers' CLIP has no words for pictures that are squashed and then cropped")
        return _preparation(preparer, "CLIPImageProcessor")
    if preparer.fit != "squash":
        raise UserError("transformers' ALIGN has no words for pictures that keep their proportions")
    whole = preparer.before_crop or preparer.size
    asked = _preparation(preparer, "EfficientNetImageProcessor")
    size = {"height": whole, "width": whole}
    return {
        **asked,
        "size": size,
        "do_center_crop": whole != preparer.size,
        "include_top": False,
        "rescale_offset": False,
    }


def _preparation(preparer: ImagePreparer, processor: str) -> dict[str, Any]:
    crops = preparer.fit == "crop"
    if preparer.fit == "pad":
        raise UserError("transformers' layout has no words for pictures that get white borders")
    square = {"height": preparer.size, "width": preparer.size}
    return {
        "image_processor_type": processor,
        "do_resize": True,
        "size": {"shortest_edge": preparer.before_crop or preparer.size} if crops else square,
        "resample": RESAMPLES[preparer.resample],
        "do_center_crop": crops,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preparer.mean),
        "image_std": list(preparer.std),
        "do_convert_rgb": True,
    }
