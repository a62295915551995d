"""What a modality makes of its items: prepared for an encoder, shown to people, measured, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..types import BadItem


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared items by number, and those that could not be prepared."""

    items: Sequence[Any]
    bad: Mapping[int, BadItem] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """Small images of an item as WebP by their longer side in pixels, its full size, its mean colour 0xRRGGBB."""

    webp: Mapping[int, bytes]
    width: int
    height: int
    rgb: int


@dataclass(frozen=True, slots=True)
class Previewed:
    """An item prepared for its encoder, its preview, and its encoded bytes where it came as such."""

    prepared: Tensor
    preview: Preview | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An item as a browser plays or shows it: encoded bytes and their media type."""

    data: bytes
    type: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What an item measures, and its signature ``(V, S)``, see :meth:`Modality.signatures`."""

    measures: dict[str, float]
    signature: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class ItemFinding:
    """Items of one modality with the same fault, such as all that are nearly black, the surest first.

    ``items_F`` are their numbers, ``certainty_F`` how sure it is of each (0 to 1, and 1 where nothing is estimated),
    and ``notes_F`` what was measured of each ("mean brightness 3 of 255").
    """

    kind: str
    """Its key in JSON: ``dark``."""
    what: str
    """What they are, after "3 images are": ``nearly black``."""
    advice: str
    items_F: Sequence[int] = ()
    certainty_F: Sequence[float] = ()
    notes_F: Sequence[str] = ()
    leave_out: bool = False
    """Whether the clean table leaves their rows out without being asked to: nothing can be learned from them."""


@dataclass(frozen=True, slots=True)
class Occlusions:
    """An item, and the same item with one of its parts hidden, for each part; all as the encoder reads them.

    ``spans_P`` says where the parts lie. ``boxes``: left, top, right and bottom as shares of the item's own width and
    height, row by row in a grid of ``columns``. ``letters``: where a word starts and ends among the letters of a text.
    ``seconds``: from when to when.
    """

    kind: Literal["boxes", "letters", "seconds"]
    spans_P: Sequence[tuple[float, ...]]
    whole: Tensor
    hidden_P: Sequence[Tensor]
    columns: int = 0
