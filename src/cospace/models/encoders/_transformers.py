"""Models of the library transformers as encoders: built from plain settings, never from a folder, a hub or its code.

The settings are those of a ``config.json``. Whoever wrote a run's folder wrote them, so everything that would make the
library fetch something or run code that is not its own is left out before they reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, JsonValue, field_validator
from torch import Tensor, nn

from ...config import PartConfig
from ...types import UserError
from ..libraries import first_line, library

LEFT_OUT = {
    "architectures", "attn_implementation", "auto_map", "custom_pipelines", "dtype", "experts_implementation",
    "finetuning_task", "id2label", "label2id", "num_labels", "problem_type", "pruned_heads", "task_specific_params",
    "torch_dtype", "transformers_version",
}  # fmt: skip
"""Settings for other tasks, of other programs, or that name code to run; so are all that begin with an underscore."""

REFUSED = ("quantization_config", "use_timm_backbone", "use_pretrained_backbone", "backbone")
"""Settings that make a model of other files than its own weights."""


def kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that describe an architecture, nested ones too."""
    return {
        key: kept(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in LEFT_OUT and not key.startswith("_")
    }


class BackboneConfig(PartConfig):
    """An architecture of transformers."""

    any_size: ClassVar[bool] = False
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The model's settings as in its ``config.json``; ``model_type`` names its architecture."""

    @field_validator("config")
    @classmethod
    def _only_an_architecture(cls, given: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if not isinstance(given.get("model_type"), str):
            raise ValueError("model_type is missing, the name of an architecture in transformers")
        if wrong := [name for name in REFUSED if given.get(name)]:
            raise ValueError(f"{wrong[0]} needs other files than the model's weights")
        return kept(given)


def settings_of(config: Mapping[str, Any]) -> Any:
    """The library's own settings object for a ``config.json``. Raises :class:`UserError` for what it does not know."""
    transformers = library("transformers", "towers")
    named = {key: value for key, value in kept(config).items() if key != "model_type"}
    try:
        return transformers.AutoConfig.for_model(config["model_type"], **named)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"transformers {transformers.__version__} has no model for these settings of {config['model_type']!r} "
            f"({first_line(error)[:200]}); models that bring code of their own are not run"
        ) from error


def built(settings: Any, reads: str) -> Any:
    """A model with random weights, in float32. Raises :class:`UserError` for one that does not read ``reads``.

    ``reads`` is its main input, ``pixel_values`` or ``input_ids``. A model with an encoder and a decoder is none.
    """
    transformers = library("transformers", "towers")
    try:
        model = transformers.AutoModel.from_config(settings, trust_remote_code=False, dtype=torch.float32)
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise UserError(f"transformers cannot build {settings.model_type!r}: {first_line(error)[:200]}") from error
    if model.main_input_name != reads or settings.is_encoder_decoder:
        takes = "images" if reads == "pixel_values" else "texts"
        raise UserError(f"{settings.model_type!r} is no encoder of {takes} in transformers")
    return model


def has_own_pooler(model: nn.Module) -> bool:
    """Whether weights of a model's own lead from its last states to one vector."""
    return any(part == "pooler" for name, _ in model.named_parameters() for part in name.split("."))


def without_pooler(model: Any) -> None:
    """Take the pooler out where it has weights, which would never be read nor learned."""
    if isinstance(getattr(model, "pooler", None), nn.Module) and has_own_pooler(model):
        model.pooler = None


@torch.no_grad()
def tried(encoder: nn.Module, inputs: Any, what: str) -> tuple[int, int]:
    """Widths of what a new encoder pools and of its tokens, from one small batch of its inputs.

    Raises :class:`UserError` where it cannot read it.
    """
    encoder.eval()
    try:
        features = encoder(inputs)
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        raise UserError(f"{what} cannot be read by this architecture: {first_line(error)[:200]}") from error
    encoder.train()
    return features.pooled_BD.shape[-1], features.tokens_BTD.shape[-1]


def as_tokens(states: Tensor) -> Tensor:
    """A grid ``(B, D, H, W)`` as a sequence ``(B, T, D)``; a sequence as it is."""
    return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states
