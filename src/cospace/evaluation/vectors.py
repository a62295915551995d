"""Unit vectors, or an error: the one gate through which every vector enters evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..types import UserError

Groups = Tensor | np.ndarray
"""One integer per row; rows with equal integers are true matches of each other."""


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


def group_ids(groups: Groups, vectors_NE: Tensor) -> Tensor:
    """The group ids as a tensor beside their vectors; a different number of ids and vectors is our own mistake."""
    ids_N = torch.as_tensor(groups, device=vectors_NE.device)
    assert ids_N.shape == vectors_NE.shape[:1], f"{tuple(ids_N.shape)} groups for {len(vectors_NE)} vectors"
    return ids_N
