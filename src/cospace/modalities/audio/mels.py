"""The log-mel spectrogram: the short-time power spectrum in bands that are as wide as the ear's.

The mel scale is that of HTK, ``mel(f) = 2595 log10(1 + f / 700)`` with ``f`` in Hz (Young et al., The HTK Book, section
5.4); bands are triangles of height 1 between neighbouring centres, as in ``torchaudio.functional.melscale_fbanks`` with
``mel_scale="htk", norm=None``.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

QUIETEST = 1e-10
"""Power below which everything is the same silence."""


def hz_to_mel(hertz: Tensor) -> Tensor:
    """HTK's mel scale."""
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


def mel_to_hz(mels: Tensor) -> Tensor:
    """The inverse of :func:`hz_to_mel`."""
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def edges(bins: int, low: float, high: float) -> Tensor:
    """The ``bins + 2`` frequencies in Hz, equally far apart in mels, at which the triangles start, peak and end."""
    ends = hz_to_mel(torch.tensor([low, high], dtype=torch.float64))
    return mel_to_hz(torch.linspace(float(ends[0]), float(ends[1]), bins + 2, dtype=torch.float64))


@functools.lru_cache(maxsize=8)
def filter_bank(bins: int, low: float, high: float, fft: int, rate: int) -> Tensor:
    """Weights ``(fft // 2 + 1, bins)`` of the power spectrum's lines in every band.

    A band that falls between two lines takes the nearest one: an empty band would be silent for ever.
    """
    corner = edges(bins, low, high)
    line_L1 = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (line_L1 - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - line_L1) / (corner[2:] - corner[1:-1])
    weights_LF = torch.minimum(rising, falling).clamp(min=0)
    nearest_F = (line_L1 - corner[1:-1]).abs().argmin(0)
    empty_F = (weights_LF.sum(0) == 0).nonzero()[:, 0]
    weights_LF[nearest_F[empty_F], empty_F] = 1.0
    return weights_LF.float()


@functools.lru_cache(maxsize=8)
def _window(length: int) -> Tensor:
    return torch.hann_window(length)


def decibels(wave_N: Tensor, rate: int, bank_LF: Tensor, window: int, hop: int) -> Tensor:
    """Power in every band in dB, ``(T, F)`` with ``T = 1 + N // hop``; a full-scale sine is at about 0 dB.

    Frames are centred on every ``hop``-th sample, with silence before the first and after the last.
    """
    fft = 2 * (bank_LF.shape[0] - 1)
    lines_LT = torch.stft(
        wave_N, fft, hop, window, _window(window), center=True, pad_mode="constant", return_complex=True
    )
    power_LT = lines_LT.real.square() + lines_LT.imag.square()
    band_TF = power_LT.T @ bank_LF
    full_scale = (window / 4) ** 2  # of a sine of amplitude 1 under this window
    return 10.0 * torch.log10((band_TF / full_scale).clamp_(min=QUIETEST))


def transform_size(window: int) -> int:
    """Points of the Fourier transform: the window twice over, so that low bands do not fall between lines."""
    return int(2 ** math.ceil(math.log2(2 * window)))
