"""Random numbers that are a function of (seed, epoch, item) and of nothing else."""

from __future__ import annotations

import numpy as np


def draws(seed: int, epochs_B: np.ndarray, items_B: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers ``(B, count)`` in ``[0, 1)`` by hashing (seed, epoch, item, place): splitmix64 (Steele 2014).

    A counter-based generator has no state, so workers, ranks and restarts cannot change what an item draws.
    """
    place = np.arange(count, dtype=np.uint64)[None, :]
    with np.errstate(over="ignore"):
        state = _mix(np.uint64(seed) + np.zeros_like(items_B, dtype=np.uint64))
        state = _mix(state ^ epochs_B.astype(np.uint64))
        state = _mix(state ^ items_B.astype(np.uint64))
        mixed = _mix(state[:, None] + place * np.uint64(0x9E3779B97F4A7C15))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def drawing(items_B: np.ndarray, identity_N: np.ndarray | None) -> np.ndarray:
    """What items draw by: their numbers, or their identities where their numbers hold for a while only."""
    return items_B if identity_N is None else identity_N[items_B]
