"""Where embedded items live and are found again. One store per file.

The contract of a store is :class:`Index`. A store keeps unit vectors with stable ids and knows the fingerprint of the
run whose space they belong to; it refuses vectors of another. Adding an id again replaces the item. When ``add`` or
``delete`` returns, the change survives the death of the process; a reader sees all of a change or none of it. Scores
are cosines. A store knows nothing of encoders: vectors come in and go out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Item:
    """What a store remembers of one vector. Each field is a column that ``where`` can select on."""

    id: str
    modality: str
    path: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; ``score`` is the cosine of query and item."""

    id: str
    score: float
    modality: str
    path: str
    text: str


class Index(Protocol):
    """A searchable set of unit vectors ``(N, width)`` with one :class:`Item` each."""

    @property
    def fingerprint(self) -> str:
        """Of the run that made the vectors."""

    @property
    def width(self) -> int:
        """Of a vector: the ``E`` of the space."""

    def __len__(self) -> int: ...

    def add(self, items: Sequence[Item], vectors_NE: np.ndarray) -> None:
        """Store items by id; a vector that is not finite or has no direction is refused with its id."""

    def delete(self, ids: Iterable[str]) -> int:
        """Forget items; the number of those that were there."""

    def search(self, query_E: np.ndarray, k: int, where: Mapping[str, str] | None = None) -> list[Hit]:
        """The ``k`` nearest items, best first, among those whose columns equal ``where``."""

    def search_batch(self, queries_QE: np.ndarray, k: int, where: Mapping[str, str] | None = None) -> list[list[Hit]]:
        """:meth:`search` for many queries in one pass over the vectors."""

    def close(self) -> None:
        """Release the right to write, and the files."""
