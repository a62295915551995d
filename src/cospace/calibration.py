"""From a cosine to a percentage that means something; the two numbers that a run keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Calibration:
    """P(match | cosine) = 1 / (1 + exp(-(slope * cosine + offset))).

    The prior is even: the probability that a text and a picture belong together when that is as likely as not
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
