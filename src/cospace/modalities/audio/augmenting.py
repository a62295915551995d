"""Changes to a spectrogram that leave what is heard in it the same; each a function of (seed, epoch, item) alone.

A voice that was never heard differs from those that were in the length of its throat, its speed, and the microphone and
room it was recorded with. All of that is drawn anew each time that a sound is seen, on the spectrogram, where it costs
two interpolations of a batch and no transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ...config import Config
from .._draws import draws
from .mels import edges, hz_to_mel

DB = 2.55
"""Steps of a prepared byte in one dB."""

WAVES = 3
"""Cosines over the bands that a microphone's response is drawn from."""

TABLE = 4096
"""Frames of noise that are made once; a sound takes a stretch of them that starts where it draws."""

PLACES = 32
"""Uniform numbers drawn for each sound; which of them means what is defined by :class:`Draws`."""


class Augment(Config):
    """How much sounds are varied while training; 0 switches a kind off."""

    SHIFTED: ClassVar[float] = 0.15
    """What ``vtlp`` is chosen to be where no text distinguishes voices or pitches."""

    vtlp: float | None = Field(default=None, ge=0, lt=0.5)
    """Largest relative shift of all frequencies, as by a longer vocal tract (VTLP, Jaitly and Hinton 2013); from the
    data: 0.15 where no text distinguishes voices or pitches, and 0 elsewhere."""
    time_stretch: float = Field(default=0.2, ge=0, lt=0.5)
    """Largest relative change of the speed, by interpolation between frames."""
    pad_fraction: float = Field(default=0.6, ge=0, lt=1)
    """Silence before and after a sound, each at most this share of its length; half of the sounds get either."""
    max_noise_db: float = Field(default=60.0, ge=0)
    """Noise of a random colour is added at a level between the bottom of the scale and so many dB above it."""
    eq_std_db: float = Field(default=4.0, ge=0)
    """Standard deviation, in dB, of each of a few cosines over the bands: another microphone or room."""
    time_mask: float = Field(default=0.1, ge=0, lt=0.5)
    """Longest stretch that is blanked out, as a share of the length; two of them (SpecAugment, Park et al. 2019)."""
    freq_mask: float = Field(default=0.15, ge=0, lt=0.5)
    """Widest stretch of bands that is blanked out, as a share of them; two of them."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Uniform numbers ``(B, PLACES)`` in ``[0, 1)``, read by purpose."""

    numbers: Tensor

    @classmethod
    def of(cls, seed: int, epochs: np.ndarray, items: np.ndarray) -> Draws:
        """What items draw in their epochs."""
        return cls(torch.from_numpy(draws(seed, epochs, items, PLACES)))

    def uniform(self, place: int) -> Tensor:
        """In ``[0, 1)``, ``(B,)``."""
        return self.numbers[:, place]

    def signed(self, place: int) -> Tensor:
        """In ``[-1, 1)``, ``(B,)``."""
        return 2 * self.numbers[:, place] - 1

    def normal(self, place: int, count: int) -> Tensor:
        """Standard normal ``(B, count)``, from twice as many places (Box and Muller 1958)."""
        radius = (-2 * torch.log1p(-self.numbers[:, place : place + count])).sqrt()
        return radius * torch.cos(2 * torch.pi * self.numbers[:, place + count : place + 2 * count])


WARP, STRETCH, BEFORE, AFTER, LEVEL, START, TILT = range(7)
CURVE = 7  # and 2 * WAVES from here
TIME_MASKS, FREQ_MASKS = CURVE + 2 * WAVES, CURVE + 2 * WAVES + 4


@dataclass(frozen=True, slots=True)
class Warp:
    """Where each band finds what it shows when all frequencies are multiplied, for one filter bank."""

    centre_F: Tensor
    low: float
    high: float

    @classmethod
    def of(cls, bins: int, low: float, high: float) -> Warp:
        """For bands from ``low`` to ``high`` Hz."""
        return cls(edges(bins, low, high)[1:-1], low, high)

    def places(self, factor_B: Tensor) -> Tensor:
        """Fractional band ``(B, F)`` that a band reads, within the scale.

        Frequencies are multiplied up to four fifths of the highest; from there a straight line leads to the end, which
        stays (equation 1 of Jaitly and Hinton), so that nothing is read from where there is nothing.
        """
        bins = len(self.centre_F)
        bend_B1 = (0.8 * self.high / factor_B.clamp(min=1.0))[:, None]
        factor_B1 = factor_B[:, None]
        slope_B1 = (self.high - factor_B1 * bend_B1) / (self.high - bend_B1)
        above_BF = self.high - slope_B1 * (self.high - self.centre_F)
        hertz_BF = torch.where(self.centre_F <= bend_B1, factor_B1 * self.centre_F, above_BF)
        ends = hz_to_mel(torch.tensor([self.low, self.high], dtype=torch.float64))
        place_BF = (hz_to_mel(hertz_BF) - ends[0]) / (ends[1] - ends[0]) * (bins + 1) - 1
        return place_BF.clamp(0, bins - 1)


@dataclass(frozen=True, slots=True)
class Timing:
    """For each of a batch of sounds: how long it becomes, the place it starts at, by how many frames it advances."""

    length_B: Tensor
    start_B: Tensor
    speed_B: Tensor

    @classmethod
    def drawn(cls, augment: Augment, made: Draws, frames_B: Tensor) -> Timing:
        """From the frames that there are."""
        speed_B = torch.exp(np.log1p(augment.time_stretch) * made.signed(STRETCH))
        before_B, after_B = (augment.pad_fraction * made.signed(at).clamp(min=0) * frames_B for at in (BEFORE, AFTER))
        length_B = ((frames_B + before_B + after_B) / speed_B).round().long().clamp(min=1)
        return cls(length_B, -before_B, speed_B)

    def rows(self, chosen: Tensor) -> Timing:
        """Of some of the sounds."""
        return Timing(self.length_B[chosen], self.start_B[chosen], self.speed_B[chosen])


def stretched(store_RF: Tensor, first_B: Tensor, frames_B: Tensor, timing: Timing) -> Tensor:
    """Sounds read from a packed store at their speed, ``(B, T, F)`` float32; silence (0) before and after each."""
    place_BT = timing.start_B[:, None] + torch.arange(int(timing.length_B.max())) * timing.speed_B[:, None]
    inside_BT = (place_BT > -1) & (place_BT < frames_B[:, None])
    last_B1 = frames_B[:, None] - 1
    below_BT = place_BT.floor().long()
    share_BT1 = (place_BT - below_BT).float()[..., None]
    lower, upper = (
        store_RF[first_B[:, None] + at_BT.clamp(min=0).minimum(last_B1)].float() for at_BT in (below_BT, below_BT + 1)
    )
    return torch.lerp(lower, upper, share_BT1).mul_(inside_BT[..., None])


def warped(mels_BTF: Tensor, place_BF: Tensor) -> Tensor:
    """Every band of the result reads the two bands around its place."""
    frames = mels_BTF.shape[1]
    below_BF = place_BF.floor().long()
    share_B1F = (place_BF - below_BF).float()[:, None]
    above_BF = (below_BF + 1).clamp(max=mels_BTF.shape[2] - 1)
    lower, upper = (mels_BTF.gather(2, at_BF[:, None].expand(-1, frames, -1)) for at_BF in (below_BF, above_BF))
    return torch.lerp(lower, upper, share_B1F)


def response(augment: Augment, made: Draws, bins: int) -> Tensor:
    """Of a random microphone: steps ``(B, F)`` to add to every band."""
    wave_WF = torch.cos(torch.pi * torch.arange(1, WAVES + 1)[:, None] * (torch.arange(bins) + 0.5) / bins)
    return (augment.eq_std_db * DB * made.normal(CURVE, WAVES) @ wave_WF.double()).float()


def noise_table(seed: int, bins: int) -> Tensor:
    """The power of noise in dB about its mean, ``(TABLE, F)``: of a few independent lines to a band."""
    generator = torch.Generator().manual_seed(seed)
    lines = torch.randn(TABLE, bins, 4, generator=generator).square_().mean(-1)
    return 10 * torch.log10(lines.clamp(min=1e-3))


def noisy(mels_BTF: Tensor, augment: Augment, made: Draws, table_RF: Tensor) -> Tensor:
    """With the power of noise added, whose level falls or rises by up to 10 dB from the lowest band to the highest."""
    frames, bins = mels_BTF.shape[1:]
    level_B = augment.max_noise_db * made.uniform(LEVEL)
    slope_BF = 10 * made.signed(TILT)[:, None] * (torch.arange(bins) / max(1, bins - 1) - 0.5)
    start_B = (made.uniform(START) * TABLE).long()
    row_BT = (start_B[:, None] + torch.arange(frames)) % TABLE
    noise_BTF = table_RF[row_BT] + (level_B[:, None] + slope_BF).float()[:, None]
    nepers = float(np.log(10) / 10)
    total_BTF = torch.logaddexp(mels_BTF * (nepers / DB), noise_BTF * nepers)
    return total_BTF.mul_(DB / nepers)


def masks(augment: Augment, made: Draws, length_B: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """True where frames ``(B, T)`` and bands ``(B, F)`` are to be blanked out."""
    frames, bins = shape
    limit_B = torch.full_like(length_B, bins)
    of_time = _stretches(made, TIME_MASKS, augment.time_mask, length_B, frames)
    return of_time, _stretches(made, FREQ_MASKS, augment.freq_mask, limit_B, bins)


def _stretches(made: Draws, first: int, share: float, limit_B: Tensor, size: int) -> Tensor:
    """Two stretches of up to ``share`` of the limit each, uniform in length and place."""
    place_T = torch.arange(size)
    hit_BT = torch.zeros(len(limit_B), size, dtype=torch.bool)
    for number in (first, first + 2):
        long_B = share * limit_B * made.uniform(number)
        start_B = (limit_B - long_B) * made.uniform(number + 1)
        hit_BT |= (place_T >= start_B[:, None]) & (place_T < (start_B + long_B).floor()[:, None])
    return hit_BT
