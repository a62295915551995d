"""ALIGN (Jia et al. 2021) as transformers writes it: an EfficientNet, a BERT, and images prepared for the former.

Names are those of ``AlignModel`` in transformers 5; a setting that ``config.json`` leaves out has the value that this
class gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import validate
from ..modalities.image.processing import ImageProcessor
from ..models.encoders import bert, efficientnet
from ..types import UserError
from .bert import bert_rules
from .huggingface import IGNORED, RESAMPLES, preparation_in, tower_settings
from .published import ConversionPlan
from .renames import Rule, affine, convolved, in_blocks
from .vocabulary import longest_in, tokenizer_in

UNUSED = ("*.position_ids", "*.token_type_ids", "text_model.pooler.*")
"""Numbers that count places, and a map that ALIGN's texts do not go through."""

SAME_NAMES = (
    "out_channels", "num_block_repeats", "kernel_sizes", "strides", "expand_ratios", "depthwise_padding",
    "width_coefficient", "depth_coefficient", "depth_divisor", "squeeze_expansion_ratio", "batch_norm_eps",
    "drop_connect_rate",
)  # fmt: skip
"""Settings of an EfficientNet that have the same names and defaults on both sides."""

PROCESSORS = {"EfficientNetImageProcessor", "EfficientNetImageProcessorFast", "EfficientNetImageProcessorPil"}
"""Who may prepare the images: all do the same."""


def plan(folder: Path, settings: Mapping[str, Any]) -> ConversionPlan:
    """How to read a folder of an ALIGN; cosines are divided by its temperature."""
    width = int(settings.get("projection_dim", 640))
    text = settings.get("text_config") or {}
    image = image_config(settings.get("vision_config") or {}, folder / "config.json")
    words = bert.Config(
        pooling="cls", projection_dim=width, **tower_settings(text, (768, 12, 12, 3072), "gelu", 1e-12, folder)
    )
    length = min(
        int(text.get("max_position_embeddings", 512)), longest_in(folder / "tokenizer_config.json", "model_max_length")
    )
    return ConversionPlan(
        family="ALIGN",
        layout="transformers",
        configs={"image": image, "text": words},
        processors={"image": image_processor(folder), "text": tokenizer_in(folder, length)},
        width=width,
        rules=[*image_rules(image), *text_rules(words.depth)],
        ignored=(*IGNORED, *UNUSED),
        scale="temperature",
        divides=True,
    )


def image_config(settings: Mapping[str, Any], path: Path) -> efficientnet.Config:
    """The image tower. Their momentum is not taken over: what it names is one minus torch's."""
    channels = list(settings.get("out_channels", efficientnet.Config().out_channels))
    before = list(settings.get("in_channels", (32, 16, 24, 40, 80, 112, 192)))
    known = (
        before == [32, *channels[:-1]]
        and settings.get("hidden_act", "swish") in ("swish", "silu")
        and settings.get("pooling_type", "mean") == "mean"
    )
    if not known:
        raise UserError(f"{path} describes an EfficientNet that is not read here: {dict(settings)}")
    given = {name: settings[name] for name in SAME_NAMES if name in settings}
    return validate(efficientnet.Config, {"in_space": True, **given}, where=f"{path}: vision_config")


def image_processor(folder: Path) -> ImageProcessor:
    """What ``preprocessor_config.json`` asks of an ``EfficientNetImageProcessor``: squash, cut out the middle, scale.

    Pixels ``x`` of 0 to 255 become ``a x + b`` in up to four steps; we write that as ``(x / 255 - mean) / std``.
    """
    path, asked = preparation_in(folder)
    whole = _side(asked.get("size", 346))
    side = _side(asked.get("crop_size", 289)) if asked.get("do_center_crop", False) else whole
    resample = asked.get("resample", 3)
    known = (
        asked.get("image_processor_type", "EfficientNetImageProcessor") in PROCESSORS
        and asked.get("do_resize", True)
        and asked.get("do_rescale", True)
        and resample in RESAMPLES
    )
    if not known or whole is None or side is None or side > whole:
        raise UserError(f"{path} asks for steps that are not known here: {asked}")
    mean, std = _affine(asked)
    before_crop = whole if side != whole else None
    steps = {"size": side, "before_crop": before_crop, "resample": RESAMPLES[resample], "mean": mean, "std": std}
    steps |= {"to_rgb": "convert", "follows": "transformers"}
    return validate(ImageProcessor, steps, where=str(path))


def _side(given: Any) -> int | None:
    """The side of a square, or nothing for what is none."""
    if isinstance(given, Mapping):
        given = given.get("height") if given.get("height") == given.get("width") else None
    return None if given is None else int(given)


def _affine(asked: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation a channel that have the effect of all steps together."""
    means, stds = (asked.get(key, [0.5] * 3) for key in ("image_mean", "image_std"))
    made = []
    for mean, std in zip(means, stds, strict=True):
        factor, term = float(asked.get("rescale_factor", 1 / 255)), -1.0 if asked.get("rescale_offset") else 0.0
        if asked.get("do_normalize", True):
            factor, term = factor / std, (term - mean) / std
        if asked.get("include_top", True):
            factor, term = factor / std, term / std
        made.append((-term / (255 * factor), 1 / (255 * factor)))
    return [mean for mean, _ in made], [std for _, std in made]


def image_rules(config: efficientnet.Config) -> list[Rule]:
    """The image tower; blocks whose middle is as wide as their input have nothing that widens."""
    tower = "vision_model"
    rules = convolved("encoders.image.stem", f"{tower}.embeddings.convolution", f"{tower}.embeddings.batchnorm")
    for number, shape in enumerate(config.shapes()):
        ours, theirs = f"encoders.image.blocks.{number}", f"{tower}.encoder.blocks.{number}"
        if shape.middle != shape.before:
            rules += convolved(f"{ours}.widen", f"{theirs}.expansion.expand_conv", f"{theirs}.expansion.expand_bn")
        filters, narrows = f"{theirs}.depthwise_conv.depthwise", f"{theirs}.projection.project"
        rules += [
            *convolved(f"{ours}.filter", f"{filters}_conv", f"{filters}_norm"),
            *affine(f"{ours}.se_reduce", f"{theirs}.squeeze_excite.reduce"),
            *affine(f"{ours}.se_expand", f"{theirs}.squeeze_excite.expand"),
            *convolved(f"{ours}.narrow", f"{narrows}_conv", f"{narrows}_bn"),
        ]
    return rules


def text_rules(depth: int) -> list[Rule]:
    """The text tower, whose first state goes through a linear map into the space."""
    head = affine("encoders.text.head", "text_projection")
    return [*in_blocks(depth, bert_rules("encoders.text", "text_model.")), *head]
