"""Pairs and the unit vectors of their different items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..data.pairs import Pairs
from ..data.prepared import PreparedPairs, prepare_pairs
from ..evaluation.retrieval import Ranking, both_ways
from ..matches import Relation, modality_pairs
from ..modalities import modality
from ..models.space import Space
from ..types import Progress, silent


@dataclass(frozen=True, slots=True)
class EmbeddedPairs:
    """Every different item of the modalities that a space embeds, once.

    By modality: ``vectors`` ``(N, E)``; ``item`` ``(N,)``, the number of each one's item among the prepared ones;
    ``first_row`` ``(N,)``, the first row that has it; ``vector_of_row``, the vector of every row, -1 where it has none;
    ``norms`` ``(N, 1)``, the lengths that the vectors had before they were normalised.
    """

    prepared: PreparedPairs
    vectors: Mapping[str, Tensor]
    item: Mapping[str, np.ndarray]
    first_row: Mapping[str, np.ndarray]
    vector_of_row: Mapping[str, np.ndarray]
    norms: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def pairs(self) -> Pairs:
        """The pairs that were embedded."""
        return self.prepared.pairs

    def truncated(self, width: int) -> EmbeddedPairs:
        """The same with the first ``width`` numbers of every vector, at unit length."""
        encoded = {name: (rows * self.norms[name])[:, :width] for name, rows in self.vectors.items()}
        vectors = {name: normalize(rows, dim=-1) for name, rows in encoded.items()}
        return replace(
            self, vectors=vectors, norms={name: rows.norm(dim=-1, keepdim=True) for name, rows in encoded.items()}
        )

    def components(self, name: str) -> np.ndarray:
        """The connected component of every item, which an interval draws together."""
        components: np.ndarray = self.pairs.groups[self.first_row[name]]
        return components

    def relation(self, asked: str, found: str) -> Relation:
        """Which of the different items of one modality match which of the other's."""
        return self.pairs.matches.between(asked, found, self.first_row[asked], self.first_row[found])

    def both(self) -> list[tuple[str, str]]:
        """Every two modalities that some row pairs, each in alphabetical order."""
        return [pair for pair in modality_pairs(self.vectors) if len(self.relation(*pair).pairs_P2)]

    def among_matched(self, first: str, second: str) -> Matched:
        """Two modalities' items, those left out that nothing of the other one matches."""
        relation = self.relation(first, second)
        kept = tuple(torch.nonzero(counts)[:, 0] for counts in relation.counts())
        if all(len(rows) == size for rows, size in zip(kept, relation.shape, strict=True)):
            return Matched(self.vectors[first], self.vectors[second], relation, kept)
        first_NE, second_ME = (self.vectors[name][rows] for name, rows in zip((first, second), kept, strict=True))
        return Matched(first_NE, second_ME, relation.select(*kept), kept)

    def rankings(self) -> dict[str, Ranking]:
        """Where every query's match stands, both ways for every two modalities."""
        found: dict[str, Ranking] = {}
        for pair in self.both():
            matched = self.among_matched(*pair)
            found |= both_ways(matched.first_NE, matched.second_ME, matched.relation, pair)
        return found


@dataclass(frozen=True, slots=True)
class Matched:
    """Vectors of two modalities, what matches among them, and which of all items these are."""

    first_NE: Tensor
    second_ME: Tensor
    relation: Relation
    kept: tuple[Tensor, ...]


def prepare_for(
    space: Space, pairs: Pairs, max_bad_fraction: float = 0.01, progress: Progress = silent
) -> PreparedPairs:
    """Prepare every different item once; rows whose items cannot be read are set aside, up to a fraction of them."""
    prepared = prepare_pairs(pairs, space.processors, progress)
    prepared.pairs.stop_above(max_bad_fraction)
    return prepared


def embed_pairs(space: Space, prepared: PreparedPairs, progress: Progress = silent) -> EmbeddedPairs:
    """Embed every different item that some row shows."""
    vectors, item, first_row, vector_of_row, norms = {}, {}, {}, {}, {}
    for name in (name for name in space.modalities if name in prepared.items):
        item_of_row = prepared.item_of_row[name]
        rows = np.flatnonzero(item_of_row >= 0)
        if not len(rows):
            continue
        item[name], first, place = np.unique(item_of_row[rows], return_index=True, return_inverse=True)
        first_row[name] = rows[first]
        vector_of_row[name] = np.full(len(item_of_row), -1, np.int64)
        vector_of_row[name][rows] = place
        encoded_NE = _encoded(space, name, prepared, item[name], progress)
        vectors[name], norms[name] = normalize(encoded_NE, dim=-1), encoded_NE.norm(dim=-1, keepdim=True)
    return EmbeddedPairs(prepared, vectors, item, first_row, vector_of_row, norms)


def _encoded(space: Space, name: str, prepared: PreparedPairs, items: np.ndarray, progress: Progress) -> Tensor:
    what = f"embedding {modality(name).plural}"

    def report(done: int, total: int) -> None:
        progress(what, done, total)

    chosen = (prepared.items[name][item] for item in items.tolist())
    return torch.from_numpy(np.concatenate(list(space.encode_prepared(name, chosen, report, len(items)))))
