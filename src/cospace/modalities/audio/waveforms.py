"""Samples written out: as WAV for a browser, and as the short excerpts that are kept with a model."""

from __future__ import annotations

import struct

import numpy as np

EXCERPT = 1.0
"""Seconds of a sound that are kept with a model."""

_HIGH = 1 << 14
"""A sample rate is two numbers in front of the samples: how many times this, and what is left."""


def wav(samples_N: np.ndarray, rate: int) -> bytes:
    """One channel of float32 samples as a WAV file of 16 bits."""
    data = to_int16(samples_N).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def to_int16(samples_N: np.ndarray) -> np.ndarray:
    """Rounded to 16 bits; louder than full scale is brought down as a whole, not cut off."""
    loudest = float(np.abs(samples_N).max(initial=0.0))
    scaled = samples_N * (32_767 / max(1.0, loudest))
    return np.rint(scaled).astype(np.int16)


def loudest_part(samples_N: np.ndarray, length: int) -> np.ndarray:
    """The stretch of ``length`` samples with most energy, at steps of a quarter of it; all where that is less."""
    if len(samples_N) <= length:
        return samples_N
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples_N, dtype=np.float64))])
    starts = np.arange(0, len(samples_N) - length + 1, max(1, length // 4))
    start = int(starts[np.argmax(energy[starts + length] - energy[starts])])
    return samples_N[start : start + length]


def with_rate(samples_N: np.ndarray, rate: int) -> np.ndarray:
    """``int16`` samples behind their rate, in one array."""
    return np.concatenate([np.array(divmod(rate, _HIGH), np.int16), samples_N])


def without_rate(stored: np.ndarray) -> tuple[np.ndarray, int]:
    """The inverse of :func:`with_rate`."""
    return stored[2:], int(stored[0]) * _HIGH + int(stored[1])
