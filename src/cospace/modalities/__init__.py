"""What is known of a modality, in one folder each: how its items are recognised, read, prepared, batched and shown.

The contract is :class:`Modality`. A folder ``modalities/NAME/`` (or a file) that defines ``MODALITY``, an instance of a
subclass, makes ``NAME`` a column of tables, a branch of the settings (``data.NAME``), an option of the command line
(``search --NAME FILE``) and a part of the page. Everything else loops over the modalities that a data set or a model
has; nothing outside this folder asks which one it is.

Importing a modality must be cheap, since the command line asks for names and suffixes before anything is loaded: heavy
libraries are imported inside the methods that need them.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..types import Progress, UserError, silent
from ._items import Examined, ItemFinding, Media, Occlusions, Prepared, Preview, Previewed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np
    from torch import Tensor

    from ..config import Config
    from ..types import BadItem

__all__ = [
    "FIELDS", "PREVIEW_SIZES", "Batcher", "Examined", "ItemFinding", "KnownItems", "Media", "Modality",
    "Occlusions", "Prepared", "Preview", "Previewed", "Processor", "Wanted", "all_modalities", "everything",
    "is_text", "modality", "names", "text_modality",
]  # fmt: skip


class Processor(Protocol):
    """From a raw item to an encoder's input, one item at a time and then as a batch; saved with the model."""

    @property
    def spec(self) -> Any:
        """What an encoder must be built for."""

    def prepare(self, raw: Any) -> Tensor:
        """One item, decoded and brought to the form in which it is kept. Raises :class:`~cospace.types.BadItem`."""

    def batch(self, prepared: Sequence[Tensor]) -> Any:
        """Prepared items as one encoder input, which has ``to(device)``."""

    def state(self) -> dict[str, Any]:
        """Everything as JSON data; ``from_state`` of the class is the inverse."""


Wanted = Callable[[Sequence[int]], Sequence[bool]]
"""Of the sizes of a step's micro-batches, which of them are made."""


def everything(sizes: Sequence[int]) -> Sequence[bool]:
    """Every micro-batch is made."""
    return [True] * len(sizes)


class Batcher(Protocol):
    """The prepared items of a training set, cut into micro-batches as a step asks for them."""

    item_of_row: np.ndarray
    """The item of every row of the data set, ``(N,)``; -1 where the row has none."""
    in_order: bool
    """Whether micro-batches hold items in the order in which they are given."""
    identity_N: np.ndarray | None
    """What each item is known by beyond this set, uint64; nothing where that is its number."""

    def micro_batches(
        self, step: int, items: np.ndarray, epochs: np.ndarray, size: int, wanted: Wanted = everything
    ) -> tuple[list[Any], np.ndarray]:
        """Encoder inputs of at most ``size`` items each, and the order in which ``items`` appear in them.

        How an item is augmented is a function of (seed, its epoch, its identity) and of the step alone. ``wanted`` gets
        the sizes of all micro-batches and says which are made; nothing stands in place of the others.
        """


class KnownItems(Protocol):
    """Prepared items of before, by their numbers among those that are to be prepared."""

    def get(self, numbers: Sequence[int]) -> Mapping[int, Tensor | BadItem]:
        """Those that are known, as such or as of no use."""

    def keep(self, number: int, prepared: Tensor) -> None:
        """Know one more."""

    def making(self, number: int) -> AbstractContextManager[None]:
        """A block in which an item is prepared."""


PREVIEW_SIZES = (64, 256)
"""Longer sides, in pixels, of the previews that an index keeps."""


class Modality(ABC):
    """One modality. Methods import what they need; class variables are plain data."""

    name: ClassVar[str]
    plural: ClassVar[str]
    noun: ClassVar[str]
    """One item of it in messages, e.g. ``caption``."""
    suffixes: ClassVar[frozenset[str]] = frozenset()
    """Of its files, in lower case with the dot."""
    columns: ClassVar[tuple[str, ...]] = ()
    """What tables call such a column, in order of preference, lower case with underscores."""
    is_text: ClassVar[bool] = False
    """Whether items are texts that people type; then they are no files."""
    has_preview: ClassVar[bool] = False
    """Whether :meth:`preview` gives images, which an index keeps."""
    upload_types: ClassVar[tuple[str, ...]] = ()
    """Media types that a browser may send as a query; none for texts."""
    default_encoder: ClassVar[str]
    """The encoder that a recipe which names none gets."""
    decided: ClassVar[tuple[str, ...]] = ()
    """Settings that a pretrained tower's processor has fixed."""
    job_size: ClassVar[int] = 4096
    """Items that a process embeds at a time in a job that several share."""

    preparation: ClassVar[int] = 1
    """Goes up when a processor makes something else of the same item, so that what was kept is made again."""
    examination: ClassVar[int] = 1
    """Goes up when :meth:`examine` measures something else, so that what was kept of earlier ones is measured again."""
    extents: ClassVar[tuple[str, ...]] = ()
    """What is measured whose smallest, median and largest value ``check`` shows."""

    advice: ClassVar[Mapping[str, str]] = {}
    """What to do about problems that only its items have, by the kind of problem; ``check`` says so."""

    # --- recognise and identify

    def recognises(self, data: bytes) -> bool:
        """Whether encoded bytes look like an item of this modality, by their first bytes."""
        return False

    def holds(self, value: Any) -> bool:
        """Whether a table's value is an item, or a path that ends like one."""
        if isinstance(value, bytes):
            return self.recognises(value)
        return isinstance(value, str) and "." in value and Path(value).suffix.lower() in self.suffixes

    def match_key(self, content: str) -> str:
        """What two items must share to be the same item for matching; ``content`` is equal for equal bytes."""
        return content

    # --- prepare

    @abstractmethod
    def settings_class(self) -> type[Config]:
        """The settings under ``data.NAME``; open values (``None``) are filled in by :meth:`fit_settings`."""

    def fit_settings(self, settings: Any, items: Sequence[Any], texts: Sequence[str], generates: bool) -> Any:
        """Settings with every open value chosen from the data: different items, all texts, whether a decoder learns."""
        return settings

    def smaller(self, settings: Any) -> Any:
        """Fitted settings with which the default encoder's steps cost less, and show less; nothing where none do."""
        return None

    def phases(self, settings: Any) -> Sequence[float]:
        """Shares of the steps, 0 to 1, after which fitted settings make a step cost more or less than before."""
        return ()

    @abstractmethod
    def processor_class(self) -> Any:
        """The class that :meth:`build_processor` builds, for ``from_state``."""

    @abstractmethod
    def build_processor(self, settings: Any, texts: Sequence[str]) -> Processor:
        """A processor for fitted settings; ``texts`` are all texts of the data set (a tokenizer learns from them)."""

    def settings_of(self, processor: Any, settings: Any, fixed_size: bool) -> Any:
        """Settings that agree with the processor of a model to go on from.

        ``fixed_size`` says that its encoder reads inputs of the processor's size only.
        """
        return settings

    @abstractmethod
    def prepare_all(
        self,
        raws: Sequence[Any],
        processor: Any,
        progress: Progress = silent,
        spill: Path | None = None,
        known: KnownItems | None = None,
    ) -> Prepared:
        """Every item that is not ``known``, prepared once: in memory, or in the file ``spill`` where they are many."""

    @abstractmethod
    def batcher(
        self, prepared: Sequence[Any], item_of_row: np.ndarray, processor: Any, settings: Any, seed: int, steps: int
    ) -> Batcher:
        """What a training run of so many steps draws its micro-batches from."""

    # --- keep a few items with a model, to notice changes when it is loaded

    @abstractmethod
    def golden(self, raws: Sequence[Any], prepared: Sequence[Any]) -> list[Any]:
        """A few small raw items from the training set, which :meth:`serialize` can store."""

    @abstractmethod
    def serialize(self, raw: Any) -> Tensor:
        """A golden item as a tensor."""

    @abstractmethod
    def deserialize(self, stored: Tensor) -> Any:
        """The inverse of :meth:`serialize`."""

    # --- inspect and show

    def inspect(self, raw: Any) -> dict[str, float]:
        """Decode an item in full and measure it, e.g. ``{"seconds": 2.5}``. Raises :class:`~cospace.types.BadItem`."""
        return {}

    def export(self, raw: Any) -> tuple[bytes, str]:
        """An item that is no file of its own as encoded bytes and the suffix (without dot) for its file."""
        raise NotImplementedError

    def preview(self, raw: Any) -> Preview | None:
        """Small images of an item, for the index, the page, the report and terminals. Raises ``BadItem``."""
        return None

    def prepare_with_preview(self, raw: Any, processor: Any) -> Previewed:
        """An item for an index: what the encoder reads and what people see, from one decoding if that is cheaper."""
        return Previewed(processor.prepare(raw), self.preview(raw))

    def prepared_preview(self, prepared: Any, processor: Any) -> bytes | None:
        """A prepared item as an encoded image for a report; nothing where there is nothing to see."""
        return None

    def examine(self, raw: Any) -> Examined:
        """The same, with a signature of the item where the modality has one. Raises :class:`~cospace.types.BadItem`."""
        return Examined(self.inspect(raw))

    def find(self, raws: Sequence[Any], measures: Mapping[str, np.ndarray], processor: Any = None) -> list[ItemFinding]:
        """What is wrong with some of the different items of a data set, one finding for each kind, empty ones too.

        ``measures`` has what :meth:`examine` measured, each ``(N,)`` float64, NaN for items that cannot be read;
        ``processor`` is that of the model that will read them, where it is known.
        """
        return []

    def signatures(self, prepared: Sequence[Any]) -> np.ndarray | None:
        """A few numbers per item ``(N, V, S)``, uint8, from which :meth:`copies` says which are copies of each other.

        Nothing where a modality has none; the two methods below are of those that have.
        """
        return None

    def outlines(self, signatures: np.ndarray) -> np.ndarray:
        """Of signatures vectors of length 1 ``(N, W, D)``, float32: nearly parallel in copies, and short.

        Of ``W`` views the first is the item itself, and the others are copies of it too.
        """
        raise NotImplementedError

    def copies(self, known: np.ndarray, measured: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Which pairs ``(P, 2)`` of a known and a measured item, places in their signatures, are copies: ``(P,)``."""
        raise NotImplementedError

    def occlusions(self, raw: Any, processor: Any) -> Occlusions | None:
        """An item with each of its parts hidden in turn, to find those that its score rests on. Raises ``BadItem``.

        Nothing where a modality's items have no parts.
        """
        return None

    def statistics(self, prepared: Sequence[Any]) -> np.ndarray | None:
        """A few numbers per item ``(N, S)``, float32, in which kinds of items differ; nothing where there are none."""
        return None

    def descriptors(self, raws: Sequence[Any], progress: Progress = silent) -> Prepared | None:
        """Float32 ``(N, D)`` of items, in which items that are alike are near, without a trained network.

        Zeros for those that cannot be read. Nothing where a modality has none.
        """
        return None

    def excerpt(self, raw: Any) -> Media | None:
        """A few seconds of an item, small enough for a report; nothing where its image is enough."""
        return None

    def media(self, raw: Any, size: int) -> Media | None:
        """An item as a person opens it: at most ``size`` pixels a side, or the sound. Raises ``BadItem``."""
        return None

    def example(self) -> Any:
        """A small raw item, to run an encoder once before the first request."""
        raise NotImplementedError

    def read_upload(self, data: bytes) -> Any:
        """A raw item from bytes that somebody uploads, decoded within bounds of time and memory. Raises ``BadItem``."""
        raise NotImplementedError

    def page_module(self) -> Path | None:
        """A JavaScript module for the page: how items are opened, and what a dropped or recorded query shows."""
        return None


FIELDS = ("question", "answer")
"""Columns of texts that a decoder learns from; a space embeds neither."""


def is_text(column: str) -> bool:
    """Whether a column of pairs holds texts: a modality that people type, or a decoder's question or answer."""
    return column in FIELDS or (column in names() and modality(column).is_text)


def text_modality() -> str:
    """The modality that captions, class names and typed queries are of."""
    return next(one.name for one in all_modalities() if one.is_text)


@functools.cache
def names() -> tuple[str, ...]:
    """The modalities that there are, by file or folder name."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


@functools.cache
def modality(name: str) -> Modality:
    """A modality by name; what runs and tables call one that does not exist is a :class:`UserError`."""
    if name not in names():
        raise UserError(f"there is no modality {name!r} (known: {', '.join(names())})")
    found: Modality = importlib.import_module(f"{__name__}.{name}").MODALITY
    return found


def all_modalities() -> list[Modality]:
    """Every modality, in the order of names."""
    return [modality(name) for name in names()]
