"""The same images and texts through the library that a model comes from, and how far its vectors are from ours."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ..models.layers import masked_mean
from ..models.space import Space
from ..types import UserError
from .bert import pooling
from .published import Published
from .weights import read_tensors

LARGEST = 1e-4
"""Largest difference of a number of a unit vector, float32 on both sides, that is taken for rounding."""

LARGEST_OF_FILES = 5e-3
"""The same where either side decodes JPEG files by itself: 1e-6 where both carry one libjpeg, while builds of Pillow
with another may differ by a level here and there. Another filter or crop differs by more."""

TEXTS = (
    "a photo of a cat",
    "two red buses at night, seen from above",
    "Caf\u00e9 & cr\u00eape: 25% off!",
    "don't look; it's 12:30",
    "one two three four five six seven eight nine ten " * 12,
)
"""Short and long, with signs, capitals, digits and letters that are not ASCII; the last exceeds every context."""


def images(size: int, count: int = 3) -> list[np.ndarray]:
    """Images that cannot be mistaken for one another, ``uint8`` ``(size, size, 3)``: waves of several lengths."""
    place = np.arange(size) / size
    wave = np.stack([np.sin(2 * np.pi * (k + 1) * place[:, None] * place[None] + k) for k in range(3 * count)])
    levels = (127.5 + 127 * wave).astype(np.uint8).reshape(count, 3, size, size).transpose(0, 2, 3, 1)
    return [np.ascontiguousarray(one) for one in levels]


def photographs(size: int, folder: Path) -> list[Path]:
    """JPEG files in which every step of a preparation shows: waves with grain, wide, high and square, odd and even."""
    dice, made = np.random.default_rng(0), []
    for number, (height, width) in enumerate(((2 * size + 3, 3 * size + 2), (5 * size, 3 * size - 2), (4 * size,) * 2)):
        waves = Image.fromarray(images(max(height, width), number + 1)[number]).crop((0, 0, width, height))
        grain = dice.normal(0, 16, (height, width, 3))
        path = folder / f"{number}.jpg"
        Image.fromarray((np.asarray(waves) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        made.append(path)
    return made


@dataclass(frozen=True, slots=True)
class Compared:
    """Largest absolute difference between unit vectors, by modality; or why nothing was compared.

    Those of images are of JPEG files, which either side decodes and prepares by itself, where that was asked for.
    """

    peer: str
    differences: dict[str, float]
    left_out: str = ""

    def sentence(self) -> str:
        """For people."""
        if self.left_out:
            return f"not compared with {self.peer}: {self.left_out}"
        worst = ", ".join(f"{name} {difference:.1e}" for name, difference in self.differences.items())
        return f"largest difference to {self.peer}: {worst}"


Encode = Callable[[Any], Tensor]
Peer = Callable[[Path], Mapping[str, Encode]]
"""From a folder to what a library makes of prepared images, or of texts, by modality, and under :data:`FILES` what it
makes of image files before."""

FILES = "image files"


def compare(published: Published, space: Space | None = None) -> Compared:
    """Run both sides, ours with ``space`` if it is given and otherwise with what was read.

    What was read is compared from JPEG files on, since it follows its library; what a space of ours was written as,
    from prepared images on. Raises :class:`UserError` where they differ by more than :data:`LARGEST`, or files by more
    than :data:`LARGEST_OF_FILES`.
    """
    layout, follows, space = published.plan.layout, space is None, space or published.space
    try:
        encoders = PEERS[layout](published.folder)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("transformers", "open_clip"):
            return Compared(layout, {}, "it is not installed here")
        return Compared(layout, {}, f"it cannot be imported here ({str(error).split('. ')[0]})")
    except RuntimeError as error:  # of a torchvision that was built for another torch
        if "torchvision::" not in str(error):
            raise
        return Compared(layout, {}, "it cannot be imported here beside this torchvision")
    except (OSError, ValueError) as error:  # what it does not know, or what it would have to run code for
        raise UserError(f"{layout} cannot read {published.folder}: {str(error).partition(chr(10))[0]}") from error
    differences, shown = {}, examples(space)
    for modality, ours in exactly(space, shown).items():
        with torch.inference_mode():
            theirs = encoders[modality](shown[modality])
        differences[modality] = float((normalize(theirs.float(), dim=-1) - ours).abs().max())
    compared = check(Compared(layout, differences), published.folder.name)
    if not (follows and "image" in differences):
        return compared
    differences["image"] = of_files(space, encoders)
    return check(Compared(layout, differences), published.folder.name, LARGEST_OF_FILES)


def of_files(space: Space, encoders: Mapping[str, Encode]) -> float:
    """Largest difference between the vectors of JPEG files that either side reads by itself."""
    processor = space.processors["image"]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        paths = photographs(processor.spec.size, Path(folder))
        ours = exactly(space, {"image": processor.batch([processor.prepare(path) for path in paths])})["image"]
        theirs = encoders["image"](encoders[FILES](paths))
    return float((normalize(theirs.float(), dim=-1) - ours).abs().max())


def check(compared: Compared, name: str, largest: float = LARGEST) -> Compared:
    """The same, or one sentence where something differs by more than rounding does."""
    for modality, difference in compared.differences.items():
        if not difference <= largest:
            raise UserError(
                f"the {modality} vectors of {name} differ from {compared.peer}'s by {difference:.1e} "
                f"(at most {largest:.0e} expected), so nothing was written"
            )
    return compared


def examples(space: Space) -> dict[str, Any]:
    """Prepared images ``(B, 3, S, S)`` and raw texts, for the modalities that a space has."""
    shown: dict[str, Any] = {"text": TEXTS}
    if "image" in space.modalities:
        processor = space.processors["image"]
        shown["image"] = processor.batch([processor.prepare(one) for one in images(processor.spec.size)])
    return {modality: shown[modality] for modality in space.modalities}


def golden(space: Space) -> dict[str, Sequence[Any]]:
    """Small raw items to keep with a space, for the modalities that it has."""
    shown: dict[str, Sequence[Any]] = {"image": images(64, 2), "text": TEXTS[:2]}
    return {modality: shown[modality] for modality in space.modalities}


def read_by(space: Space, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The examples as the space's encoders read them: texts as token ids."""
    read = dict(shown)
    if "text" in read:
        processor = space.processors["text"]
        read["text"] = processor.batch([processor.prepare(text) for text in shown["text"]])
    return read


def exactly(space: Space, shown: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Our unit vectors of the examples in float32, by modality."""
    inputs = read_by(space, examples(space) if shown is None else shown)
    with torch.inference_mode():
        return {modality: normalize(space.encode(modality, given), dim=-1) for modality, given in inputs.items()}


def _transformers(folder: Path) -> Mapping[str, Encode]:
    library = importlib.import_module("transformers")
    # A folder may name Python files of its own (auto_map); left open, the library asks whether to run them.
    model: Any = library.AutoModel.from_pretrained(folder, trust_remote_code=False).eval()
    tokenizer: Any = library.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    settings = getattr(model.config, "text_config", model.config)
    filled = model.config.model_type == "siglip"

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        length = min(settings.max_position_embeddings, tokenizer.model_max_length)
        padding = "max_length" if filled else True
        inputs = tokenizer(list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt")
        return {key: inputs[key] for key in inputs if key in ("input_ids", *([] if filled else ["attention_mask"]))}

    if hasattr(model, "get_text_features"):
        prepare: Any = library.AutoImageProcessor.from_pretrained(folder, backend="pil")
        return {
            FILES: lambda paths: prepare([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"],
            "image": lambda images: _vectors(model.get_image_features(pixel_values=images)),
            "text": lambda texts: _vectors(model.get_text_features(**tokens(texts))),
        }
    return {"text": lambda texts: _pooled(model, tokens(texts), pooling(folder))}


def _vectors(made: Any) -> Tensor:
    """The vectors of an output, which transformers 5 wraps."""
    vectors: Tensor = made if isinstance(made, Tensor) else made.pooler_output
    return vectors


def _pooled(model: Any, inputs: Mapping[str, Tensor], how: str) -> Tensor:
    """What sentence-transformers makes of a BERT's last states."""
    states_BTD: Tensor = model(**inputs).last_hidden_state
    return masked_mean(states_BTD, inputs["attention_mask"].bool()) if how == "mean" else states_BTD[:, 0]


def _openclip(folder: Path) -> Mapping[str, Encode]:
    library = importlib.import_module("open_clip")
    name = f"local-dir:{folder.resolve()}"
    model, _, prepare = library.create_model_and_transforms(name)
    tokenizer: Any = library.get_tokenizer(name)
    return _encoders(model.eval(), tokenizer, prepare)


def _openai(path: Path) -> Mapping[str, Encode]:
    library = importlib.import_module("open_clip")
    model: Any = library.model.build_model_from_openai_state_dict(read_tensors(path)).float().eval()
    tokenizer = library.SimpleTokenizer(context_length=model.context_length)
    return _encoders(model, tokenizer, library.image_transform(model.visual.image_size, is_train=False))


def _encoders(model: Any, tokenizer: Any, prepare: Callable[[Any], Tensor]) -> Mapping[str, Encode]:
    """Those of a model of OpenCLIP's."""
    return {
        FILES: lambda paths: torch.stack([prepare(Image.open(path)) for path in paths]),
        "image": model.encode_image,
        "text": lambda texts: model.encode_text(tokenizer(list(texts))),
    }


PEERS: dict[str, Peer] = {"transformers": _transformers, "OpenCLIP": _openclip, "OpenAI": _openai}
"""The library behind a layout."""
