"""Any image backbone or text encoder of transformers, through the library's own classes.

For architectures that cospace has no reading of its own of. The library reads the weights, as for anybody else; what it
would make up in silence (a tensor that is missing) or leave out is one sentence here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config import validate
from ..modalities.text.tokenizer import Manner, Tokenizer
from ..models.encoders import transformers_image, transformers_text
from ..models.encoders._transformers import has_own_pooler, kept, settings_of
from ..models.libraries import first_line, library, quiet
from ..reading import read_object
from ..types import UserError
from .preparation import image_processor
from .published import ConversionPlan, Published
from .published import built as filled
from .renames import Rule
from .sentence_transformers import longest_text, lower_case, modules_in
from .vocabulary import tokenizer_in

TWO_SIDED = ("align", "clip", "siglip")
"""Types with an image and a text side that cospace has towers of its own for."""

PAIRED = ("clip_text_model", "siglip_text_model", "chinese_clip_text_model")
"""Text encoders that were trained by what their own pooler gives."""

FIRST = ("cls_token", "class_embedding")
"""Endings of the names of what stands first in a sequence of patches and is there to be pooled."""


def read(folder: Path) -> Published:
    """The space of one modality in a folder that transformers wrote.

    Raises :class:`UserError` where the library has no such architecture, or its weights are not all there.
    """
    path = folder / "config.json"
    settings = settings_of(read_object(path))
    if settings.sub_configs and hasattr(settings, "text_config"):
        raise UserError(
            f"{path} describes {settings.model_type!r}, a model of several modalities that is not read; its image or "
            f"text encoder alone is, saved as a folder of its own; of both sides these are read: {', '.join(TWO_SIDED)}"
        )
    model, lacking = pretrained(folder, settings)
    if model.main_input_name == "pixel_values":
        return _image(folder, model, lacking)
    if model.main_input_name == "input_ids" and not model.config.is_encoder_decoder:
        return _text(folder, model, lacking)
    raise UserError(
        f"{folder / 'config.json'} describes {settings.model_type!r}, which encodes neither images nor texts"
    )


def pretrained(folder: Path, settings: Any) -> tuple[Any, list[str]]:
    """The library's model with the folder's weights in float32, and the names of its own that the folder lacks."""
    transformers = library("transformers", "towers")
    try:
        with quiet(transformers):
            model, found = transformers.AutoModel.from_pretrained(
                folder, config=settings, trust_remote_code=False, local_files_only=True, dtype="float32",
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise UserError(f"transformers cannot read {folder}: {first_line(error)[:200]}") from error
    if mismatched := found.get("mismatched_keys"):
        raise UserError(f"{folder} holds {sorted(map(str, mismatched))[0]} of another shape than its settings ask for")
    return model.eval(), sorted(found["missing_keys"])


def _without_lacking(folder: Path, model: Any, lacking: list[str], pooling: str) -> None:
    """Refuse a folder that lacks weights which count: those of a pooler do not where another pooling is taken."""
    missing = [name for name in lacking if pooling == "pooler" or "pooler" not in name.split(".")]
    if missing:
        raise UserError(f"{folder} lacks {missing[0]}; it is not the architecture that its settings say, or was cut")


def _image(folder: Path, model: nn.Module, lacking: list[str]) -> Published:
    pooling = image_pooling(model, lacking)
    _without_lacking(folder, model, lacking, pooling)
    processor = image_processor(folder)
    config = validate(transformers_image.Config, {"config": plain(model), "pooling": pooling}, where=str(folder))
    return _filled(folder, "image", config, processor, _tensors(model, pooling))


def image_pooling(model: Any, lacking: list[str]) -> transformers_image.Pooling:
    """How the model's makers take one vector of an image.

    By the model's own pooler, where it has one and its weights are there; otherwise as the library's classifiers do: by
    the first token, or by the mean where there is none.
    """
    trained = not any("pooler" in name.split(".") for name in lacking)
    size = getattr(model.config, "image_size", 224)
    if trained and "pooler_output" in _outputs(model, size if isinstance(size, int) else size[0]):
        return "pooler"
    return "cls" if any(name.endswith(FIRST) for name, _ in model.named_parameters()) else "mean"


def _outputs(model: Any, size: int) -> set[str]:
    """Names of what a model gives for an image, those that are nothing left out."""
    import torch

    with torch.inference_mode():
        made = model(pixel_values=torch.zeros(1, 3, size, size))
    return {name for name, value in made.items() if value is not None}


def _text(folder: Path, model: Any, lacking: list[str]) -> Published:
    modules = modules_in(folder, default_pooling(model))
    _without_lacking(folder, model, lacking, modules.pooling)
    length = min(positions_of(model), longest_text(folder))
    tokenizer = tokenizer_in(folder, length, Manner(lower=lower_case(folder)))
    _check_vocabulary(folder, tokenizer, model)
    config = validate(
        transformers_text.Config,
        {"config": plain(model), "pooling": modules.pooling, "dense": modules.dense},
        where=str(folder),
    )
    tensors = _tensors(model, modules.pooling)
    for place, weights in enumerate(modules.tensors):
        tensors |= {f"dense.{place}.{name}": tensor for name, tensor in weights.items()}
    return _filled(folder, "text", config, tokenizer, tensors)


def default_pooling(model: Any) -> transformers_text.Pooling:
    """What stands for a text where no file says it: the text side of a CLIP or a SigLIP pools by itself."""
    return "pooler" if model.config.model_type in PAIRED else "mean"


def _check_vocabulary(folder: Path, tokenizer: Tokenizer, model: Any) -> None:
    known = model.get_input_embeddings().num_embeddings
    if tokenizer.spec.vocabulary > known:
        raise UserError(
            f"{folder} has a tokenizer of {tokenizer.spec.vocabulary} entries and a model of {known}; save the model "
            "together with its own tokenizer"
        )


def positions_of(model: Any) -> int:
    """How many tokens a text may have; in RoBERTa's kin the first positions are for padding."""
    count = getattr(model.config, "max_position_embeddings", None)
    tables = [
        module
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    if tables and tables[0].padding_idx is not None:
        return int(tables[0].num_embeddings - tables[0].padding_idx - 1)
    return int(count) if isinstance(count, int) and count > 0 else 1_000_000


def plain(model: Any) -> dict[str, Any]:
    """All settings of a model as JSON data, defaults too: another version of the library may have others."""
    return {"model_type": model.config.model_type, **kept(model.config.to_dict())}


def _tensors(model: nn.Module, pooling: str) -> dict[str, Tensor]:
    """The weights under the names that they have in an encoder."""
    own = has_own_pooler(model) and pooling != "pooler"
    return {
        f"backbone.{name}": tensor
        for name, tensor in model.state_dict().items()
        if not (own and name.startswith("pooler."))
    }


def _filled(folder: Path, modality: str, config: Any, processor: Any, tensors: Mapping[str, Tensor]) -> Published:
    """The space of one encoder with its weights."""
    width = config.build(processor.spec).width
    plan = ConversionPlan(
        family=config.config["model_type"],
        layout="transformers",
        configs={modality: config},
        processors={modality: processor},
        width=width,
        rules=[Rule(f"encoders.{modality}.{name}", (name,)) for name in tensors],
    )
    return filled(plan, tensors, str(folder), folder)
