"""From a cosine to a percentage that means something; the few numbers that a run keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(match | cosine) = 1 / (1 + exp(-(slope * cosine + offset))).

    The prior is even: the probability that two items match when that is as likely as not
    beforehand. :meth:`at` moves it to another prior, e.g. one match among the N items of a collection.
    """

    slope: float
    offset: float

    def probability(self, cosine: np.ndarray | float) -> np.ndarray:
        """Probabilities in float64, of the cosine's shape."""
        probability: np.ndarray = 1 / (1 + np.exp(-np.clip(self.log_odds(cosine), -700, 700)))
        return probability

    def log_odds(self, cosine: np.ndarray | float) -> np.ndarray:
        """Evidence that can be added to other evidence: ``log(p / (1 - p))``, float64, of the cosine's shape."""
        return np.asarray(self.slope * np.asarray(cosine, np.float64) + self.offset)

    def at(self, prior: float) -> Calibration:
        """The same evidence when the share ``prior`` (between 0 and 1) of what is scored matches."""
        return Calibration(self.slope, self.offset + float(np.log(prior / (1 - prior))))


@dataclass(frozen=True, slots=True)
class Matching:
    """P(an item is a match of a query | cosine, z), at the rate at which matches occur in a collection.

    ``z = (cosine - mean) / deviation`` says how far an item stands out among all items for this query: some texts are
    near to everything, and then a high cosine says little. Fitted on held-out pairs, every query against ``gallery``
    items. A larger collection holds more that merely look alike, so the odds go down in proportion to its size.
    """

    cosine: float
    z: float
    offset: float
    gallery: int

    def probability(self, cosine: np.ndarray, z: np.ndarray, items: int) -> np.ndarray:
        """Probabilities in float64 for a collection of ``items``, of the cosine's shape."""
        odds = self.cosine * np.asarray(cosine, np.float64) + self.z * np.asarray(z, np.float64) + self.offset
        odds += np.log(self.gallery / max(1, items))
        probability: np.ndarray = 1 / (1 + np.exp(-np.clip(odds, -700, 700)))
        return probability

    def percents(self, cosine: np.ndarray, z: np.ndarray, items: int) -> np.ndarray:
        """The same in whole per cent, int64 ``(N,)``, for items best first.

        They never go up again: an order that goes down with percentages that rise would puzzle everyone.
        """
        whole = np.floor(100 * self.probability(cosine, z, items) + 0.5)
        return np.asarray(np.minimum.accumulate(whole).astype(np.int64))
