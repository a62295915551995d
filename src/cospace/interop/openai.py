"""The first CLIP's own files: one table of tensors without settings, whose shapes and three numbers say the rest.

OpenAI's archives hold code beside the tensors, which is never run: what is read here are their tensors, saved alone (as
safetensors, or by ``torch.save`` of the ``state_dict``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..types import UserError
from . import openclip
from .published import ConversionPlan

MARKS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that only OpenAI's own tables hold; weights of other programs may have another activation."""


def plan(path: Path, tensors: Mapping[str, Tensor]) -> ConversionPlan:
    """How to read one file of OpenAI's."""
    lacking = [mark for mark in MARKS if mark not in tensors]
    if lacking:
        raise UserError(
            f"{path} is a file without settings and not OpenAI's own ({lacking[0]} is missing), so its activation is "
            f"unknown; give the folder that it lies in, with {openclip.CONFIG} or config.json"
        )
    settings = {"model_cfg": settings_of(tensors, path)}
    made = openclip.planned(settings, path.parent, path)
    return replace(made, layout="OpenAI", ignored=(*made.ignored, *MARKS))


def settings_of(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """What OpenCLIP would write into its settings; CLIP's own towers have heads of 64 and QuickGELU."""
    try:
        width = int(tensors["ln_final.weight"].shape[0])
        return {
            "embed_dim": int(tensors["text_projection"].shape[1]),
            "quick_gelu": True,
            "vision_cfg": _transformer(tensors) if "visual.proj" in tensors else _resnet(tensors),
            "text_cfg": {
                "context_length": int(tensors["positional_embedding"].shape[0]),
                "vocab_size": int(tensors["token_embedding.weight"].shape[0]),
                "width": width,
                "heads": width // 64,
                "layers": _count(tensors, r"transformer\.resblocks\.(\d+)\."),
            },
        }
    except KeyError as error:
        raise UserError(f"{path} lacks {error.args[0]}; it is no CLIP, or was cut") from error


def _transformer(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    kernel, positions = tensors["visual.conv1.weight"], tensors["visual.positional_embedding"]
    patch = int(kernel.shape[-1])
    return {
        "image_size": patch * round((len(positions) - 1) ** 0.5),
        "patch_size": patch,
        "width": int(kernel.shape[0]),
        "layers": _count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
    }


def _resnet(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    positions = tensors["visual.attnpool.positional_embedding"]
    return {
        "image_size": 32 * round((len(positions) - 1) ** 0.5),
        "patch_size": None,
        "width": int(tensors["visual.layer1.0.conv1.weight"].shape[0]),
        "layers": [_count(tensors, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)],
    }


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the names that match hold."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})
