"""Sounds for tests, and their bytes in a file's format."""

from __future__ import annotations

import io

import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    one_N = 0.5 * np.sin(2 * np.pi * hertz / rate * np.arange(max(1, round(seconds * rate)))).astype(np.float32)
    return one_N if channels == 1 else np.stack([one_N] * channels, axis=1)


def encode(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()
