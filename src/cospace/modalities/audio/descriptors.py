"""Sounds as statistics of their log-mel spectrograms: what is heard without a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from .._descriptors import reduced

WIDTH = 384
"""Numbers of a sound."""

SLICES = 12
"""Equal slices of time whose means are kept, so that the order of what is heard counts."""

SILENT = 30.0
"""Levels of a prepared spectrogram (12 dB) below the loudest frame at which leading and trailing silence ends."""


def descriptors(sounds: Sequence[Any]) -> np.ndarray:
    """float32 ``(N, at most WIDTH)`` of prepared sounds, uint8 ``(T, F)``, by principal components."""

    def describe(numbers: Sequence[int]) -> list[np.ndarray]:
        both = [_described(_heard(sounds[int(number)].float())) for number in numbers]
        return [torch.stack(kind).numpy() for kind in zip(*both, strict=True)]

    return reduced(describe, len(sounds), WIDTH)


def _heard(mels_TF: Tensor) -> Tensor:
    """The frames from the first to the last that is not silent."""
    level_T = mels_TF.mean(1)
    loud = torch.nonzero(level_T >= level_T.max() - SILENT)[:, 0]
    return mels_TF[int(loud[0]) : int(loud[-1]) + 1] if len(loud) else mels_TF


def _described(mels_TF: Tensor) -> tuple[Tensor, Tensor]:
    """Slices of time ``(SLICES * F,)``, and per band the mean, the deviation, two quantiles and the mean step."""
    bands_TF = mels_TF - mels_TF.mean()
    slices = adaptive_avg_pool1d(bands_TF.T[None], SLICES)[0].flatten()
    steps = (bands_TF[1:] - bands_TF[:-1]).abs().mean(0) if len(bands_TF) > 1 else torch.zeros(bands_TF.shape[1])
    low, high = torch.quantile(bands_TF, torch.tensor([0.1, 0.9]), dim=0)
    overall = (bands_TF.mean(0), bands_TF.std(0, unbiased=False), low, high, steps)
    return slices, torch.cat(overall)
