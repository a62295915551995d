"""Approximate nearest neighbours (ANN) in large indexes: the vector index as a setting, and its measured recall.

A setting is written as ``hnsw`` or ``hnsw:m=32,ef_construction=200``; ``exact`` asks for none. After every build a
sample of stored vectors is searched for exactly and approximately; of the search parameters that are tried, the
cheapest that finds :data:`PROMISE` of the true ten nearest is kept, with what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from ..types import UserError
from . import Condition, Found, of_modality

EXACT = "exact"
"""The kind of index that is none."""
PROMISE = 0.98
"""Recall@10 that an approximate search has to reach in its own measurement; otherwise every vector is read."""
NEAREST = 10
QUERIES = 100
"""Stored vectors of each modality that are searched for in a measurement, at most."""
SAME = 1e-6
"""Scores that differ by less are equal: of items with equal vectors any will do."""

Options = Mapping[str, tuple[int, int]]
"""The options of one kind, each with the least and the greatest value."""


@dataclass(frozen=True, slots=True)
class Ann:
    """A kind of vector index and how it is built."""

    kind: str
    options: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.kind + "".join(f"{',' if n else ':'}{k}={v}" for n, (k, v) in enumerate(self.options.items()))

    @classmethod
    def parse(cls, written: str, kinds: Mapping[str, Options]) -> Self:
        """Read a setting; ``kinds`` are those that a store offers, with their options."""
        kind, _, rest = written.strip().partition(":")
        if kind not in kinds:
            raise UserError(f"{written!r} is no vector index of this store; choose one of {', '.join(sorted(kinds))}")
        options = {}
        for part in filter(None, rest.split(",")):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in kinds[kind]:
                allowed = ", ".join(kinds[kind]) or "none"
                raise UserError(f"{kind} has no option {name!r}; allowed are: {allowed}")
            least, most = kinds[kind][name]
            if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
                raise UserError(f"{name} of {kind} is a whole number from {least} to {most}, {value!r} was given")
            options[name] = int(value)
        return cls(kind, options)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured after a build: ``recall`` among ``rows`` items with the parameters of ``search``.

    ``recall`` is recall@10 for the modality of queries that it is lowest for. Where it is below :data:`PROMISE`,
    searches are exact.
    """

    ann: str
    rows: int
    recall: float
    queries: int
    search: Mapping[str, int]

    @property
    def used(self) -> bool:
        """Whether searches are approximate."""
        return self.recall >= PROMISE

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Self:
        """What :meth:`plain` gave."""
        return cls(**value)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "search": dict(self.search)}

    def sentence(self, of: str) -> str:
        """``60,000 images by ivf_rq: recall@10 0.994 (200 queries)``."""
        found = f"recall@{NEAREST} {self.recall:.3f} ({self.queries} queries)"
        if self.used:
            return f"{self.rows:,} {of} by {self.ann}: {found}"
        return f"{self.rows:,} {of} are searched exactly: {self.ann} has {found}, {PROMISE:g} is asked for"


@runtime_checkable
class Approximate(Protocol):
    """A store whose large indexes are searched in a way that can be chosen, and that measures it."""

    @property
    def measured(self) -> Mapping[str, Measured]:
        """By modality, what was measured of its vector index; nothing where every vector is read."""

    def choose_ann(self, written: str) -> None:
        """Choose the kind of vector index that ``finish`` builds; the index remembers it from then on."""


class Answer(Protocol):
    """A search in the items of one modality: exact, or with some parameters of its vector index."""

    def __call__(self, queries_QE: np.ndarray, k: int, search: Mapping[str, int] | None, /) -> Found: ...


class Sampled(Protocol):
    """Of a store: what gives the queries, and how many."""

    queries: int

    def select(self, where: Sequence[Condition] = (), most: int | None = None, seed: int = 0) -> np.ndarray: ...

    def vectors(self, numbers: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class _Group:
    """Queries of one modality: their own numbers where these are searched too, and the tenth true score of each."""

    queries_QE: np.ndarray
    own_Q: np.ndarray | None
    tenth_Q: np.ndarray
    true: int

    def recall(self, answer: Answer, search: Mapping[str, int]) -> float:
        scores_QK = _others(answer(self.queries_QE, NEAREST + 1, search), self.own_Q)
        right_Q = (scores_QK >= self.tenth_Q[:, None] - SAME).sum(axis=1)
        return float(np.minimum(right_Q, self.true).mean() / self.true)


def measure(
    sampled: Sampled, modality: str, queried: Iterable[str], answer: Answer, tried: Iterable[Mapping[str, int]]
) -> tuple[Mapping[str, int], float, int]:
    """The first of the parameters ``tried`` that keeps the promise (else the last), its recall, and how many queries.

    Queries are stored vectors of every modality in ``queried``; a query that is itself among what is searched does not
    count as found.
    """
    groups = [group for name in queried if (group := _group(sampled, modality, name, answer)) is not None]
    count = sum(len(group.queries_QE) for group in groups)
    search: Mapping[str, int] = {}
    recall = 0.0
    for search in tried:
        recall = min(group.recall(answer, search) for group in groups)
        if recall >= PROMISE:
            break
    return search, recall, count


def _group(sampled: Sampled, modality: str, queried: str, answer: Answer) -> _Group | None:
    numbers_Q = sampled.select([of_modality(queried)], sampled.queries, seed=1)
    if not len(numbers_Q):
        return None
    queries_QE, own_Q = sampled.vectors(numbers_Q), numbers_Q if queried == modality else None
    scores_QK = _others(answer(queries_QE, NEAREST + 1, None), own_Q)
    true = int(np.isfinite(scores_QK[0]).sum())
    return _Group(queries_QE, own_Q, scores_QK[:, true - 1], true) if true else None


def _others(found: Found, own_Q: np.ndarray | None) -> np.ndarray:
    """Scores ``(Q, 10)`` of what was found, best first, without the queries themselves."""
    scores_QK = found.scores_QK.copy()
    if own_Q is not None:
        scores_QK[found.numbers_QK == own_Q[:, None]] = -np.inf
    return -np.sort(-scores_QK, axis=1)[:, :NEAREST]
