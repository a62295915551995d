"""The terms every other file uses: pairs, features, metrics, and the errors that have a cause outside the code.

Shape legend, used in names everywhere (``image_BE``, ``tokens_BTD``):

=====  ==================================================
``B``  rows of a batch (pairs, or items of one modality)
``T``  tokens of one item: subwords, patches of an image, frames of a sound
``D``  width of an encoder
``E``  width of the shared space
``V``  vocabulary
``N``  items of a collection (a gallery, an index)
``S``  side of a square image, in pixels
``F``  mel bins of a spectrogram
=====  ==================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

Metrics = dict[str, float]
"""Flat names to numbers, e.g. ``{"text_to_image/R@1": 0.93}``; the keys are part of the command line's contract."""

SHORTEST = 8
"""Numbers of the shortest vectors that others are cut to: with fewer, thousands of items stand close together."""

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``, called by long work."""


def silent(what: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


BadKind = Literal[
    "missing", "empty", "undecodable", "truncated", "bomb", "unsupported", "crash", "hang", "silent", "not finite",
    "too long",
]  # fmt: skip
"""Why an item cannot be used, for counting."""


class BadItem(Exception):
    """An item that cannot be used: ``kind`` to count it by, ``reason`` for the person who owns it."""

    def __init__(self, kind: BadKind, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def attempted(read: Callable[[T], R], item: T) -> R | BadItem:
    """What reading one item gives, or why it cannot be used.

    Decoders are other people's code, and fail in ways of their own: none of them may cost a job more than the one item.
    A mistake of the person who gave the command is no item's.
    """
    try:
        return read(item)
    except BadItem as error:
        return error
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001
        return BadItem("undecodable", f"reading it failed with {type(error).__name__}: {error}")


class UserError(Exception):
    """Something the person who typed the command can fix.

    One sentence that says what was given, what is allowed and what to do next. The command line prints it
    without a traceback and exits with code 2.
    """


class StorageError(UserError):
    """What lies on a disk or a server is missing, damaged, or another's than the one that was opened.

    The same sentence for whoever typed a command; a service answers with a 5xx, since the request is not at fault.
    """


@runtime_checkable
class Lazy(Protocol):
    """A raw item that is fetched when needed: a member of a tar, a drawing made on the fly."""

    def load(self) -> Any:
        """Encoded bytes, or a decoded array: what the item's modality reads."""

    def key(self) -> str:
        """A short string that is equal for equal content, without loading more than necessary."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: what belongs together, by modality.

    ``items`` maps a modality to its raw item: a ``str`` for text, and for files a ``Path``, ``bytes``, a decoded array
    or a :class:`Lazy`. A row holds any subset of the modalities.
    """

    id: str
    items: Mapping[str, Any]
    extras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was set aside: which one, what kind of problem, and the reason in words."""

    id: str
    kind: str
    reason: str
    asked: bool = False
    """Whether a person asked for it to be left out; then it is no reason to stop."""


class Fault(NamedTuple):
    """Why an item cannot be used, where it is known before anything is decoded."""

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A file in a folder that is no part of what was read: its path within the folder, and why in a few words."""

    name: str
    reason: str


@dataclass(slots=True)
class Features:
    """What an encoder gives: one vector per item, and the tokens it was pooled from.

    ``pooled_BD`` is the input of the projection into the space. ``tokens_BTD`` and ``mask_BT`` (true where a token is
    real) are the input of the decoder.
    """

    pooled_BD: torch.Tensor
    tokens_BTD: torch.Tensor
    mask_BT: torch.Tensor


@dataclass(frozen=True, slots=True)
class PooledFeatures:
    """Cached features of a frozen encoder: ``pooled_BD``, in place of the encoder's inputs."""

    pooled_BD: torch.Tensor

    def to(self, where: torch.device) -> PooledFeatures:
        """The same on another device."""
        return PooledFeatures(self.pooled_BD.to(where))

    def features(self) -> Features:
        """As an encoder gives it; the one token is the whole item."""
        mask_B1 = self.pooled_BD.new_ones(len(self.pooled_BD), 1).bool()
        return Features(self.pooled_BD, self.pooled_BD[:, None], mask_B1)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What an image encoder is built for: square images of ``size`` pixels with ``channels`` channels."""

    size: int
    channels: int = 3


@dataclass(frozen=True, slots=True)
class TextSpec:
    """What a text encoder is built for: ``vocabulary`` token ids, at most ``length`` of them per text."""

    vocabulary: int
    length: int
