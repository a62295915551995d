"""P(an item belongs to none of the classes), from held-out items of a run and their texts.

Two things speak for it, and either is enough. The item is of another *kind* than everything the run was trained on: its
statistics are far from those of held-out items (Mahalanobis distance). Or it is near to none of *these classes*: the
highest cosine is rather that of held-out items with the texts of others than with their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..models.calibration import Calibration
from .class_probabilities import contrasted
from .platt import fit

PRIOR = 0.05
"""The share of items that belongs to no class, before anything is known of them."""

FAR = 0.98
"""Quantile of the distances of held-out items at which an item is as likely of another kind as not."""

STEEP = 4.0
"""Log-odds between the median of the distances and that quantile."""

SHRINK = 0.05
"""Added to the variances of standardised statistics, along their principal axes."""

LEAST = 0.02
"""Deviation of a statistic that no held-out item differs in; most statistics are shares of 1."""

FEWEST = 100
"""Held-out items below which no distances are fitted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A Gaussian of statistics, ``axes_SS`` whitening them, and where distances from it become suspicious."""

    mean_S: np.ndarray
    axes_SS: np.ndarray
    median: float
    far: float

    @classmethod
    def of(cls, statistics_NS: np.ndarray) -> Kind:
        """Fitted on held-out items; distances are those of one half from the Gaussian of the other."""
        halves = statistics_NS[::2], statistics_NS[1::2]
        distances = [_log_distance(*_gaussian(one), other) for one, other in (halves, halves[::-1])]
        median, far = np.quantile(np.concatenate(distances), (0.5, FAR))
        return cls(*_gaussian(statistics_NS), float(median), float(max(far, median + 1e-6)))

    def probability(self, statistics_NS: np.ndarray) -> np.ndarray:
        """P(of another kind), ``(N,)``."""
        beyond_N = (_log_distance(self.mean_S, self.axes_SS, statistics_NS) - self.far) / (self.far - self.median)
        return np.asarray(1 / (1 + np.exp(-np.clip(STEEP * beyond_N, -50, 50))))


def _gaussian(statistics_NS: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and axes that whiten what was standardised."""
    statistics_NS = np.asarray(statistics_NS, np.float64)
    mean_S, deviation_S = statistics_NS.mean(0), statistics_NS.std(0) + LEAST
    variance_S, axes_SS = np.linalg.eigh(np.cov(((statistics_NS - mean_S) / deviation_S).T))
    return mean_S, axes_SS / np.sqrt(np.maximum(variance_S, 0) + SHRINK) / deviation_S[:, None]


def _log_distance(mean_S: np.ndarray, axes_SS: np.ndarray, statistics_NS: np.ndarray) -> np.ndarray:
    return np.asarray(np.log((((statistics_NS - mean_S) @ axes_SS) ** 2).sum(1) + 1e-12))


@dataclass(frozen=True, slots=True)
class RestModel:
    """Both of what speaks for the rest; ``kind`` where a modality has statistics."""

    fits: Calibration
    kind: Kind | None

    @classmethod
    def fit(
        cls,
        item_NE: np.ndarray,
        text_ME: np.ndarray,
        text_N: np.ndarray,
        statistics_NS: np.ndarray | None,
        classes: int,
    ) -> RestModel:
        """For so many classes: an item's own text is one of as many that are drawn, or is left out of them."""
        cosine_NC = contrasted(item_NE, text_ME, text_N, max(2, classes + 1))
        own_N, others_N = cosine_NC[:, : max(1, classes)].max(1), cosine_NC[:, 1:].max(1)
        is_own = np.arange(2 * len(own_N)) < len(own_N)
        fits = fit(np.concatenate([own_N, others_N]), is_own).at(1 - PRIOR)
        known = statistics_NS is not None and len(statistics_NS) >= FEWEST
        return cls(fits, Kind.of(statistics_NS) if known and statistics_NS is not None else None)

    def probability(self, cosine_NC: np.ndarray, statistics_NS: np.ndarray | None) -> np.ndarray:
        """P(of none of the classes), ``(N,)``, from cosines with all of them and, if there are any, statistics."""
        belongs_N = self.fits.probability(cosine_NC.max(1))
        if self.kind is not None and statistics_NS is not None:
            belongs_N = belongs_N * (1 - self.kind.probability(statistics_NS))
        return np.asarray(1 - belongs_N)
