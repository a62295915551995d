"""From the parts of a query to one order of the items: "this image, but at night, and no cars".

Each part scores an item by its cosine. Cosines of different kinds of parts are not comparable: an image is nearer to
every image than any text is (the modality gap), and some texts are near to everything. So a part's score is
measured against a fixed sample of the items, the *background*: ``z = (cosine - mean) / deviation``. Parts that are
wanted add up, ``sum(w * z)``, which is one dot product with one mixed vector, so that a store can find the best. A part
that is not wanted takes away only what an item has of it above the background's mean: of things that have nothing to
do with it none is better than the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .relevance import LEAST_DEVIATION

SAME = 1 - 1e-5
"""Cosine from which on two parts are the same thing: a text typed twice, an item and an upload of its file."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The vectors of a query's parts with their weights, and how they score the background."""

    vectors_PE: np.ndarray
    weights_P: np.ndarray
    means_P: np.ndarray
    deviations_P: np.ndarray

    @classmethod
    def against(cls, background_BE: np.ndarray, vectors_PE: np.ndarray, weights_P: Sequence[float]) -> Weighed:
        """Measure each part on the background, ``(B, E)`` unit vectors of what is searched for."""
        if not len(background_BE):
            background_BE = np.zeros((1, vectors_PE.shape[1]), np.float32)
        cosines_PB = vectors_PE @ background_BE.T
        deviations_P = np.maximum(cosines_PB.std(1), LEAST_DEVIATION)
        return cls(vectors_PE, np.asarray(weights_P, np.float32), cosines_PB.mean(1), deviations_P)

    @property
    def nothing(self) -> bool:
        """True where every part is taken away again by others that say the same: no item is better than another."""
        same_PP = self.vectors_PE @ self.vectors_PE.T > SAME
        return bool((np.abs(same_PP @ self.weights_P) < 1e-6).all())

    @property
    def simple(self) -> bool:
        """True of one part that is wanted: its order is that of its cosines."""
        return len(self.weights_P) == 1 and self.weights_P[0] > 0

    @property
    def linear(self) -> bool:
        """True where the order is that of :meth:`direction`'s cosines."""
        return bool((self.weights_P > 0).all()) or not self.wanted.any()

    @property
    def wanted(self) -> np.ndarray:
        """``(P,)``, true for parts with a positive weight."""
        return np.asarray(self.weights_P > 0)

    def direction(self) -> np.ndarray:
        """The unit vector ``(E,)`` near which candidates are: of the wanted parts, or away from all if none is."""
        chosen = self.wanted if self.wanted.any() else ~self.wanted
        mixed_E = (self.weights_P / self.deviations_P)[chosen] @ self.vectors_PE[chosen]
        norm = np.linalg.norm(mixed_E)
        if norm < 1e-6:  # parts that cancel each other exactly
            return np.asarray(self.vectors_PE[0])
        return np.asarray(mixed_E / norm)

    def standard(self, items_NE: np.ndarray) -> np.ndarray:
        """``z`` of every item for every part, ``(N, P)``."""
        return np.asarray((items_NE @ self.vectors_PE.T - self.means_P) / self.deviations_P)

    def shares(self, items_NE: np.ndarray) -> np.ndarray:
        """What each part adds to the score of each item, ``(N, P)``; the score is the sum."""
        z_NP = self.standard(items_NE)
        if self.wanted.any():
            z_NP = np.where(self.wanted, z_NP, np.maximum(z_NP, 0))
        total = np.abs(self.weights_P).sum()
        return np.asarray(z_NP * self.weights_P / total)

    def scores(self, items_NE: np.ndarray) -> np.ndarray:
        """``(N,)``: of a simple query the cosines, otherwise the weighted mean of ``z``."""
        if self.simple:
            return np.asarray(items_NE @ self.vectors_PE[0])
        return np.asarray(self.shares(items_NE).sum(1))
