"""The words every other file uses: pairs, features, metrics, and the one error a person can fix.

Shape legend, used in names everywhere (``image_BE``, ``tokens_BTD``):

=====  ==================================================
``B``  rows of a batch (pairs, or items of one modality)
``T``  tokens of one item: words, or cells of the picture
``D``  width of an encoder
``E``  width of the shared space
``V``  vocabulary
``N``  items of a collection (a gallery, an index)
``S``  side of a square picture, in pixels
=====  ==================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

WORDS = frozenset({"text", "question", "answer"})
"""Modalities whose items are texts. Questions and answers are for a decoder; a space embeds neither."""

Metrics = dict[str, float]
"""Flat names to numbers, e.g. ``{"text_to_image/R@1": 0.93}``; the keys are part of the command line's contract."""

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``, called by long work."""


def silent(what: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


class UserError(Exception):
    """Something the person who typed the command can fix.

    One sentence that says what was given, what is allowed and what to do next. The command line prints it
    without a traceback and exits with code 2.
    """


@runtime_checkable
class Lazy(Protocol):
    """A raw item that is fetched when needed: a member of a tar, a drawing made on the fly."""

    def load(self) -> Any:
        """Encoded bytes, or a decoded ``uint8`` array ``(H, W, 3)``."""

    def key(self) -> str:
        """A short string that is equal for equal content, without loading more than necessary."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: what belongs together, by modality.

    ``items`` maps a modality to its raw item: a ``str`` for text; a ``Path``, ``bytes``, a PIL image, a ``uint8``
    array or a ``Lazy`` for pictures. Rows with the same ``group`` are true matches of each other.
    """

    id: str
    items: Mapping[str, Any]
    group: int
    extras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was set aside: which one, what kind of problem, and the reason in words."""

    id: str
    kind: str
    reason: str


@dataclass(slots=True)
class Features:
    """What an encoder gives: one vector per item, and the tokens it was pooled from.

    ``pooled_BD`` feeds the projection into the space. ``tokens_BTD`` and ``mask_BT`` (true where a token is real)
    feed the fusion decoder.
    """

    pooled_BD: torch.Tensor
    tokens_BTD: torch.Tensor
    mask_BT: torch.Tensor


@dataclass(frozen=True, slots=True)
class Pooled:
    """Items whose encoder does not learn, as what it made of them once: ``pooled_BD``, in place of its inputs."""

    pooled_BD: torch.Tensor

    def to(self, where: torch.device) -> Pooled:
        """The same on another device."""
        return Pooled(self.pooled_BD.to(where))

    def features(self) -> Features:
        """As an encoder gives it; the one token is the whole item."""
        mask_B1 = self.pooled_BD.new_ones(len(self.pooled_BD), 1).bool()
        return Features(self.pooled_BD, self.pooled_BD[:, None], mask_B1)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What an image encoder is built for: square pictures of ``size`` pixels with ``channels`` channels."""

    size: int
    channels: int = 3


@dataclass(frozen=True, slots=True)
class TextSpec:
    """What a text encoder is built for: ``vocabulary`` token ids, at most ``length`` of them per text."""

    vocabulary: int
    length: int
