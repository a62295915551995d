"""Near-duplicates between what was trained on and what is measured on: re-encoded, resized, mirrored copies.

A copy has other bytes, so that hashes of content do not find it. Every modality may reduce its items to small
signatures in which a copy is almost equal; images are reduced to 8 x 8 colours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..modalities import modality
from ..types import Metrics
from .prepared import PreparedPairs

PREFIX = "near_duplicates/"
"""Of the metrics: the share of the different files of a modality with a near-duplicate among the training files."""

UNLIKE = 0.006
"""Largest squared distance of two signatures without their means, as a share of their summed squares. Copies of 200
photographs (Flickr8k) at half the size and JPEG quality 30 reach 0.0059 (median 0.0013), at twice the size 0.0001; the
nearest two different ones of 700, two shots of one scene, have 0.048."""

BRIGHTER = 8.0
"""Largest difference of two means, in levels of 255."""

NOISE = 1.0
"""Squared difference a number that is allowed anyway, for images that are all of one colour."""

_ROWS = 1024


def signatures(prepared: PreparedPairs) -> dict[str, np.ndarray]:
    """By modality, the signatures ``(N, V, S)`` of each different item that a row has (see ``Modality.signatures``)."""
    found = {}
    for name, item_of_row in prepared.item_of_row.items():
        items = np.unique(item_of_row[item_of_row >= 0])
        made = modality(name).signatures([prepared.items[name][int(item)] for item in items])
        if made is not None and len(made):
            found[name] = made
    return found


def near_duplicates(known_MVS: np.ndarray, measured_NVS: np.ndarray) -> np.ndarray:
    """Which of the measured items are, in any of their views, a copy of a known one: bool ``(N,)``."""
    known, found = _Centred(known_MVS[:, 0]), np.zeros(len(measured_NVS), bool)
    for view in range(measured_NVS.shape[1]):
        found |= _close(known, _Centred(measured_NVS[:, view]))
    return found


def _close(known: _Centred, measured: _Centred) -> np.ndarray:
    found = np.zeros(len(measured.rows), bool)
    for start in range(0, len(known.rows), _ROWS):
        part = slice(start, start + _ROWS)
        squares = known.squares[part, None] + measured.squares[None]
        distance = squares - 2 * known.rows[part] @ measured.rows.T
        close = distance <= np.maximum(UNLIKE * squares, NOISE * known.rows.shape[1])
        close &= np.abs(known.means[part, None] - measured.means[None]) <= BRIGHTER
        found |= close.any(axis=0)
    return found


class _Centred:
    """Signatures without their means, and these."""

    def __init__(self, rows_NS: np.ndarray) -> None:
        rows = rows_NS.astype(np.float32)
        self.means = rows.mean(axis=1)
        self.rows = rows - self.means[:, None]
        self.squares = (self.rows**2).sum(axis=1)


def shares(known: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray], exact: Metrics) -> Metrics:
    """By modality ``near_duplicates/NAME``, without files that are ``leaked`` byte by byte; nothing where none is."""
    found = {}
    for name, rows_NVS in measured.items():
        if name in known:
            share = float(near_duplicates(known[name], rows_NVS).mean()) - exact.get(f"leaked/{name}", 0.0)
            found[f"{PREFIX}{name}"] = share
    return {name: share for name, share in found.items() if share > 1e-9}
