"""Published towers, each side of its own publisher: what they bring, and whether they learn or stay frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import files
from ..config import plain, unknown, validate
from ..data.contents import digest
from ..interop import sources
from ..interop.published import Classifier, fingerprint
from ..interop.sides import one_side
from ..modalities import all_modalities, is_text
from ..modalities.image.processing import ImageProcessor
from ..models.encoders import tta
from ..models.space import Space
from ..runtime import device
from ..types import UserError
from .run import Run

FROZEN_BELOW = 20_000
"""Different items of a modality below which its published tower is frozen; with more it learns at a small rate."""

LARGER = 1.2
"""Side of the images that test-time augmentation cuts its crops from, for each pixel that a tower reads."""


@dataclass(frozen=True, slots=True)
class Tower:
    """One side: a space of one modality, where it came from, and its classifier where it was trained with one."""

    space: Space
    facts: Mapping[str, Any]
    classifier: Classifier | None = None

    def describe(self, modality: str) -> str:
        """Who made it, for people."""
        source, license = self.facts.get("source") or self.facts.get("run", "a run"), self.facts.get("license")
        return f"{modality} tower: {source}" + (f" ({license})" if license else "")


class JoinedTowers(Run):
    """Towers of several publishers in one space; what leads them there is fresh."""

    def __init__(self, towers: Mapping[str, Tower], width: int, augmented: bool) -> None:
        self.towers = dict(towers)
        spaces = {name: tower.space for name, tower in towers.items()}
        if augmented:
            spaces = {name: space if is_text(name) else with_views(space, name) for name, space in spaces.items()}
        space = Space(
            {name: one.encoders[name] for name, one in spaces.items()},
            {name: one.configs[name] for name, one in spaces.items()},
            {name: one.processors[name] for name, one in spaces.items()},
            width,
        )
        self.fingerprints = {name: fingerprint_of(one, name) for name, one in spaces.items()}
        space.fingerprint = "+".join(self.fingerprints.values())
        facts = {"towers": {name: dict(tower.facts) for name, tower in towers.items()}}
        place = Path("+".join(str(tower.facts.get("source", name)) for name, tower in towers.items()))
        super().__init__(space.to(device()).eval(), place, place, facts)


def open_towers(named: Mapping[str, str], width: int, augmented: bool) -> JoinedTowers:
    """The towers behind ``{modality: source}``; a source is a run or a published model.

    Raises :class:`UserError` where a source cannot be read or has no such modality.
    """
    known = [one.name for one in all_modalities()]
    for name in named:
        if name not in known:
            raise UserError(unknown(name, known, "--from: there is no modality"))
    return JoinedTowers({name: open_tower(name, source) for name, source in named.items()}, width, augmented)


def open_tower(modality: str, source: str) -> Tower:
    """One side of a run or of a published model."""
    folder = Path(source)
    if (folder / "model").is_dir() or (folder / "space.json").is_file() or not sources.is_published(source):
        run = Run.load(folder)
        return Tower(one_side(run.space, modality), {"run": str(folder), "fingerprint": run.space.fingerprint})
    published = sources.read(source)
    return Tower(one_side(published, modality), published.facts(), published.classifier)


def with_views(space: Space, modality: str) -> Space:
    """The same tower with test-time augmentation, on images that are squashed to squares and a little larger.

    A tower whose images are prepared in another way than :class:`ImageProcessor` does it, a sound's, is left as it is.
    """
    processor, config = space.processors[modality], space.configs[modality]
    if not isinstance(processor, ImageProcessor):
        return space
    size = round(LARGER * processor.size)
    larger = processor.model_copy(update={"size": size, "fit": "squash", "before_crop": None})
    settings = {"encoder": plain(config), "size": processor.size}
    augmented = validate(tta.Config, settings, where="encoders.tta")
    encoder = augmented.build(larger.spec)
    encoder.encoder = space.encoders[modality].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Space({modality: encoder}, {modality: augmented}, {modality: larger}, space.width)


def fingerprint_of(space: Space, modality: str) -> str:
    """A hash of one side's weights, settings and preparation, without what leads it into a space."""
    bare = Space(
        {modality: space.encoders[modality]},
        {modality: space.configs[modality]},
        {modality: space.processors[modality]},
        1,
    )
    nn.init.zeros_(next(iter(bare.projections[modality].parameters()), torch.zeros(1)))
    return digest([fingerprint(bare).encode(), files.as_json(plain(space.configs[modality]))])
