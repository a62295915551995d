"""The same images and texts through the library that a model comes from, and how far its vectors are from ours."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ..models.libraries import NotImportable
from ..models.space import Space
from ..types import UserError
from .peers import PEERS, PeerTower, vectors_of_file
from .published import Published

LARGEST = 1e-4
"""Largest difference of a number of a unit vector, float32 on both sides, that is taken for rounding."""

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


@dataclass(frozen=True, slots=True)
class Compared:
    """Largest absolute difference between unit vectors, by modality; or why nothing was compared.

    ``differences`` are those of the networks, from the same prepared inputs; ``from_files`` are those of the whole way
    from an image file on the disk, each side with its own preparation.
    """

    peer: str
    differences: dict[str, float]
    left_out: str = ""
    from_files: dict[str, float] = field(default_factory=dict)

    def sentence(self) -> str:
        """For people."""
        if self.left_out:
            return f"not compared with {self.peer}: {self.left_out}"
        worst = [f"{name} {difference:.1e}" for name, difference in self.differences.items()]
        worst += [f"{name} from a JPEG file {difference:.1e}" for name, difference in self.from_files.items()]
        return f"largest difference to {self.peer}: {', '.join(worst)}"


def compare(published: Published, space: Space | None = None) -> Compared:
    """Run both sides, ours with ``space`` if it is given and otherwise with what was read.

    Raises :class:`UserError` where they differ by more than :data:`LARGEST`.
    """
    layout, space = published.plan.layout, space or published.space
    try:
        towers = PEERS[layout](published)
    except NotImportable as error:
        return Compared(layout, {}, str(error))
    except (OSError, ValueError) as error:  # what it does not know, or what it would have to run code for
        raise UserError(f"{layout} cannot read {published.folder}: {str(error).partition(chr(10))[0]}") from error
    differences, shown = {}, examples(space)
    for modality, ours in exactly(space, shown).items():
        with torch.inference_mode():
            theirs = towers[modality].encode(shown[modality])
        differences[modality] = apart(theirs, ours)
    return check(Compared(layout, differences, from_files=_from_files(space, towers)), published.folder.name)


def apart(theirs: Tensor, ours: Tensor) -> float:
    """Largest absolute difference of any number of their vectors, made unit vectors, to ours."""
    return float((normalize(theirs.float(), dim=-1) - ours).abs().max())


def _from_files(space: Space, towers: Mapping[str, PeerTower]) -> dict[str, float]:
    """The whole way from a JPEG file, for the modalities that a peer prepares by itself."""
    prepared = [name for name, tower in towers.items() if tower.prepare is not None and name in space.modalities]
    differences: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        for name in prepared:
            path = Path(place) / "example.jpg"
            photograph(space.processors[name].spec.size).save(path, quality=90)
            processor = space.processors[name]
            ours = exactly(space, {name: processor.batch([processor.prepare(path)])})
            differences[name] = apart(vectors_of_file(towers[name], path), ours[name])
    return differences


def photograph(size: int) -> Image.Image:
    """An image to be made smaller: neither square nor of even sides, with waves of several lengths."""
    return Image.fromarray(images(2 * size + 37, 1)[0]).crop((0, 0, 2 * size + 37, size + size // 2 + 11))


def check(compared: Compared, name: str) -> Compared:
    """The same, or one sentence where something differs by more than rounding does."""
    for modality, difference in compared.differences.items():
        if not difference <= LARGEST:
            raise UserError(
                f"the {modality} vectors of {name} differ from {compared.peer}'s by {difference:.1e} "
                f"(at most {LARGEST:.0e} expected), so nothing was written"
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
