"""Items as codes: which pairs of codes there are, how they hang together, and where they stand.

Long columns are worked on block by block (see :mod:`cospace.arrays`); none is copied into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..arrays import (
    ArrayWriter,
    Runs,
    blocks,
    by_first,
    counted,
    full,
    index_type,
    occurring,
    running,
    take,
    zeros,
)
from ..types import UserError

MOST_COMPOSED = 100_000_000
"""Largest number of matches through a third modality: some 5 GB."""


def connected(nodes: int, edges_Q2: np.ndarray) -> np.ndarray:
    """The connected component of every node ``(nodes,)``, numbered from 0 in the order of each component's first node.

    Every root is hung below the least root that an edge leads to, until no edge leads anywhere else (after Shiloach
    and Vishkin 1982); a chain of any length takes a logarithmic number of rounds.
    """
    parent = np.arange(nodes)
    while len(edges_Q2):
        roots_Q2 = np.sort(parent[edges_Q2], axis=1)
        edges_Q2 = roots_Q2[roots_Q2[:, 0] != roots_Q2[:, 1]]
        np.minimum.at(parent, edges_Q2[:, 1], edges_Q2[:, 0])
        while not np.array_equal(above := parent[parent], parent):
            parent = above
    return np.asarray(((parent == np.arange(nodes)).cumsum() - 1)[parent])


def connected_in_pieces(nodes: int, edges: Iterable[np.ndarray]) -> np.ndarray:
    """:func:`connected` of lists of edges ``(Q, 2)``, of which one at a time is in memory.

    Every tree hangs below its least node; a list joins the trees whose roots it connects, a small problem of its own.
    """
    parent = zeros(nodes, index_type(nodes))
    for some in blocks(nodes):
        parent[some] = np.arange(some.start, some.stop)
    for edges_Q2 in edges:
        root_Q2 = _roots(parent, edges_Q2)
        parent[edges_Q2] = root_Q2  # so that the ways to the roots stay short
        root_R, place = np.unique(root_Q2[root_Q2[:, 0] != root_Q2[:, 1]], return_inverse=True)
        component_R = connected(len(root_R), place.reshape(-1, 2))
        first_K = np.unique(component_R, return_index=True)[1]  # the least, since the roots are sorted
        parent[root_R] = root_R[first_K][component_R]
    for some in blocks(nodes):
        parent[some] = _roots(parent, parent[some])
    return by_first(parent)


def _roots(parent: np.ndarray, node: np.ndarray) -> np.ndarray:
    while not np.array_equal(above := parent[node], node):
        node = above
    return node


def numbered(column_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes numbered from 0 without gaps, in their order, -1 as it is; and how many different ones there are."""
    most = int(column_N.max(initial=-1)) + 1
    if most > len(column_N):
        different, place_N = np.unique(column_N[column_N >= 0], return_inverse=True)
        made_N = np.full(len(column_N), -1, np.int64)
        made_N[column_N >= 0] = place_N
        return made_N, len(different)
    used_C = occurring(column_N, most)
    if used_C.all():
        return column_N, most
    return take(running(used_C), column_N, absent=-1), int(np.count_nonzero(used_C))


def by_appearance(component_C: np.ndarray, columns: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """Components renumbered by the first row that shows one of their nodes; a row's node is its number and an offset.

    ``columns`` hold numbers ``(rows,)``, -1 for none, and the offset of each column's. The nodes of a row are of one
    component, and every component has a row.
    """
    rank_K = full(int(component_C.max(initial=-1)) + 1, -1, component_C.dtype)
    known = 0
    for some in blocks(len(columns[0][0]) if columns else 0):
        shown_N = np.full(some.stop - some.start, -1, np.int64)
        for number_N, offset in columns:
            here = np.flatnonzero(number_N[some] >= 0)
            shown_N[here] = component_C[number_N[some][here].astype(np.int64) + offset]
        component, row = np.unique(shown_N, return_index=True)
        new = np.flatnonzero(component >= 0)
        new = new[rank_K[component[new]] < 0]
        rank_K[component[new[np.argsort(row[new])]]] = np.arange(known, known + len(new))
        known += len(new)
    return take(rank_K, component_C)


def by_component(component_C: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each code's place by its component, of which there are ``count``, then in its own order; and the components so.

    Sorting by counting: what a component's codes begin with is known.
    """
    next_K = running(counted(component_C, count))
    rank_C, sorted_C = zeros(len(component_C), index_type(len(component_C))), zeros(len(component_C), component_C.dtype)
    for some in blocks(len(component_C)):
        order = np.argsort(component_C[some], kind="stable")
        component = component_C[some][order]
        different, first, times = np.unique(component, return_index=True, return_counts=True)
        place = np.repeat(next_K[different] - first, times) + np.arange(len(component))
        next_K[different] += times
        rank_C[some.start + order] = place
        sorted_C[place] = component
    return rank_C, sorted_C


def distinct_pairs(left_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """The different pairs of codes ``(P, 2)`` among rows that have both, sorted; rows lie one after another."""
    width, runs = int(right_N.max(initial=0)) + 1, Runs()
    for some in blocks(len(left_N)):
        both = np.flatnonzero((left_N[some] >= 0) & (right_N[some] >= 0))
        runs.add(distinct(left_N[some][both].astype(np.int64) * width + right_N[some][both]))
    made = ArrayWriter(index_type(max(width, int(left_N.max(initial=0)) + 1)))
    for (key,) in runs.parts():
        made.append(np.stack(np.divmod(distinct(key), width), axis=1))
    return made.finish().reshape(-1, 2)


def composed(left_P2: np.ndarray, right_Q2: np.ndarray) -> np.ndarray:
    """Pairs of (shared, left) and (shared, right), both sorted, joined over what they share: (left, right), sorted."""
    first_P, last_P = (np.searchsorted(right_Q2[:, 0], left_P2[:, 0], side) for side in ("left", "right"))
    if int((last_P - first_P).sum()) > MOST_COMPOSED:
        raise UserError("too many items share the same item to match them through it; take fewer rows")
    left = np.repeat(left_P2[:, 1], last_P - first_P)
    right = right_Q2[ranges(first_P, last_P - first_P), 1]
    return distinct_pairs(left, right)


def distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, in order; ``np.unique`` does it by hashing, which takes several times as long."""
    values = np.sort(values)
    return np.asarray(values[np.append(True, values[1:] != values[:-1])[: len(values)]])


def places_among(sorted_C: np.ndarray, wanted_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted number stands among sorted ones, and whether it does."""
    if not len(sorted_C):
        return np.zeros(len(wanted_P), np.int64), np.zeros(len(wanted_P), bool)
    place_P = np.minimum(np.searchsorted(sorted_C, wanted_P), len(sorted_C) - 1)
    return place_P, sorted_C[place_P] == wanted_P


def ranges(start_P: np.ndarray, count_P: np.ndarray) -> np.ndarray:
    """``start, start + 1, ...`` of each range, one after the other."""
    before_P = count_P.cumsum() - count_P
    return np.asarray(np.repeat(start_P - before_P, count_P) + np.arange(int(count_P.sum())))
