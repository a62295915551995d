"""How every modality says which of its items have a fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import ItemFinding

Words = Callable[[int], str]
"""What was measured of an item, by its number."""


def faults(
    kind: str, what: str, advice: str, is_N: np.ndarray, strength_N: np.ndarray, words: Words, leave_out: bool = False
) -> ItemFinding:
    """The items of a kind, the surest first: half sure at its threshold (strength 0), and sure far beyond it (1).

    There are as many parameters as :class:`~cospace.modalities.ItemFinding` has fields.
    """
    certainty_N = 0.5 + 0.5 * np.clip(np.nan_to_num(strength_N), 0, 1)
    items = np.flatnonzero(is_N)
    items = items[np.argsort(-certainty_N[items], kind="stable")].tolist()
    certainty = [float(certainty_N[item]) for item in items]
    return ItemFinding(kind, what, advice, items, certainty, [words(item) for item in items], leave_out)
