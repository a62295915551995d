"""Which items match: an image and a caption do where some row of the data pairs them, and only there.

Items are known by codes: equal codes mean equal content (for captions: equal once normalised). The relation is direct.
An image that is filed under "cat" and under "dog" matches both captions, and the cats match no dog for it. Following
matches from item to item gives *connected components*; they decide what is held out or drawn together, never
what is true.

:class:`Matches` is of a whole data set, :class:`BatchMatches` of a batch, :class:`Relation` of two lists of items.
None of them holds a matrix: memory grows with items and pairs. Shapes: ``N`` left and ``M`` right items, ``L`` and
``R`` different codes among them, ``P`` pairs of codes that match, ``K`` rows of a batch that have both modalities.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import (
    Runs,
    blocks,
    counted,
    full,
    index_type,
    mixed,
    numbered_by_hash,
    occurring,
    rows_where,
    take,
    zeros,
)
from ._codes import (
    by_appearance,
    by_component,
    composed,
    connected,
    connected_in_pieces,
    distinct,
    distinct_pairs,
    numbered,
    ranges,
)
from ._relation import Relation, as_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "BatchMatches",
    "Matches",
    "ModalityPair",
    "Relation",
    "RowVectors",
    "Together",
    "connected",
    "modality_pairs",
]

ModalityPair = tuple[str, str]
"""Two modalities in alphabetical order."""


def modality_pairs(names: Sequence[str] | Mapping[str, object]) -> list[ModalityPair]:
    """Every two of these modalities, each in alphabetical order."""
    return list(combinations(sorted(names), 2))


@dataclass(frozen=True, slots=True)
class Together:
    """The ``K`` rows of a batch that have two modalities: their places among the rows of each, and what matches.

    Places are those in the modality's own embeddings; nothing where the rows are all that it has. ``weight_K`` is how
    much each row counts, 1 on average over the data set; nothing where all count alike.
    """

    left_K: Tensor | None
    right_K: Tensor | None
    relation: Relation
    weight_K: Tensor | None = None

    def to(self, where: torch.device | str) -> Together:
        """The same on another device."""
        left_K, right_K, weight_K = (
            None if rows is None else rows.to(where) for rows in (self.left_K, self.right_K, self.weight_K)
        )
        return Together(left_K, right_K, self.relation.to(where), weight_K)


@dataclass(frozen=True, slots=True)
class BatchMatches:
    """What of a batch matches, for an objective. Every row matches itself wherever it has two modalities.

    ``rows`` gives the rows of the batch that have a modality, nothing where all have it; its embeddings are of these.
    ``teacher`` holds, by modality, vectors ``(B_m, D)`` of the same rows in the space of a teacher, where there is one.
    """

    rows: Mapping[str, Tensor | None]
    pairs: Mapping[ModalityPair, Together]
    teacher: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_groups(cls, groups_B: np.ndarray | Tensor, modalities: Sequence[str] = ("image", "text")) -> BatchMatches:
        """Rows that have every modality and match where their group ids are equal."""
        relation = Relation.of_groups(groups_B)
        together = {pair: Together(None, None, relation) for pair in modality_pairs(modalities)}
        return cls(dict.fromkeys(modalities), together)

    def relation(self, left: str, right: str) -> Relation:
        """What matches among the rows that have both modalities."""
        return self.pairs[left, right].relation if left < right else self.pairs[right, left].relation.T

    def to(self, where: torch.device | str) -> BatchMatches:
        """The same on another device."""
        rows = {name: None if places is None else places.to(where) for name, places in self.rows.items()}
        teacher = {name: vectors_BD.to(where) for name, vectors_BD in self.teacher.items()}
        return BatchMatches(rows, {pair: together.to(where) for pair, together in self.pairs.items()}, teacher)

    def only(self, pairs: Collection[ModalityPair]) -> BatchMatches:
        """The same of some pairs of modalities."""
        return replace(self, pairs={pair: together for pair, together in self.pairs.items() if pair in pairs})


@dataclass(frozen=True, slots=True)
class RowVectors:
    """Vectors ``(N, D)``, and which of them each row of a data set has ``(rows,)``, -1 for none."""

    vectors_ND: np.ndarray
    of_row: np.ndarray

    def select(self, rows: np.ndarray) -> RowVectors:
        """Of some rows."""
        return RowVectors(self.vectors_ND, take(self.of_row, rows))

    def at(self, rows: np.ndarray) -> Tensor:
        """The vectors of some rows, each of which has one."""
        places = self.of_row[rows]
        assert (places >= 0).all(), "a row without a vector"
        return as_tensors([self.vectors_ND[places]])[0]


@dataclass(frozen=True)
class Matches:
    """Which items of a data set match. Make it with :meth:`of`.

    ``codes`` holds per modality and row the item's code, -1 where the row lacks it; ``pairs`` per two modalities the
    codes that match ``(P, 2)``, sorted; ``component_of_code`` per modality and code the number of its connected
    component. A selection of rows keeps the last two whole, so what matched still matches and keeps its numbers.
    ``weight_N`` is how much each row counts, where they do not count alike, and ``teacher`` are vectors of the rows'
    items in another space; a batch hands both to its objective.
    """

    codes: Mapping[str, np.ndarray]
    pairs: Mapping[ModalityPair, np.ndarray]
    component_of_code: Mapping[str, np.ndarray]
    weight_N: np.ndarray | None = None
    teacher: Mapping[str, RowVectors] = field(default_factory=dict)

    @classmethod
    def of(cls, codes: Mapping[str, np.ndarray]) -> Matches:
        """From one code per row and modality, -1 for none. Components are numbered in order of appearance.

        Codes are renumbered: from 0, by component and then in their own order.
        """
        numbers, counts = {}, [0]
        for name, column in codes.items():
            numbers[name], count = numbered(column)
            counts.append(count)
        offsets = dict(zip(codes, np.cumsum(counts).tolist(), strict=False))
        paired = {pair: distinct_pairs(numbers[pair[0]], numbers[pair[1]]) for pair in modality_pairs(codes)}
        component_C = connected_in_pieces(sum(counts), _edges(paired, offsets))
        component_C = by_appearance(component_C, [(numbers[name], offset) for name, offset in offsets.items()])
        components = int(component_C.max(initial=-1)) + 1
        made, component_of_code = {}, {}
        for count, (name, column) in zip(counts[1:], numbers.items(), strict=True):
            own_C = component_C[offsets[name] : offsets[name] + count]
            rank_C, component_of_code[name] = by_component(own_C, components)
            made[name] = take(rank_C, column, absent=-1)
        pairs = {pair: distinct_pairs(made[pair[0]], made[pair[1]]) for pair in paired}
        return cls(made, pairs, component_of_code)

    def select(self, rows: np.ndarray) -> Matches:
        """Some rows in the given order; what matched still matches."""
        codes = {name: take(column, rows) for name, column in self.codes.items()}
        teacher = {name: vectors.select(rows) for name, vectors in self.teacher.items()}
        weight_N = None if self.weight_N is None else take(self.weight_N, rows)
        return replace(self, codes=codes, weight_N=weight_N, teacher=teacher)

    def through(self, shared: str) -> Matches:
        """The same, where items of two modalities that no row pairs match if they share an item of a third one.

        A measure of how two modalities were bound by the ``shared`` one; nothing learns from such matches.
        """
        found = dict(self.pairs)
        for pair in [pair for pair, pairs_P2 in self.pairs.items() if not len(pairs_P2) and shared not in pair]:
            sides = (self._codes_of(shared, name) for name in pair)
            found[pair] = composed(*sides)
        return replace(self, pairs=found)

    def _codes_of(self, left: str, right: str) -> np.ndarray:
        """The codes of two modalities that match ``(P, 2)``, sorted by the left ones."""
        pairs_P2 = self.pairs[left, right] if left < right else self.pairs[right, left][:, ::-1]
        return pairs_P2[np.lexsort((pairs_P2[:, 1], pairs_P2[:, 0]))]

    def components(self) -> np.ndarray:
        """The connected component of every row ``(rows,)``; read it, do not change it."""
        return self._components

    @cached_property
    def _components(self) -> np.ndarray:
        rows = len(next(iter(self.codes.values()), ()))
        component_N = full(rows, -1, index_type(rows))
        for name, column in self.codes.items():
            for some in blocks(rows if len(self.component_of_code[name]) else 0):
                component = self.component_of_code[name][column[some]]
                component_N[some] = np.where(column[some] >= 0, component, component_N[some])
        return component_N

    def largest_component(self) -> float:
        """Share of the rows that belong to the largest connected component."""
        components = self.components()
        sizes = counted(components, int(components.max(initial=-1)) + 1)
        return float(sizes.max(initial=0) / max(1, len(components)))

    def batch(self, rows: np.ndarray) -> BatchMatches:
        """What matches among some rows."""
        codes, together = {name: column[rows].astype(np.int64) for name, column in self.codes.items()}, {}
        has = {name: column >= 0 for name, column in codes.items()}
        for left, right in self.pairs:
            both_B = has[left] & has[right]
            places = (_places_in(both_B, has[left]), _places_in(both_B, has[right]))
            relation = self._relation((left, right), codes[left][both_B], codes[right][both_B])
            weight_K = None if self.weight_N is None else as_tensors([self.weight_N[rows][both_B]])[0]
            together[left, right] = Together(*places, relation, weight_K)
        everything = np.ones(len(rows), bool)
        teacher = {name: vectors.at(rows[has[name]]) for name, vectors in self.teacher.items()}
        return BatchMatches({name: _places_in(mask, everything) for name, mask in has.items()}, together, teacher)

    def between(self, left: str, right: str, left_rows: np.ndarray, right_rows: np.ndarray) -> Relation:
        """What matches between items of two modalities, each named by a row that shows it."""
        if left > right:
            return self.between(right, left, right_rows, left_rows).T
        return self._relation((left, right), self.codes[left][left_rows], self.codes[right][right_rows])

    def _relation(self, pair: ModalityPair, left_N: np.ndarray, right_M: np.ndarray) -> Relation:
        """The relation of some codes; only pairs of the given left codes are looked at."""
        pairs_P2 = self.pairs[pair]
        code_L = distinct(left_N).astype(pairs_P2.dtype)  # or all pairs would be converted to search among them
        first_L, last_L = (np.searchsorted(pairs_P2[:, 0], code_L, side) for side in ("left", "right"))
        return Relation.of(left_N, right_M, pairs_P2[ranges(first_L, last_L - first_L)])

    def alike(self, modality: str) -> np.ndarray:
        """Per row a number that is equal for items of a modality that match the same items everywhere ``(rows,)``.

        An item that matches nothing, for want of other modalities, is like itself alone.
        """
        count = len(self.component_of_code[modality])
        sums_2C = zeros((2, count), np.uint64)  # of numbers that stand for the items it matches: a hash of their set
        for number, (left, right) in enumerate(self.pairs):
            if modality in (left, right):
                own, other = (0, 1) if modality == left else (1, 0)
                for some in blocks(len(self.pairs[left, right])):
                    pairs_P2 = self.pairs[left, right][some]
                    for half in (0, 1):
                        salt = np.full(len(pairs_P2), 2 * number + half + 1)
                        np.add.at(sums_2C[half], pairs_P2[:, own], mixed(salt, pairs_P2[:, other]))
        runs = Runs()
        for some in blocks(count):
            code = np.arange(some.start, some.stop)
            high, low = (np.where(sums_2C[half, some] == 0, mixed(code, code), sums_2C[half, some]) for half in (0, 1))
            runs.add(high, low, code)
        return take(numbered_by_hash(runs, count), self.codes[modality], absent=-1)

    def all_match(self) -> bool:
        """Whether every two rows match each other, so that there is nothing to contrast."""
        here = {
            name: rows_where(occurring(column, len(self.component_of_code[name])))
            for name, column in self.codes.items()
        }
        if not self.pairs:
            return all(len(codes) < 2 for codes in here.values())
        return all(
            len(pairs_P2) >= len(here[left]) * len(here[right])
            and len(self._relation((left, right), here[left], here[right]).pairs_P2)
            == len(here[left]) * len(here[right])
            for (left, right), pairs_P2 in self.pairs.items()
        )


def _edges(paired: Mapping[ModalityPair, np.ndarray], offsets: Mapping[str, int]) -> Iterator[np.ndarray]:
    """All pairs of codes as pairs of nodes, block by block; the nodes of each modality begin at its offset."""
    for (left, right), pairs_P2 in paired.items():
        for some in blocks(len(pairs_P2)):
            yield pairs_P2[some].astype(np.int64) + np.array([offsets[left], offsets[right]])


def _places_in(some_B: np.ndarray, all_B: np.ndarray) -> Tensor | None:
    """Places of some rows, counted among the rows of ``all_B``; nothing where these are the same."""
    if np.array_equal(some_B, all_B):
        return None
    return as_tensors([(all_B.cumsum() - 1)[some_B]])[0]
