"""Re-ranking by image-text matching: the decoder reads text and item together and sorts the nearest ones.

The space compares two vectors made without knowledge of each other, which is fast; the decoder is slow, and sees what
the vectors left out (Li et al. 2021, section 3.2). So it scores the first few alone, and both scores count.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation
from ..modalities import text_modality
from ..models.generation.generator import TextGenerator
from ..models.space import Space
from ..types import Metrics
from .embedded import EmbeddedPairs
from .generation import some

CANDIDATES = 16
"""How many of the first results are scored again."""

QUERIES = 500
"""Queries each way that the figures of an evaluation are about."""


def rerank(generator: TextGenerator | None, space: Space, embedded: EmbeddedPairs, queries: int = QUERIES) -> Metrics:
    """R@1 both ways after re-ranking, before it among the same queries, and how many those are, ``queries`` at most."""
    if generator is None or "itm" not in generator.tasks:
        return {}
    text, described = text_modality(), generator.modality
    if not {text, described} <= embedded.vectors.keys():
        return {}
    reranker = _Reranker(generator, space, embedded, queries)
    found: Metrics = {}
    for asked, wanted, (after, before) in ((text, described, reranker.items()), (described, text, reranker.texts())):
        name = f"rerank/{asked}_to_{wanted}"
        found |= {f"{name}/R@1": after, f"{name}/R@1_before": before}
        found[f"{name}/n"] = float(min(queries, len(embedded.vectors[asked])))
    return found


def evidence(space: Space, odds: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """The decoder's log-odds that pairs match with the space's own added, where it is calibrated."""
    return odds if space.calibration is None else odds + space.calibration.log_odds(cosine)


class _Reranker:
    """Some pairs' items and texts, compared by the space first and by the decoder after."""

    def __init__(self, generator: TextGenerator, space: Space, embedded: EmbeddedPairs, queries: int) -> None:
        self.generator, self.space, self.embedded, self.queries = generator, space, embedded, queries
        self.item_NE, self.text_NE = (embedded.vectors[name] for name in (generator.modality, text_modality()))
        texts = embedded.pairs.items[text_modality()]
        self.all_texts = [texts[row] for row in embedded.first_row[text_modality()].tolist()]
        self.relation = embedded.relation(generator.modality, text_modality())

    def items(self) -> tuple[float, float]:
        """Share of texts whose first item is right, after and before."""
        asked, found_QK, cosine_QK = _nearest(self.text_NE, self.item_NE, self.queries)
        odds_QK = self._odds(found_QK, asked[:, None].repeat(found_QK.shape[1], 1), cosine_QK)
        return _first(_right(self.relation.T, asked, found_QK), odds_QK)

    def texts(self) -> tuple[float, float]:
        """Share of items whose first text is right, after and before."""
        asked, found_QK, cosine_QK = _nearest(self.item_NE, self.text_NE, self.queries)
        odds_QK = self._odds(asked[:, None].repeat(found_QK.shape[1], 1), found_QK, cosine_QK)
        return _first(_right(self.relation, asked, found_QK), odds_QK)

    def _odds(self, item_QK: np.ndarray, text_QK: np.ndarray, cosine_QK: np.ndarray) -> np.ndarray:
        shown, item_P = np.unique(item_QK, return_inverse=True)
        read, text_P = np.unique(text_QK, return_inverse=True)
        pair_P2 = np.stack([item_P.reshape(-1), text_P.reshape(-1)], axis=1)
        name = self.generator.modality
        number, prepared = self.embedded.item[name], self.embedded.prepared.items[name]
        items: list[Tensor] = [prepared[int(number[place])] for place in shown.tolist()]
        texts = [self.all_texts[text] for text in read.tolist()]
        odds_QK = self.generator.match(self.space, items, texts, pair_P2).reshape(item_QK.shape)
        return evidence(self.space, odds_QK, cosine_QK)


def _nearest(query_NE: Tensor, found_NE: Tensor, queries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some of the queries, and the places of what is nearest to each with their cosines, best first."""
    asked = some(np.arange(len(query_NE)), queries)
    cosine_QN = query_NE[asked] @ found_NE.T
    cosine_QK, found_QK = cosine_QN.topk(min(CANDIDATES, len(found_NE)))
    return asked, found_QK.numpy(), cosine_QK.numpy()


def _right(relation: Relation, asked_Q: np.ndarray, found_QK: np.ndarray) -> np.ndarray:
    """Which of the found items match what was asked."""
    asked_QK = np.broadcast_to(asked_Q[:, None], found_QK.shape).reshape(-1).copy()
    right = relation.matched(torch.from_numpy(asked_QK), torch.from_numpy(found_QK.reshape(-1)))
    return right.numpy().reshape(found_QK.shape)


def _first(right_QK: np.ndarray, odds_QK: np.ndarray) -> tuple[float, float]:
    best_Q = odds_QK.argmax(1)
    return float(right_QK[np.arange(len(best_Q)), best_Q].mean()), float(right_QK[:, 0].mean())
