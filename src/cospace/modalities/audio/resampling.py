"""From one sample rate to another: a windowed sinc, evaluated only where the result needs it (polyphase filtering).

Output sample ``n`` is ``sum_k x[k] h(n / ratio - k)`` with ``h(t) = c sinc(c t) w(t)``, ``c`` the cutoff as a share
of the input's and ``w`` a Kaiser window (Smith, Digital Audio Resampling; Kaiser and Schafer 1980). For a ratio
``up / down`` the fractional places repeat every ``up`` samples, so ``h`` is tabulated once and the sum is a matrix
product.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import torch
from torch import Tensor

ZEROS = 24
"""Zero crossings of the sinc on either side."""

CUTOFF = 0.94
"""Of the lower of both half rates: what passes unchanged; the filter falls from here to about the half rate."""

BETA = 9.0
"""Of the Kaiser window: what lies beyond the half rate is at least 80 dB weaker."""

EXACT = 1 << 20
"""Largest ``up * down`` that is tabulated as it is: all rates in use are."""

FINEST = 1000
"""Largest denominator of any other ratio; odd rates are met to a thousandth at worst, which nobody hears."""

_AT_A_TIME = 1 << 22
"""Numbers of the input that are laid out for one product."""


def resample(wave_N: Tensor, source: int, target: int) -> Tensor:
    """``ceil(N * target / source)`` samples; silence is taken to lie before the first and after the last."""
    if source == target or not len(wave_N):
        return wave_N
    ratio = ratio_of(source, target)
    up, down = ratio.numerator, ratio.denominator
    kernel_KU = kernel(up, down)
    reach = (kernel_KU.shape[0] - down) // 2
    wanted = math.ceil(len(wave_N) * up / down)
    blocks = -(-wanted // up)
    padded = torch.nn.functional.pad(wave_N, (reach, max(0, blocks * down + reach - len(wave_N))))
    frames_BK = padded.unfold(0, len(kernel_KU), down)[:blocks]
    step = max(1, _AT_A_TIME // len(kernel_KU))
    parts = [frames_BK[start : start + step] @ kernel_KU for start in range(0, blocks, step)]
    return torch.cat(parts).flatten()[:wanted]


def ratio_of(source: int, target: int) -> Fraction:
    """``target / source``, or what is nearest to it with small numbers."""
    exact = Fraction(target, source)
    if exact.numerator * exact.denominator <= EXACT:
        return exact
    if exact <= 1:
        return exact.limit_denominator(FINEST) or Fraction(1, source // target)
    return 1 / ((1 / exact).limit_denominator(FINEST) or Fraction(1, target // source))


@functools.lru_cache(maxsize=8)
def kernel(up: int, down: int) -> Tensor:
    """Weights ``(2 * reach + down, up)`` of a stretch of input for the ``up`` samples that begin in its middle part."""
    cutoff = CUTOFF * min(1.0, up / down)
    reach = math.ceil(ZEROS / cutoff)
    time_KU = torch.arange(up, dtype=torch.float64) * (down / up) - torch.arange(-reach, down + reach)[:, None]
    return impulse(time_KU, cutoff).float()


def impulse(time: Tensor, cutoff: float) -> Tensor:
    """The filter ``h`` at these times in input samples (float64)."""
    across = (time * cutoff / ZEROS).clamp(-1, 1)
    window = torch.special.i0(BETA * (1 - across.square()).sqrt()) / torch.special.i0(torch.tensor(BETA).double())
    response: Tensor = cutoff * torch.sinc(cutoff * time) * window * (across.abs() < 1)
    return response
