"""Teach by pointing: from items that somebody marked right or wrong to the direction in which the wanted ones lie.

With few marks the query moves towards what is right and away from what is wrong (Rocchio 1971). From
:data:`ENOUGH` marks of both kinds on, a logistic regression is fitted to them. It begins where Rocchio's step led to:
its penalty is on the distance from there (a Gaussian prior), so that few marks turn the direction a little and many
decide it. Items that nobody marked, a sample of the index, count as wrong with a small weight; most of them are.

Vectors of texts and of items lie in different parts of the space (the modality gap), and cosines to them spread
differently. So items are measured from the centre of the sample, and every part of the query by how far it spreads
the sample's cosines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIGHT, WRONG = 0.5, 0.25
"""Rocchio's weights of the marked items beside the query, which weighs 1."""

ENOUGH = 3
"""Marks of each kind from which on the regression is fitted."""

PENALTY = 1.0
"""Of the squared distance from Rocchio's direction, in units of a mark."""

UNMARKED = 2.0
"""How many marks the whole sample of unmarked items weighs."""

LEAST = 1e-3
"""Least deviation of cosines; below it a direction says the same of everything."""

_STEPS = 25


@dataclass(frozen=True, slots=True)
class Learned:
    """The unit vector ``(E,)`` by whose cosine items are ranked, and the least cosine of what is taken for right."""

    direction_E: np.ndarray
    threshold: float


def learn(query_E: np.ndarray | None, right_RE: np.ndarray, wrong_WE: np.ndarray, background_BE: np.ndarray) -> Learned:
    """What the marks say; all are unit vectors, ``background_BE`` a sample of the items that are searched.

    ``query_E`` is what was searched for; without it the marks alone decide, and one of them has to be right.
    """
    centre_E = background_BE.mean(0) if len(background_BE) else np.zeros(right_RE.shape[-1], np.float32)
    known_BE = np.asarray(background_BE - centre_E, np.float64)
    moved_E = _rocchio(query_E, right_RE - centre_E, wrong_WE - centre_E, known_BE)
    marks_ME = np.concatenate([right_RE, wrong_WE]) - centre_E
    is_right_M = np.arange(len(marks_ME)) < len(right_RE)
    if min(len(right_RE), len(wrong_WE)) >= ENOUGH:
        moved_E = _regression(moved_E, marks_ME.astype(np.float64), is_right_M, known_BE)
    direction_E = (moved_E / max(float(np.linalg.norm(moved_E)), 1e-12)).astype(np.float32)
    return Learned(direction_E, _threshold(direction_E, right_RE, wrong_WE, background_BE))


def _rocchio(
    query_E: np.ndarray | None, right_RE: np.ndarray, wrong_WE: np.ndarray, known_BE: np.ndarray
) -> np.ndarray:
    """The query moved by the means of the marked items; each part has deviation 1 on the sample."""
    parts = [] if query_E is None else [(1.0, query_E)]
    parts += [(RIGHT, right_RE.mean(0))] if len(right_RE) else []
    parts += [(-WRONG, wrong_WE.mean(0))] if len(wrong_WE) else []
    total_E = np.zeros(known_BE.shape[1])
    for weight, part_E in parts:
        total_E += weight * part_E / _spread(known_BE, part_E)
    return total_E / _spread(known_BE, total_E)


def _spread(known_BE: np.ndarray, part_E: np.ndarray) -> float:
    """Standard deviation of the sample along a vector."""
    return max(float((known_BE @ part_E).std()), LEAST) if len(known_BE) > 1 else 1.0


def _regression(start_E: np.ndarray, marks_ME: np.ndarray, is_right_M: np.ndarray, known_BE: np.ndarray) -> np.ndarray:
    """Logistic regression with a prior around ``start_E``, by Newton's method on the coordinates that the marks span.

    The offset is free. Every mark weighs the same: to balance few wrong ones against many right ones would let
    an item at the border decide.
    """
    scale = max(float(np.sqrt((known_BE**2).sum(1).mean())), LEAST) if len(known_BE) else 1.0
    design_NE = np.concatenate([marks_ME, known_BE])
    target_N = np.concatenate([is_right_M, np.zeros(len(known_BE))]).astype(np.float64)
    weight_N = np.concatenate([np.ones(len(marks_ME)), np.full(len(known_BE), UNMARKED / max(1, len(known_BE)))])
    design_NF = np.concatenate([design_NE / scale, np.ones((len(design_NE), 1))], axis=1)
    prior_F = np.append(start_E * scale, 0.0)
    pull_F = np.append(np.full(len(start_E), PENALTY), 1e-3)
    found_F = prior_F.copy()
    for _ in range(_STEPS):
        share_N = 1 / (1 + np.exp(-np.clip(design_NF @ found_F, -50, 50)))
        gradient_F = design_NF.T @ (weight_N * (share_N - target_N)) + pull_F * (found_F - prior_F)
        curvature_N = weight_N * share_N * (1 - share_N) + 1e-9
        hessian_FF = (design_NF * curvature_N[:, None]).T @ design_NF + np.diag(pull_F)
        step_F = np.linalg.solve(hessian_FF, gradient_F)
        found_F -= step_F * min(1.0, 5.0 / max(float(np.abs(step_F).max()), 1e-12))
        if float(np.abs(step_F).max()) < 1e-6:
            break
    return np.asarray(found_F[:-1] / scale)


def _threshold(direction_E: np.ndarray, right_RE: np.ndarray, wrong_WE: np.ndarray, background_BE: np.ndarray) -> float:
    """The cosine that parts the marks best; without a wrong one, a little below the least of the right ones.

    Between two cosines that part them equally well it is the middle of the widest gap.
    """
    right_R, wrong_W = np.sort(right_RE @ direction_E), np.sort(wrong_WE @ direction_E)
    spread = max(float((background_BE @ direction_E).std()), LEAST) if len(background_BE) else LEAST
    if not len(right_R):
        return float(wrong_W[-1] + spread) if len(wrong_W) else 1.0
    if not len(wrong_W):
        return float(right_R[0] - 0.5 * spread)
    edges = np.unique(np.concatenate([right_R, wrong_W]))
    cuts = np.concatenate([[edges[0] - spread], 0.5 * (edges[1:] + edges[:-1]), [edges[-1] + spread]])
    gaps = np.concatenate([[0.0], np.diff(edges), [0.0]])
    wrongly = [np.mean(right_R < cut) + np.mean(wrong_W >= cut) for cut in cuts]
    best = np.flatnonzero(np.isclose(wrongly, min(wrongly)))
    return float(cuts[best[np.argmax(gaps[best])]])
