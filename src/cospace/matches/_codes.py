"""Items as codes: which pairs of codes there are, how they hang together, and where they stand. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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


def numbered(column_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Codes numbered from 0 without gaps, in their order, -1 as it is; and how many different ones there are."""
    most = int(column_N.max(initial=-1)) + 1
    if most > len(column_N):
        different, place_N = np.unique(column_N[column_N >= 0], return_inverse=True)
        made_N = np.full(len(column_N), -1, np.int64)
        made_N[column_N >= 0] = place_N
        return made_N, len(different)
    used = np.zeros(most + 1, bool)  # with a last place for -1
    used[column_N] = True
    if used[:most].all():
        return column_N, most
    used[most] = False
    rank_C = np.append(used[:most].cumsum() - 1, -1)
    return np.asarray(rank_C[column_N]), int(used.sum())


def by_appearance(component_C: np.ndarray, columns: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """Components renumbered by the first row that shows one of their nodes; a row's node is its number and an offset.

    ``columns`` hold numbers ``(rows,)``, -1 for none, and the offset of each column's.
    """
    rows = len(columns[0][0]) if columns else 0
    first = np.full(int(component_C.max(initial=-1)) + 1, rows)
    for number_N, offset in columns:
        row = np.flatnonzero(number_N >= 0)
        np.minimum.at(first, component_C[number_N[row] + offset], row)
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    return np.asarray(rank[component_C])


def distinct_pairs(left_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """The different pairs of codes ``(P, 2)`` among rows that have both, sorted; columns lie in one component."""
    both = (left_N >= 0) & (right_N >= 0)
    width = int(right_N.max(initial=0)) + 1
    return np.stack(np.divmod(distinct(left_N[both] * width + right_N[both]), width)).T


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
