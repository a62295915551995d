"""Where embedded items live and are found again. One store per file.

The contract of a store is :class:`Index`. A store keeps unit vectors with stable ids and knows the fingerprint of the
run whose space they belong to; it refuses vectors of another. Adding an id again replaces the item. When ``add`` or
``delete`` returns, the change survives the death of the process; a reader sees all of a change or none of it. Scores
are cosines. A store knows nothing of encoders: vectors come in and go out.

Items are found by *number*: a handle that means the same item for as long as the store object is open and ``refresh``
has not been called. Ids are for people and for good; numbers are for the thousands of results that nobody reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast, get_args

import numpy as np

from ..types import UserError


@dataclass(frozen=True, slots=True)
class Item:
    """What a store remembers of one vector. Each field, and each name among ``extras``, is a column of ``where``.

    The field ``id`` is the column ``@id`` there, and so are the others; ``id`` is the extra of that name where any item
    has one, otherwise the field. An extra may have several values, with :data:`SEVERAL` between them.
    ``hash`` is equal for equal content: what has not changed need not be embedded again. ``width``, ``height``
    (pixels, upright) and ``rgb`` (mean colour, ``0xRRGGBB``) are those of an item's preview, 0 where it has none.
    """

    id: str
    modality: str
    path: str = ""
    text: str = ""
    hash: str = ""
    width: int = 0
    height: int = 0
    rgb: int = 0
    extras: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; ``score`` is the cosine of query and item."""

    id: str
    score: float
    modality: str
    path: str
    text: str


SEVERAL = " | "
"""Between the values of a column of which an item has several; each of them satisfies ``=``."""

Relation = Literal["=", "!=", ">=", "<="]

NUMBER = re.compile(r"[+-]?([0-9]{1,200}([.][0-9]{0,200})?|[.][0-9]{1,200})([eE][+-]?[0-9]{1,3})?")
"""What counts as a number in a column of texts; every store reads the same ones."""


@dataclass(frozen=True, slots=True)
class Condition:
    """``column relation values``: with ``=`` any of the values will do, with ``!=`` none may.

    ``>=`` and ``<=`` take one value and compare as numbers; an item whose column is no number, or missing, fails.
    An item that lacks the column passes ``!=``, and fails ``=``. Of several values one has to satisfy ``=``, and none
    may be among those of ``!=``.
    """

    column: str
    relation: Relation
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what no store could answer: a comparison with what is no number, text that is not Unicode."""
        written = f"{self.column}{self.relation}{'|'.join(self.values)}"
        if any("\ud800" <= letter <= "\udfff" for letter in written):
            raise UserError(f"the filter {written!r} is not valid Unicode; type it again")
        if self.relation not in get_args(Relation):
            raise UserError(
                f"the filter {written!r} has no known relation; allowed are {', '.join(get_args(Relation))}"
            )
        if self.relation in (">=", "<=") and (len(self.values) != 1 or not NUMBER.fullmatch(self.values[0])):
            raise UserError(f"the filter {written!r} compares with {'|'.join(self.values)!r}, which is no number")

    @classmethod
    def parse(cls, written: str) -> Condition:
        """``label=cat|dog``, ``label!=cat``, ``year>=1990``."""
        match = re.fullmatch(r"\s*([^=!<>]+?)\s*(=|!=|>=|<=)(.*)", written, re.DOTALL)
        if match is None:
            raise UserError(f"cannot read the filter {written!r}; write it as column=value, !=, >= or <=")
        column, relation, value = match[1], cast(Relation, match[2]), match[3].strip()
        values = [value] if relation in (">=", "<=") else [part.strip() for part in value.split("|")]
        return cls(column, relation, tuple(values))


def of_modality(modality: str) -> Condition:
    """The condition that most searches have."""
    return Condition("@modality", "=", (modality,))


@dataclass(frozen=True, slots=True)
class Found:
    """For each query the numbers of its nearest items, best first, ``(Q, K)`` int64, and their cosines, float32.

    ``K`` is what was asked for, or the number of all items where that is smaller. Where fewer than ``K`` items satisfy
    the conditions, a row ends in numbers -1 with score ``-inf``.
    """

    numbers_QK: np.ndarray
    scores_QK: np.ndarray


class Progress(Protocol):
    """Progress of long work: what is being done, how much is done, of how much."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Index(Protocol):
    """A searchable set of unit vectors ``(N, width)`` with one :class:`Item` each."""

    @property
    def fingerprint(self) -> str:
        """Of the run that made the vectors."""

    @property
    def width(self) -> int:
        """Of a vector: the ``E`` of the space."""

    @property
    def version(self) -> int:
        """Grows with every change that this object has seen."""

    @property
    def growing(self) -> bool:
        """Whether this is a new index whose first :meth:`publish` is still to come: it is searched while it is made."""

    def __len__(self) -> int: ...

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; a vector that is not finite or has no direction is refused with its id."""

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""

    def finish(self, progress: Progress = silent) -> None:
        """Bring what was added into the form that is fastest to search (merged, a graph where there are many)."""

    def refresh(self) -> bool:
        """Look for changes by others; true if there were any, and numbers then mean other items."""

    def check_unchanged(self) -> None:
        """Raise :class:`~cospace.types.StorageError` where what was opened is gone, cut short, or replaced since.

        A later version of the same index is no such thing: see :meth:`refresh`.
        """

    def checkpoint(self, update: str | None = None) -> None:
        """Become the writer, and keep what is stored now until :meth:`close`, so that :meth:`revert` can return to it.

        Readers see what is added meanwhile, and a process that dies leaves it. With the name of an ``update``, what is
        added and deleted is on disk at once and seen by this object alone until :meth:`publish`; who comes later under
        the same name goes on with what a process that died has left. Any other change makes that visible first, as far
        as it came.
        """

    def publish(self) -> None:
        """Make the update that :meth:`checkpoint` began visible, all of it in one version; :attr:`growing` ends."""

    def revert(self) -> None:
        """Take back what was added and deleted since :meth:`checkpoint`, or all of its update."""

    def hashes(self) -> dict[str, str]:
        """The content hash of every item by id: what a second indexing compares with."""

    def nearest(self, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> Found:
        """The ``k`` nearest items of each query among those that satisfy all conditions."""

    def numbers(self, ids: Sequence[str]) -> np.ndarray:
        """int64 ``(n,)``; -1 for an id that is not there."""

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray:
        """Numbers of the items that satisfy all conditions, ascending; a seeded sample where there are more."""

    def items(self, numbers: Sequence[int]) -> list[Item]:
        """What is remembered of them, in the given order."""

    def appearance(self, numbers: np.ndarray) -> np.ndarray:
        """int32 ``(n, 3)``: width, height and mean colour of each, for laying out pages of results."""

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """float32 ``(n, width)``."""

    def columns(self) -> dict[str, int]:
        """Names of the extras that items have, with the number of items that have them."""

    def close(self) -> None:
        """Release the right to write, and the files."""


def search(index: Index, queries_QE: np.ndarray, k: int, where: Sequence[Condition] = ()) -> list[list[Hit]]:
    """The results of each query as people read them, best first."""
    found = index.nearest(queries_QE, k, where)
    hits = []
    for numbers_K, scores_K in zip(found.numbers_QK, found.scores_QK, strict=True):
        there = numbers_K >= 0
        items = index.items(numbers_K[there].tolist())
        hits.append(
            [
                Hit(item.id, float(score), item.modality, item.path, item.text)
                for item, score in zip(items, scores_K[there], strict=True)
            ]
        )
    return hits
