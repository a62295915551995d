"""Vectors cut to their first numbers (Matryoshka, Kusupati et al. 2022), and what is known of cosines between them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..types import SHORTEST, UserError
from .calibration import Calibration, Relevance

if TYPE_CHECKING:
    from .space import Space


@dataclass(frozen=True, slots=True)
class AtWidth:
    """What held-out pairs said of cosines between vectors of one width."""

    calibration: Calibration | None = None
    relevance: Relevance = field(default_factory=Relevance)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        known = None if self.calibration is None else [self.calibration.slope, self.calibration.offset]
        return {"calibration": known, "relevance": self.relevance.plain()}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> AtWidth:
        """What :meth:`plain` gave. Raises TypeError, ValueError or KeyError for anything else."""
        known = data["calibration"]
        calibration = None if known is None else Calibration(*map(float, known))
        return cls(calibration, Relevance.from_plain(data["relevance"]))


def truncated(space: Space, dimensions: int) -> Space:
    """See :meth:`cospace.models.space.Space.truncated`."""
    least = min(SHORTEST, space.width)
    if not least <= dimensions <= space.width:
        raise UserError(
            f"this model's vectors have {space.width} numbers and can be cut to {least} or more; {dimensions} were "
            "asked for"
        )
    made = copy.copy(space)
    made.width, made.truncated_from = dimensions, space.truncated_from or space.width
    if dimensions < space.width:
        known = space.widths.get(dimensions, AtWidth())
        made.calibration, made.relevance = known.calibration, known.relevance
    return made


def describe_untrained(space: Space) -> list[str]:
    """What cutting costs where the model was not trained for it, a sentence; none where it was, or nothing is cut."""
    width, whole = space.width, space.truncated_from
    if whole in (None, width) or width in space.widths:
        return []
    known = f", only for {', '.join(map(str, sorted(space.widths)))}" if space.widths else ""
    return [
        f"vectors are cut from {whole} to {width} numbers, for which this model was not trained{known}: they find "
        "less, and searches have no percentages; train with objective=matryoshka for vectors that may be cut"
    ]


def prefix(vectors_NE: np.ndarray, width: int) -> np.ndarray:
    """Unit vectors of the first ``width`` numbers, float32; the same where there are no more."""
    if vectors_NE.shape[-1] <= width:
        return vectors_NE
    cut_NE = np.asarray(vectors_NE[..., :width], np.float32)
    lengths = np.linalg.norm(cut_NE, axis=-1, keepdims=True)
    return np.asarray(cut_NE / np.maximum(lengths, np.float32(1e-12)))
