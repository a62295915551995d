"""The built-in set ``scenes``: small images of coloured shapes, each with true captions and questions.

A scene is a function of (seed, split, index) alone, so the set needs no download, no disk and no order, and what is
true of it is known exactly. ``train`` and ``val`` share no layout; every scene of ``heldout`` shows at least one
colour-shape pair that neither of them contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from . import Rows, RowsWriter
from ._built_in import BuiltIn
from ._scene_captions import captions, holds
from ._scene_drawing import draw
from ._scene_questions import Question, questions
from ._scene_world import HELD_OUT, Scene, Split, Thing, drawn, scene

__all__ = ["HELD_OUT", "Config", "Question", "Scene", "SceneImage", "Thing", "holds", "questions", "scene"]

_SCENES: dict[Split, int] = {"train": 12_000, "val": 1_000, "heldout": 500}
_SPECS: dict[str, Split] = {
    "scenes": "train",
    "scenes/train": "train",
    "scenes/val": "val",
    "scenes/heldout": "heldout",
}


@dataclass(frozen=True, slots=True)
class SceneImage:
    """A scene's image by name: small to keep and to send between processes, drawn when it is loaded."""

    seed: int
    split: Split
    index: int
    size: int

    def scene(self) -> Scene:
        """What the image shows; questions are made from it."""
        return scene(self.seed, self.split, self.index)

    def load(self) -> np.ndarray:
        """The drawing, ``uint8 (size, size, 3)``."""
        return draw(self.scene(), self.size)

    def holds(self, caption: str) -> bool:
        """Whether everything that a caption says is true of the scene: see :func:`._scene_captions.holds`."""
        return holds(self.scene(), caption)

    def key(self) -> str:
        return f"scenes/{self.split}/{self.index}/{self.seed}/{self.size}"


class Config(BuiltIn):
    """Which scenes: the split, the seed, how many (by default 12,000, 1,000 or 500), and the side in pixels."""

    specs: ClassVar[Mapping[str, Split]] = _SPECS

    split: Split = "train"
    seed: int = Field(default=0, ge=0, lt=2**63)
    scenes: int | None = Field(default=None, ge=1, le=1_000_000)
    size: int = Field(default=64, ge=32, le=1024)

    def read(self) -> Rows:
        """One row per question, with the scene's captions in turn; the rows of a scene share its image."""
        rows = RowsWriter(("image", "text", "question", "answer"), ("kind",))
        for index in range(self.scenes or _SCENES[self.split]):
            image = SceneImage(self.seed, self.split, index, self.size)
            shown, dice = drawn(self.seed, self.split, index)
            texts, asked = captions(shown, dice), questions(shown)
            for number, question in enumerate(asked):
                said = {"text": texts[number % len(texts)], "question": question.text, "answer": question.answer}
                name = f"scenes/{self.split}/{index:06d}#{number}"
                rows.add(name, {"image": image, **said}, {"kind": question.kind})
        return rows.finish()
