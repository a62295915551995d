"""Fit what a search says of its results: how likely each is to be a match, among as many as there are.

Unlike the even prior of :mod:`platt`, every held-out query meets every gallery item at the rate that is really there,
so that the fit is good where results are: among the few items that come near.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation
from ..models.calibration import Matching
from .platt import newton
from .vectors import beside, unit

LEAST_QUERIES = 100
"""Fewer held-out queries say too little about percentages; none are shown then."""
MOST_QUERIES, MOST_GALLERY = 500, 2_000


def fit_matching(query_NE: Tensor, gallery_ME: Tensor, relation: Relation, seed: int = 0) -> Matching | None:
    """The calibration of one direction of search; nothing where there are too few queries that have a match.

    ``relation`` is of queries with the gallery. Both weights are at least zero, so that percentages go down with the
    cosine as the results do.
    """
    query_NE, gallery_ME = unit(query_NE, "queries"), unit(gallery_ME, "gallery items")
    relation = beside(relation, query_NE, gallery_ME).to("cpu")
    generator = np.random.default_rng(seed)
    rows_Q = generator.permutation(np.flatnonzero(relation.counts()[0]))[:MOST_QUERIES]
    if len(rows_Q) < LEAST_QUERIES:
        return None
    matched_M = relation.select(torch.from_numpy(rows_Q)).counts()[1].numpy() > 0
    others = generator.permutation(np.flatnonzero(~matched_M))[: max(0, MOST_GALLERY - int(matched_M.sum()))]
    columns_G = np.concatenate([np.flatnonzero(matched_M), others])
    scores_QG = (query_NE[torch.as_tensor(rows_Q)] @ gallery_ME[torch.as_tensor(columns_G)].T).double().cpu().numpy()
    deviation_Q1 = np.maximum(scores_QG.std(1, keepdims=True), 1e-6)
    z_QG = (scores_QG - scores_QG.mean(1, keepdims=True)) / deviation_Q1
    is_match = relation.dense(torch.from_numpy(rows_Q), torch.from_numpy(columns_G)).numpy()
    both = _fit([scores_QG, z_QG], is_match)
    if (both[:2] < 0).any():  # one of the two says what the other does
        best = 0 if both[0] >= both[1] else 1
        slope, offset = _fit([[scores_QG, z_QG][best]], is_match)
        both = np.array([slope, 0, offset] if best == 0 else [0, slope, offset])
    cosine, z, offset = both.tolist()
    return Matching(max(0.0, cosine), max(0.0, z), offset, len(columns_G))


def _fit(features: list[np.ndarray], is_match: np.ndarray) -> np.ndarray:
    """Slopes and offset of a logistic regression in the features' own units; targets as Platt pulls them in."""
    flat = [feature.ravel() for feature in features]
    centres = np.array([feature.mean() for feature in flat])
    spreads = np.array([max(feature.std(), 1e-9) for feature in flat])
    columns = [(feature - centre) / spread for feature, centre, spread in zip(flat, centres, spreads, strict=True)]
    design_NF = np.stack([*columns, np.ones(is_match.size)], axis=1)
    matches = int(is_match.sum())
    targets = np.where(is_match.ravel(), (matches + 1) / (matches + 2), 1 / (is_match.size - matches + 2))
    *slopes, offset = newton(design_NF, targets, np.full(is_match.size, 1 / is_match.size))
    weights = np.array(slopes) / spreads
    return np.array([*weights, offset - float(weights @ centres)])
