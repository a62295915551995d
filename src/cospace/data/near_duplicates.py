"""Near-duplicates: re-encoded, resized, cropped, mirrored copies, among items or between two sets of them.

A copy has other bytes, so that hashes of content do not find it. Every modality may reduce its items to signatures,
from which it says whether two are copies (``Modality.copies``). Which two are asked about is decided by their
outlines: short vectors that are nearly parallel in copies (``Modality.outlines``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..modalities import modality
from ..types import Metrics
from .cluster import cluster
from .prepared import PreparedPairs

PREFIX = "near_duplicates/"
"""Of the metrics: the share of the different files of a modality with a near-duplicate among the training files."""

PARALLEL = 0.9
"""Cosine of the outlines from which on two items are compared closely."""

NEAREST = 64
"""Items that each is compared with in one block, the most parallel ones: what is like more of them is like nearly
all."""

FEW = 6_000
"""Items up to which all outlines are compared with all. Beyond, each joins the groups of the nearest of some outlines
drawn at random, and those of one group are compared, so that the work grows with the 1.5th power of the items."""

GROUPS = 2
"""Groups that an item joins for each of its views: copies share one, even where they lie on both sides of a border."""

_CELLS = 1 << 22
"""Numbers of the largest block: 16 MB."""


def signatures(prepared: PreparedPairs) -> dict[str, np.ndarray]:
    """By modality, the signatures ``(N, V, S)`` of each different item that a row has (see ``Modality.signatures``)."""
    found = {}
    for name, item_of_row in prepared.item_of_row.items():
        items = np.unique(item_of_row[item_of_row >= 0])
        made = modality(name).signatures([prepared.items[name][int(item)] for item in items])
        if made is not None and len(made):
            found[name] = made
    return found


def near_duplicates(known_MVS: np.ndarray, measured_NVS: np.ndarray, name: str) -> np.ndarray:
    """Which of the measured items of a modality are copies of a known one: bool ``(N,)``."""
    return nearest_copy(known_MVS, measured_NVS, name) >= 0


def nearest_copy(known_MVS: np.ndarray, measured_NVS: np.ndarray, name: str) -> np.ndarray:
    """Of each measured item of a modality the first known one that it is a copy of, or -1: ``(N,)``."""
    found_N, one = np.full(len(measured_NVS), -1, np.int64), modality(name)
    for start, known_KD in _blocks(known_MVS, name):
        for place, views_LWD in _blocks(measured_NVS, name):
            open_L = np.flatnonzero(found_N[place : place + len(views_LWD)] < 0)
            pairs_P2 = _parallel(views_LWD[open_L][:, 0], known_KD)
            pairs_P2 = np.stack([start + pairs_P2[:, 1], place + open_L[pairs_P2[:, 0]]], axis=1)
            known, measured = pairs_P2[one.copies(known_MVS, measured_NVS, pairs_P2)].T
            order = np.argsort(-known, kind="stable")  # the first of several is written last
            found_N[measured[order]] = known[order]
    return found_N


def close_pairs(signatures_NVS: np.ndarray, name: str) -> np.ndarray:
    """Places ``(P, 2)``, ascending, of items of a modality that are copies of each other.

    Of items with equal signatures the first stands for all, and the others are copies of it.
    """
    if not len(signatures_NVS):
        return np.zeros((0, 2), np.int64)
    first_N = _first_of_equals(signatures_NVS)
    alone_U = np.flatnonzero(first_N == np.arange(len(first_N)))
    equal = np.flatnonzero(first_N != np.arange(len(first_N)))
    found = [np.stack([first_N[equal], equal], axis=1)]
    joined_UG = _joined(signatures_NVS[alone_U], name) if len(alone_U) > FEW else np.zeros((len(alone_U), 1), np.int64)
    order = np.argsort(joined_UG.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(joined_UG.ravel()))
    groups = [np.unique(some) for some in np.split(order // joined_UG.shape[1], ends[:-1])]
    shards = (
        _Group(name, number, signatures_NVS[alone_U[members]], joined_UG[members])
        for number, members in enumerate(groups)
    )
    workers = cluster()
    made = map(_pairs_within, shards) if workers is None else workers.map(_pairs_within, shards)
    found += [alone_U[members[pairs_P2]] for members, pairs_P2 in zip(groups, made, strict=True)]
    pairs_P2 = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    return pairs_P2.reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class _Group:
    """Items that share a group, and so are compared: all that this takes."""

    name: str
    number: int
    signatures_MVS: np.ndarray
    joined_MG: np.ndarray
    """Every group that each of them has joined."""


def _pairs_within(group: _Group) -> np.ndarray:
    """Copies ``(P, 2)`` among the members of a group, by their places, without those that an earlier group finds."""
    found, joined_MG = [np.zeros((0, 2), np.int64)], group.joined_MG
    for start, left_LWD in _blocks(group.signatures_MVS, group.name):
        for place, right_RWD in _blocks(group.signatures_MVS[start:], group.name):
            pairs_P2 = start + _parallel(left_LWD[:, 0], right_RWD) + (0, place)
            pairs_P2 = pairs_P2[pairs_P2[:, 0] < pairs_P2[:, 1]]
            if joined_MG.shape[1] > 1:
                left, right = (joined_MG[side] for side in pairs_P2.T)
                shared = (left[:, :, None] == right[:, None]).any(axis=2)
                first_P = np.where(shared, left, np.iinfo(np.int64).max).min(axis=1)
                pairs_P2 = pairs_P2[first_P == group.number]
            found.append(pairs_P2[modality(group.name).copies(group.signatures_MVS, group.signatures_MVS, pairs_P2)])
    return np.concatenate(found)


def _first_of_equals(signatures_NVS: np.ndarray) -> np.ndarray:
    """The first item with the same signature, for each."""
    rows = signatures_NVS.reshape(len(signatures_NVS), -1)
    factors = np.random.default_rng(0).integers(1, 1 << 62, rows.shape[1], np.int64)
    sums = [rows[at : at + 4096].astype(np.int64) @ factors for at in range(0, len(rows), 4096)]
    _, first, inverse = np.unique(
        np.concatenate(sums or [np.zeros(0, np.int64)]), return_index=True, return_inverse=True
    )
    return np.asarray(first[inverse].astype(np.int64))


def _joined(signatures_UVS: np.ndarray, name: str) -> np.ndarray:
    """The groups that each item joins ``(U, W * GROUPS)``, for its ``W`` views."""
    many = int(2 * np.sqrt(len(signatures_UVS)))
    drawn = np.random.default_rng(0).choice(len(signatures_UVS), many, replace=False)
    centres_KD = np.concatenate([views[:, 0] for _, views in _blocks(signatures_UVS[drawn], name)])
    joined = []
    for _, views_LWD in _blocks(signatures_UVS, name, many):
        near_LWK = views_LWD @ centres_KD.T
        joined.append(np.argpartition(near_LWK, -GROUPS, axis=2)[:, :, -GROUPS:].reshape(len(near_LWK), -1))
    return np.concatenate(joined)


def _blocks(signatures_NVS: np.ndarray, name: str, beside: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Outlines ``(L, W, D)`` of some items at a time, with the place of the first.

    Those of two blocks, or of one and so many ``beside``, have at most :data:`_CELLS` products.
    """
    size = max(1, _CELLS // (2 * beside)) if beside else int(np.sqrt(_CELLS // 2))
    for start in range(0, len(signatures_NVS), size):
        yield start, modality(name).outlines(signatures_NVS[start : start + size])


def _parallel(left_LD: np.ndarray, right_RWD: np.ndarray) -> np.ndarray:
    """Pairs ``(P, 2)`` of a left item and a right one that are nearly parallel in any view, a few for each left one."""
    near_LR = left_LD @ right_RWD[:, 0].T
    for view in range(1, right_RWD.shape[1]):
        np.maximum(near_LR, left_LD @ right_RWD[:, view].T, out=near_LR)
    close_LR = near_LR >= PARALLEL
    crowded = np.flatnonzero(np.count_nonzero(close_LR, axis=1) > NEAREST)
    if len(crowded):
        best = np.argpartition(near_LR[crowded], -NEAREST, axis=1)[:, -NEAREST:]
        close_LR[crowded] = False
        close_LR[crowded[:, None], best] = True
    return np.argwhere(close_LR)


def shares(known: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray], exact: Metrics) -> Metrics:
    """By modality ``near_duplicates/NAME``, without files that are ``leaked`` byte by byte; nothing where none is.

    Signatures of a run that was trained when they were others say nothing.
    """
    found = {}
    for name, rows_NVS in measured.items():
        if name in known and known[name].shape[1:] == rows_NVS.shape[1:]:
            share = float(near_duplicates(known[name], rows_NVS, name).mean()) - exact.get(f"leaked/{name}", 0.0)
            found[f"{PREFIX}{name}"] = share
    return {name: share for name, share in found.items() if share > 1e-9}
