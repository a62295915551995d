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
from .peers import PEERS, PeerTower
from .published import Published

LARGEST = 1e-4
"""Largest difference of a number of a unit vector, float32 on both sides, that is taken for rounding."""

LARGEST_OF_FILES = 5e-3
"""The same where either side decodes JPEG files by itself: builds of Pillow with another libjpeg may differ by a level
here and there. Another filter, crop or normalisation differs by more."""

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
    from JPEG files on the disk, which each side decodes and prepares by itself, where that was asked for.
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
        worst += [f"{name} from JPEG files {difference:.1e}" for name, difference in self.from_files.items()]
        return f"largest difference to {self.peer}: {', '.join(worst)}"


def compare(published: Published, space: Space | None = None) -> Compared:
    """Run both sides, ours with ``space`` if it is given and otherwise with what was read.

    What was read is compared from JPEG files on too, since it follows its library; what a space of ours was written as,
    from prepared images on alone. Raises :class:`UserError` where they differ by more than :data:`LARGEST`, or files by
    more than :data:`LARGEST_OF_FILES`.
    """
    layout, follows, space = published.plan.layout, space is None, space or published.space
    try:
        towers = PEERS[layout](published)
    except NotImportable as error:
        return Compared(layout, {}, str(error))
    except (OSError, ValueError) as error:  # what it does not know, or what it would have to run code for
        raise UserError(f"{layout} cannot read {published.folder}: {str(error).partition(chr(10))[0]}") from error
    differences, shown = {}, examples(space)
    for modality, ours in exactly(space, shown).items():
        with torch.inference_mode():
            differences[modality] = apart(towers[modality].encode(shown[modality]), ours)
    files = of_files(space, towers) if follows else {}
    return check(Compared(layout, differences, from_files=files), published.folder.name)


def apart(theirs: Tensor, ours: Tensor) -> float:
    """Largest absolute difference of any number of their vectors, made unit vectors, to ours."""
    return float((normalize(theirs.float(), dim=-1) - ours).abs().max())


def of_files(space: Space, towers: Mapping[str, PeerTower]) -> dict[str, float]:
    """Largest difference between the vectors of JPEG files that either side decodes and prepares by itself."""
    differences: dict[str, float] = {}
    for name, tower in towers.items():
        if tower.prepare is None or name not in space.modalities:
            continue
        processor = space.processors[name]
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            paths = photographs(processor.spec.size, Path(folder))
            ours = exactly(space, {name: processor.batch([processor.prepare(path) for path in paths])})[name]
            theirs = tower.encode(torch.stack([tower.prepare(path) for path in paths]))
        differences[name] = apart(theirs, ours)
    return differences


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


def check(compared: Compared, name: str) -> Compared:
    """The same, or one sentence where something differs by more than rounding does."""
    pairs = [(compared.differences, LARGEST, ""), (compared.from_files, LARGEST_OF_FILES, " of JPEG files")]
    for differences, largest, of in pairs:
        for modality, difference in differences.items():
            if not difference <= largest:
                raise UserError(
                    f"the {modality} vectors{of} of {name} differ from {compared.peer}'s by {difference:.1e} "
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
