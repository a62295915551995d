"""What every store checks before it stores or searches: vectors with a direction, ids that differ, the same run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..types import StorageError, UserError
from . import Item

SAFE_SQUARE = 1e-12
"""Squared lengths from this to its inverse lose nothing in float32."""


def check_format(name: object, found: int, known: int) -> None:
    """Refuse an index that another version of cospace wrote: an older one is made again from its files."""
    if found != known:
        do = "index again with: cospace index RUN INPUT --out NEW" if found < known else "update cospace"
        raise StorageError(f"{name} has format {found}, this cospace reads {known}; {do}")


def units(vectors_NE: np.ndarray, width: int, names: Sequence[str]) -> np.ndarray:
    """Rows scaled to length one in float32; refuses a wrong width, and a row without a direction by its name."""
    if isinstance(vectors_NE, np.ndarray) and vectors_NE.shape == (1, width) and vectors_NE.dtype == np.float32:
        square = float(vectors_NE[0].dot(vectors_NE[0]))
        if SAFE_SQUARE < square < 1 / SAFE_SQUARE:  # one query, in the two steps that take least time
            alone_1E: np.ndarray = vectors_NE * np.float32(1 / math.sqrt(square))
            return alone_1E
    vectors_NE = np.asarray(vectors_NE, dtype=np.float64)
    if vectors_NE.ndim != 2 or vectors_NE.shape[1] != width:
        raise UserError(f"vectors of shape (n, {width}) are expected, {vectors_NE.shape} was given")
    norms_N = np.sqrt(np.einsum("ne,ne->n", vectors_NE, vectors_NE))
    if not all(0 < norm < math.inf for norm in norms_N.tolist()):
        bad = np.flatnonzero(~(np.isfinite(norms_N) & (norms_N > 0)))
        kind = "is zero" if norms_N[bad[0]] == 0 else "is not finite"
        raise UserError(f"the vector of {names[bad[0]]!r} {kind}, so it has no direction; embed that item again")
    units_NE: np.ndarray = (vectors_NE / norms_N[:, None]).astype(np.float32)
    return units_NE


def check_items(items: Sequence[Item], vectors_NE: np.ndarray) -> None:
    """Refuse items that do not match their vectors in number, that share an id, or whose previews are out of range."""
    if len(items) != len(vectors_NE):
        raise UserError(f"{len(items)} items came with {len(vectors_NE)} vectors; give one vector for each item")
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise UserError(f"the id {twice[0]!r} occurs more than once in what is added; ids must be different")
    for item in items:
        if not all(0 <= number < 1 << 31 for number in (item.width, item.height, item.rgb)):
            raise UserError(f"the size or colour of {item.id!r} is not a whole number from 0 to 2147483647")


def check_fingerprint(where: str, made: str, wanted: str | None) -> None:
    """Refuse an index that another run made than the one that is wanted."""
    if wanted is not None and wanted != made:
        raise StorageError(
            f"{where} was made with the run {made}, but this run is {wanted}; "
            "search with the run that made the index, or index again with this one"
        )


def replaced(where: object) -> str:
    """What to say where another index, or an older copy, lies where one was opened."""
    return f"{where} was replaced by another index, or by an older copy, since it was opened; open it again"


def sample(numbers: np.ndarray, most: int, seed: int) -> np.ndarray:
    """A seeded sample of ``most`` numbers in their order; fewer where there are fewer."""
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(seed).choice(numbers, most, replace=False))
