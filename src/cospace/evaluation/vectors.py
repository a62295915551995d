"""Unit vectors, or an error: every vector that is evaluated passes through here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..matches import Relation
from ..types import UserError

Groups = Tensor | np.ndarray
"""One integer per row; rows with equal integers are drawn together, or not at all."""


def unit(vectors_NE: Tensor, what: str = "embeddings") -> Tensor:
    """The rows at length one, in float32.

    A row that is zero or not finite has no direction, so no rank could be given to it: that is a ``UserError`` with
    the number of such rows. Norms accumulate in float64, since float32 overflows on rows that are still finite.
    """
    vectors_NE = vectors_NE.detach().float()
    norm_N1: Tensor = torch.linalg.vector_norm(vectors_NE, dim=1, keepdim=True, dtype=torch.float64)
    bad = int((~torch.isfinite(norm_N1) | (norm_N1 == 0)).sum())
    if bad:
        raise UserError(
            f"{bad} of {len(vectors_NE)} {what} are zero or not finite (NaN or infinite), so nothing can be scored; "
            "the model has diverged: train it again from its last good checkpoint or with a lower learning rate"
        )
    result: Tensor = (vectors_NE.double() / norm_N1).float()
    return result


def beside(relation: Relation, left_NE: Tensor, right_ME: Tensor) -> Relation:
    """The relation on the vectors' device; one of other numbers of items is our own mistake."""
    assert relation.shape == (len(left_NE), len(right_ME)), f"{relation.shape} for {len(left_NE)} and {len(right_ME)}"
    return relation.to(left_NE.device)
