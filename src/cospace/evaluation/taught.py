"""A class that somebody taught by pointing: a direction in the space and the least cosine of what belongs to it.

One file each, with a hash of its content; a model other than the one it was taught with cannot use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..reading import read_bytes, understood
from ..types import UserError

SAVED = "cospace_class"
"""The key by which a file is known for a class, with the version of its form."""

FORM = 1


@dataclass(frozen=True, slots=True)
class SavedClass:
    """``direction_E`` is a unit vector; an item belongs to the class where its cosine to it is ``threshold`` or more.

    ``version`` counts how often the class was saved. ``asked`` is what was searched for in words, if anything;
    ``right`` and ``wrong`` are the ids that were marked; ``pairs`` are the right ones as rows for training.
    """

    name: str
    modality: str
    fingerprint: str
    direction_E: np.ndarray
    threshold: float
    version: int = 1
    asked: str = ""
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    pairs: Sequence[dict[str, str]] = ()

    def contains(self, item_NE: np.ndarray) -> np.ndarray:
        """Bool ``(N,)``: which unit vectors belong to the class."""
        return np.asarray(item_NE @ self.direction_E >= self.threshold)

    def check(self, fingerprint: str | None, width: int, where: str) -> SavedClass:
        """The class itself, or a :class:`UserError` where another model made its direction, or of another width."""
        if fingerprint is not None and fingerprint != self.fingerprint:
            raise UserError(
                f"the class {self.name!r} was taught with another model than {where} has; teach it again there"
            )
        if len(self.direction_E) != width:
            raise UserError(
                f"the class {self.name!r} was taught on vectors of {len(self.direction_E)} numbers, and {where} has "
                f"vectors of {width}; teach it again there"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """As it stands in its file; a table reader takes ``pairs`` for its rows."""
        return {
            SAVED: FORM,
            "name": self.name,
            "version": self.version,
            "modality": self.modality,
            "fingerprint": self.fingerprint,
            "asked": self.asked,
            "right": list(self.right),
            "wrong": list(self.wrong),
            "threshold": self.threshold,
            "direction": [float(value) for value in self.direction_E],
            "pairs": list(self.pairs),
        }


def as_file(saved: SavedClass) -> bytes:
    """The content of a class's file, with its own hash inside."""
    return files.as_sealed(saved.to_json())


def read_saved(path: Path) -> SavedClass:
    """The class in a file. Raises :class:`UserError` for one that was changed, or is something else."""
    return parse_saved(read_bytes(path), path)


def parse_saved(content: bytes, path: Path) -> SavedClass:
    """The same of a file's content; ``path`` is what it is called."""
    value = files.parse_sealed(content, path)
    with understood(path, "save the class again"):
        if value[SAVED] != FORM:
            raise UserError(f"{path} has form {value[SAVED]}, and this version reads {FORM}; upgrade cospace")
        direction_E = np.asarray(value["direction"], np.float32)
        if direction_E.ndim != 1 or not np.isfinite(direction_E).all():
            raise ValueError("its direction is no vector")
        return SavedClass(
            name=str(value["name"]),
            modality=str(value["modality"]),
            fingerprint=str(value["fingerprint"]),
            direction_E=direction_E,
            threshold=float(value["threshold"]),
            version=int(value["version"]),
            asked=str(value["asked"]),
            right=tuple(map(str, value["right"])),
            wrong=tuple(map(str, value["wrong"])),
            pairs=tuple(value["pairs"]),
        )
