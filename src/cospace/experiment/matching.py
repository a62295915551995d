"""A second look at what the space finds: the decoder reads text and picture together and puts the likely ones in order.

The space compares two vectors made without knowledge of each other, which is fast; the decoder is slow, and sees what
the vectors left out (Li et al. 2021, section 3.2). So it looks at the first few alone, and what both say counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..fusion.teller import Teller
from ..space import Space
from ..types import Metrics
from .evaluate import Embedded
from .settings import unique_items
from .telling import some

CANDIDATES = 16
"""How many of the first results get a second look."""

QUERIES = 500
"""Queries each way that the figures of an evaluation are about."""


def rerank(teller: Teller | None, space: Space, embedded: Embedded) -> Metrics:
    """R@1 both ways after the second look, and before it among the same queries."""
    if teller is None or "match" not in teller.lessons or not len(embedded.text_NE):
        return {}
    judge = _Judge(teller, space, embedded)
    return {
        f"rerank/{name}/R@1{when}": value
        for name, rates in {"text_to_image": judge.pictures(), "image_to_text": judge.texts()}.items()
        for when, value in zip(("", "_before"), rates, strict=True)
    }


def evidence(space: Space, odds: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The decoder's log-odds that pairs match with the space's own added, where it is calibrated."""
    return odds if space.calibration is None else odds + space.calibration.log_odds(cosine)


class _Judge:
    """Some pairs' pictures and texts, compared by the space first and by the decoder after."""

    def __init__(self, teller: Teller, space: Space, embedded: Embedded) -> None:
        self.teller, self.space, self.embedded = teller, space, embedded
        self.all_texts = unique_items(embedded.pairs, "text")[0]

    def pictures(self) -> tuple[float, float]:
        """Share of texts whose first picture is right, after and before."""
        asked, found_QK, cosine_QK = _nearest(self.embedded.text_NE, self.embedded.image_NE)
        odds_QK = self._odds(found_QK, asked[:, None].repeat(found_QK.shape[1], 1), cosine_QK)
        right_QK = self.embedded.image_groups[found_QK] == self.embedded.text_groups[asked][:, None]
        return _first(right_QK, odds_QK)

    def texts(self) -> tuple[float, float]:
        """Share of pictures whose first text is right, after and before."""
        asked, found_QK, cosine_QK = _nearest(self.embedded.image_NE, self.embedded.text_NE)
        odds_QK = self._odds(asked[:, None].repeat(found_QK.shape[1], 1), found_QK, cosine_QK)
        right_QK = self.embedded.text_groups[found_QK] == self.embedded.image_groups[asked][:, None]
        return _first(right_QK, odds_QK)

    def _odds(self, picture_QK: np.ndarray, text_QK: np.ndarray, cosine_QK: np.ndarray) -> np.ndarray:
        shown, picture_P = np.unique(picture_QK, return_inverse=True)
        read, text_P = np.unique(text_QK, return_inverse=True)
        pair_P2 = np.stack([picture_P.reshape(-1), text_P.reshape(-1)], axis=1)
        pictures: Sequence[Tensor] = [self.embedded.images[picture] for picture in shown.tolist()]
        texts = [self.all_texts[text] for text in read.tolist()]
        odds_QK = self.teller.match(self.space, pictures, texts, pair_P2).reshape(picture_QK.shape)
        return evidence(self.space, odds_QK, cosine_QK)


def _nearest(query_NE: Tensor, found_NE: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some of the queries, and the places of what is nearest to each with their cosines, best first."""
    asked = some(np.arange(len(query_NE)), QUERIES)
    cosine_QN = query_NE[asked] @ found_NE.T
    cosine_QK, found_QK = cosine_QN.topk(min(CANDIDATES, len(found_NE)))
    return asked, found_QK.numpy(), cosine_QK.numpy()


def _first(right_QK: np.ndarray, odds_QK: np.ndarray) -> tuple[float, float]:
    best_Q = odds_QK.argmax(1)
    return float(right_QK[np.arange(len(best_Q)), best_Q].mean()), float(right_QK[:, 0].mean())
