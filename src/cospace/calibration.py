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
        return 1 / (1 + np.exp(-np.clip(self.slope * np.asarray(cosine, np.float64) + self.offset, -700, 700)))

    def at(self, prior: float) -> Calibration:
        """The same evidence when the share ``prior`` (between 0 and 1) of what is scored matches."""
        return Calibration(self.slope, self.offset + float(np.log(prior / (1 - prior))))
