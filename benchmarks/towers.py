"""Two towers of one size, as each side describes them, and how much arithmetic they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.space import Space
from cospace.runs.settings import RunConfig, resolve
from cospace.runtime import device
from cospace.types import TextSpec

VOCABULARY, CONTEXT = 49_408, 77
"""CLIP's. Ours gets an embedding table of the same size, though its own tokenizer would need a smaller one."""


@dataclass(frozen=True, slots=True)
class Size:
    """Transformers for images (square, of ``pixels``) and texts, and the dimensions of the space they share.

    Heads are 64 wide on both sides.
    """

    name: str
    pixels: int
    patch: int
    image: tuple[int, int]
    """Width and depth of the image tower."""
    text: tuple[int, int]
    """Width and depth of the text tower."""
    space: int

    def image_flops(self) -> float:
        """Floating-point operations of one image forward, two a multiplication with its addition."""
        tokens = (self.pixels // self.patch) ** 2
        return 2 * 3 * self.patch**2 * self.image[0] * tokens + blocks_flops(*self.image, tokens)

    def text_flops(self, tokens: float) -> float:
        """The same of one text of so many tokens."""
        return blocks_flops(*self.text, tokens)


VIT_B32 = Size("ViT-B/32", 224, 32, (768, 12), (512, 12), 512)
SMALL = Size("ViT-6x192/8", 64, 8, (192, 6), (192, 4), 256)
TINY = Size("ViT-2x64/16", 32, 16, (64, 2), (64, 2), 32)
SIZES = {"b32": VIT_B32, "small": SMALL, "tiny": TINY}


def blocks_flops(width: int, depth: int, tokens: float) -> float:
    """Projections and MLP (24 D^2 a token) and attention (4 T D a token) of ``depth`` transformer blocks."""
    return depth * tokens * (24 * width**2 + 4 * tokens * width)


def settings(size: Size, overrides: Sequence[str] = ()) -> RunConfig:
    """The recipe ``clip`` at this size with every patch kept, so that both sides compute the same tokens."""
    image = {"patch_size": size.patch, "width": size.image[0], "depth": size.image[1], "heads": size.image[0] // 64}
    text = {"width": size.text[0], "depth": size.text[1], "heads": size.text[0] // 64}
    sizes = [f"encoders.image.{key}={value}" for key, value in {**image, "patch_dropout": 0.0}.items()]
    sizes += [f"encoders.text.{key}={value}" for key, value in text.items()]
    sizes += [f"embed_dim={size.space}", f"data.image.size={size.pixels}", f"data.text.max_length={CONTEXT}"]
    return resolve("clip", [*sizes, *overrides])


def space(chosen: RunConfig, captions: Sequence[str]) -> Space:
    """A space with random weights for these settings; its tokenizer is learned from ``captions``.

    It is on the machine's device. Images are fitted as the peers do it, by their shorter side and a crop. Maps that
    start at zero get small random weights: a trained network has no zeros, and nobody should wonder whether they are
    faster.
    """
    tokenizer = Tokenizer.train(captions, length=CONTEXT)
    image = ImageProcessor(size=chosen.data.image.size or 0, fit="crop")
    configs: dict[str, Any] = dict(chosen.encoder_parts())
    encoders = {
        "image": configs["image"].build(image.spec),
        "text": configs["text"].build(TextSpec(VOCABULARY, CONTEXT)),
    }
    built = Space(encoders, configs, {"image": image, "text": tokenizer}, chosen.embed_dim)
    fill_zeros(built)
    return built.to(device())


def fill_zeros(module: nn.Module) -> None:
    """Small random weights where all are zero."""
    for parameter in module.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.02)


def model_config(size: Size) -> dict[str, Any]:
    """The same as OpenCLIP's JSON describes a model."""
    return {
        "embed_dim": size.space,
        "vision_cfg": {
            "image_size": size.pixels,
            "layers": size.image[1],
            "width": size.image[0],
            "patch_size": size.patch,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": VOCABULARY,
            "width": size.text[0],
            "heads": size.text[0] // 64,
            "layers": size.text[1],
        },
    }
