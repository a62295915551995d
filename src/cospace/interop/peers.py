"""What the library that a model comes from makes of images and texts, through its own preparation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..models.encoders import transformers_image, transformers_text
from ..models.encoders._transformers import as_tokens
from ..models.libraries import library, quiet
from .backbones import default_pooling, positions_of
from .published import Published
from .sentence_transformers import longest_text, lower_case, modules_in
from .weights import read_tensors

Encode = Callable[[Any], Tensor]


@dataclass(frozen=True, slots=True)
class PeerTower:
    """One modality of a peer: ``encode`` takes prepared images ``(B, 3, S, S)``, or texts, and gives ``(B, E)``.

    ``prepare`` takes the file of an image and gives ``(3, S, S)``; it is left open where texts are encoded as they are.
    """

    encode: Encode
    prepare: Callable[[Path], Tensor] | None = None


Peer = Callable[[Published], Mapping[str, PeerTower]]
"""From a published model to what its library makes of each modality."""


def _timm(published: Published) -> Mapping[str, PeerTower]:
    timm = library("timm", "timm")
    name, _, file = published.plan.reference.partition("@")
    settings: dict[str, Any] = {"num_classes": 0, "pretrained": True}
    if published.plan.package:
        settings = {"num_classes": 0}
    elif file:
        settings["pretrained_cfg_overlay"] = {"file": file}
    model: Any = timm.create_model(name, **settings).eval()
    if published.plan.package:
        model.load_state_dict(published.space.encoders["image"].backbone.state_dict())  # type: ignore[union-attr]
    data = library("timm.data", "timm")
    transform = data.create_transform(**data.resolve_model_data_config(model), is_training=False)
    return {"image": PeerTower(model, lambda path: transform(_picture(path)))}


def _transformers(published: Published) -> Mapping[str, PeerTower]:
    transformers, folder = library("transformers", "towers"), published.folder
    # A folder may name Python files of its own (auto_map); left open, the library asks whether to run them.
    with quiet(transformers):
        model: Any = transformers.AutoModel.from_pretrained(folder, trust_remote_code=False).float().eval()
    made: dict[str, PeerTower] = {}
    if "image" in published.space.modalities:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        made["image"] = PeerTower(
            _image_vectors(model, published),
            lambda path: processor(_picture(path), return_tensors="pt")["pixel_values"][0],
        )
    if "text" in published.space.modalities:
        made["text"] = PeerTower(_text_vectors(model, _tokens(transformers, folder, model), folder))
    return made


def _image_vectors(model: Any, published: Published) -> Encode:
    """The library's own projection into a shared space; of a backbone alone, what its makers pool."""
    if hasattr(model, "get_image_features"):
        return lambda images: _vectors(model.get_image_features(pixel_values=images))
    how = published.plan.configs["image"].pooling  # type: ignore[attr-defined]

    def pooled(images: Tensor) -> Tensor:
        made = model(pixel_values=images)
        return transformers_image.pooled(made, as_tokens(made.last_hidden_state), how)

    return pooled


def _text_vectors(model: Any, tokens: Callable[[Sequence[str]], dict[str, Tensor]], folder: Path) -> Encode:
    """Likewise for texts: what sentence-transformers makes of the last states, by the files beside the model."""
    if hasattr(model, "get_text_features"):
        return lambda texts: _vectors(model.get_text_features(**tokens(texts)))
    modules = modules_in(folder, default_pooling(model))

    def pooled(texts: Sequence[str]) -> Tensor:
        inputs = tokens(texts)
        made, mask_BT = model(**inputs), inputs["attention_mask"].bool()
        vectors_BD = transformers_text.pooled(made, made.last_hidden_state, mask_BT, modules.pooling)
        for settings, weights in zip(modules.dense, modules.tensors, strict=True):
            layer = transformers_text.DenseLayer(vectors_BD.shape[-1], settings)
            layer.load_state_dict(weights)
            vectors_BD = layer(vectors_BD)
        return vectors_BD

    return pooled


def _tokens(transformers: Any, folder: Path, model: Any) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    """The model's inputs from texts, as its own tokenizer makes them."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    filled = model.config.model_type == "siglip"
    if hasattr(model, "get_text_features"):
        length = min(model.config.text_config.max_position_embeddings, tokenizer.model_max_length)
    else:
        length = min(positions_of(model), longest_text(folder))

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        padding = "max_length" if filled else True
        given = [text.lower() for text in texts] if lower_case(folder) else list(texts)
        inputs = tokenizer(given, padding=padding, truncation=True, max_length=length, return_tensors="pt")
        return {key: inputs[key] for key in inputs if key in ("input_ids", *([] if filled else ["attention_mask"]))}

    return tokens


def _vectors(made: Any) -> Tensor:
    """The vectors of an output, which transformers 5 wraps."""
    vectors: Tensor = made if isinstance(made, Tensor) else made.pooler_output
    return vectors


def _openclip(published: Published) -> Mapping[str, PeerTower]:
    open_clip = library("open_clip", "towers")
    name = f"local-dir:{published.folder.resolve()}"
    model: Any = open_clip.create_model(name).eval()
    tokenizer: Any = open_clip.get_tokenizer(name)
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg), is_train=False
    )
    return {
        "image": PeerTower(model.encode_image, lambda path: transform(_picture(path, convert=False))),
        "text": PeerTower(lambda texts: model.encode_text(tokenizer(list(texts)))),
    }


def _openai(published: Published) -> Mapping[str, PeerTower]:
    open_clip = library("open_clip", "towers")
    model: Any = open_clip.model.build_model_from_openai_state_dict(read_tensors(published.folder)).float().eval()
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(size=model.visual.image_size), is_train=False
    )
    return {
        "image": PeerTower(model.encode_image, lambda path: transform(_picture(path, convert=False))),
        "text": PeerTower(lambda texts: model.encode_text(tokenizer(list(texts)))),
    }


def _picture(path: Path, convert: bool = True) -> Image.Image:
    """An image as the libraries' manuals open it."""
    with Image.open(path) as image:
        image.load()
        return image.convert("RGB") if convert else image


PEERS: dict[str, Peer] = {"timm": _timm, "transformers": _transformers, "OpenCLIP": _openclip, "OpenAI": _openai}
"""The library behind a layout."""
