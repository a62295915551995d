"""From cosines to probabilities of classes, and the class of what is none of them.

With one of ``C`` classes right, ``P(c) = exp(s cos_c) / sum exp(s cos)``; the slope ``s`` is the inverse of a
temperature, fitted on held-out items whose texts are known (temperature scaling, Guo et al. 2017). That is a convex
function of one number.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Basis = Literal["held-out pairs", "matches", "nothing"]
"""What probabilities rest on: held-out items among classes; the space's calibration of matches; nothing at all."""

UNCALIBRATED = 100.0
"""The slope where nothing was fitted: CLIP's own at the end of training (Radford et al. 2021)."""

FEWEST = 30
"""Held-out items below which nothing is fitted on them."""

_STEEPEST = 1e4
_HALVINGS = 40


def softmax(odds_NC: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    odds_NC = np.asarray(odds_NC, np.float64)
    share_NC = np.exp(odds_NC - odds_NC.max(-1, keepdims=True))
    return np.asarray(share_NC / share_NC.sum(-1, keepdims=True))


def fit_slope(cosine_NC: np.ndarray, label_N: np.ndarray) -> float:
    """The slope of maximum likelihood, found by bisection between 0 and :data:`_STEEPEST`.

    Targets are pulled off 1 as if one more item of every other class had been seen, so that items that are all
    classified correctly give a finite slope.
    """
    cosine_NC = np.asarray(cosine_NC, np.float64)
    rows, classes = cosine_NC.shape
    target_NC = np.full((rows, classes), 1 / (rows + classes))
    target_NC[np.arange(rows), label_N] += rows / (rows + classes)
    wanted = float((target_NC * cosine_NC).sum() / rows)
    low, high = 0.0, _STEEPEST
    for _ in range(_HALVINGS):  # the gradient rises with the slope
        middle = 0.5 * (low + high)
        expected = float((softmax(middle * cosine_NC) * cosine_NC).sum() / rows)
        low, high = (middle, high) if expected < wanted else (low, middle)
    return 0.5 * (low + high)


def contrasted(item_NE: np.ndarray, text_ME: np.ndarray, text_N: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """Cosines ``(N, C)`` of each item with its own text, in the first column, and with others drawn at random.

    ``C`` is ``classes``, or the number of different texts where that is smaller.
    """
    texts = len(text_ME)
    count = min(classes, texts)
    generator = np.random.default_rng(seed)
    others_NC = generator.random((len(item_NE), texts - 1)).argpartition(min(count - 1, texts - 2))[:, : count - 1]
    others_NC = others_NC + (others_NC >= text_N[:, None])
    chosen_NC = np.concatenate([text_N[:, None], others_NC], axis=1)
    return np.asarray(np.einsum("ne,nce->nc", item_NE, text_ME[chosen_NC]))
