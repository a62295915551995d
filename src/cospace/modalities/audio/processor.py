"""From any sound to what an audio encoder reads: a log-mel spectrogram, ``(T, F)``, 100 frames a second.

Two stages, as with images: :meth:`AudioProcessor.prepare` decodes, resamples and transforms, and keeps a byte a cell;
:meth:`AudioProcessor.batch` pads and normalises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ...config import Config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STRIDE = 16
"""Batches are padded to a multiple of so many frames: shapes repeat, and few of them are compiled."""

LOUDNESS = -23.0
"""RMS in dB below full scale that every sound is brought to before its spectrogram."""

FLOOR, RANGE = -100.0, 100.0
"""What a byte of a prepared spectrogram spans, in dB: 0 stands for ``FLOOR`` or less, 255 for ``FLOOR + RANGE``."""


@dataclass(frozen=True, slots=True)
class AudioSpec:
    """What an audio encoder is built for: spectrograms of ``mel_bins`` bands; how long they are is left open."""

    mel_bins: int


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Spectrograms as ``mels_BTF`` (float32, zero in the padding), ``mask_BT`` true where real."""

    mels_BTF: Tensor
    mask_BT: Tensor

    def to(self, where: torch.device) -> AudioBatch:
        """The same sounds on another device."""
        return AudioBatch(self.mels_BTF.to(where), self.mask_BT.to(where))


class AudioProcessor(Config):
    """From any raw sound to what an audio encoder reads; the same settings at training and at search time."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=96_000)
    """Samples a second that sounds are brought to; nothing above half of it is heard."""
    window_ms: float = Field(default=25.0, gt=1, le=200)
    """Milliseconds that a frame covers."""
    hop_ms: float = Field(default=10.0, gt=1, le=200)
    """Milliseconds from frame to frame."""
    mel_bins: int = Field(default=40, ge=8, le=256)
    """Frequency bands; with more of them the lowest show the pitch of a voice instead of its vowels."""
    f_min: float = Field(default=50.0, ge=0)
    """Where the lowest band starts, in Hz; below it there is hum."""
    f_max: float | None = Field(default=None, gt=0)
    """Where the highest band ends, in Hz; left open, half of ``sample_rate``."""
    max_seconds: float = Field(default=30.0, gt=0, le=600)
    """What comes later is not decoded."""
    max_hours: float = Field(default=2.0, gt=0)
    """Files whose header says that they are longer are refused."""

    @property
    def spec(self) -> AudioSpec:
        """What an audio encoder must be built for."""
        return AudioSpec(self.mel_bins)

    @property
    def window(self) -> int:
        """Samples that a frame covers."""
        return max(2, round(self.window_ms * self.sample_rate / 1000))

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return max(1, round(self.hop_ms * self.sample_rate / 1000))

    @property
    def top(self) -> float:
        """Where the highest band ends, in Hz."""
        return min(self.f_max or self.sample_rate / 2, self.sample_rate / 2)

    def prepare(self, raw: Any) -> Tensor:
        """Decode and transform: ``uint8`` ``(T, F)``, dB from :data:`FLOOR`. Raises :class:`~cospace.types.BadItem`."""
        from .reading import wave

        return self.transform(wave(raw, self.sample_rate, self.max_seconds, self.max_hours))

    def transform(self, wave_N: Tensor) -> Tensor:
        """The spectrogram ``uint8`` ``(T, F)`` of samples at this rate, brought to one loudness."""
        from .mels import decibels, filter_bank, transform_size

        level = wave_N.square().mean().sqrt().clamp(min=1e-9)
        wave_N = wave_N * (10 ** (LOUDNESS / 20) / level)
        bank_LF = filter_bank(self.mel_bins, self.f_min, self.top, transform_size(self.window), self.sample_rate)
        shown_TF = decibels(wave_N, self.sample_rate, bank_LF, self.window, self.hop)
        return ((shown_TF - FLOOR) * (255 / RANGE)).round_().clamp_(0, 255).byte()

    def batch(self, prepared: Sequence[Tensor]) -> AudioBatch:
        """Prepared sounds as one encoder input, each on its own scale, padded to a multiple of :data:`STRIDE`."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        length_B = torch.tensor([len(mel) for mel in prepared])
        mels_BTF = pad_sequence(list(prepared), batch_first=True).float()
        return normalised(mels_BTF, length_B)

    def state(self) -> dict[str, Any]:
        """Everything as JSON data."""
        return self.model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> AudioProcessor:
        """The inverse of :meth:`state`."""
        return cls(**state)


DEPTH = 50.0
"""dB below a sound's loudest cell at which it counts as silence: some recordings have noise there, others nothing."""

HEARD = 30.0
"""dB below the loudest cell that a frame must reach to count for a sound's mean and variance."""


def normalised(mels_BTF: Tensor, length_B: Tensor) -> AudioBatch:
    """Bytes (as float32, whatever in the padding) with mean 0 and variance 1 in the frames in which a sound is heard.

    Over all frames, both would depend on how much silence is around it. One mean for all bands, not one for each: in a
    single word the mean of a band is half of what was said.
    """
    import torch
    from torch.nn.functional import pad

    step = 255 / RANGE
    mels_BTF = pad(mels_BTF, (0, 0, 0, -mels_BTF.shape[1] % STRIDE))
    mask_BT = torch.arange(mels_BTF.shape[1]) < length_B[:, None]
    loudest_BT = mels_BTF.amax(2).masked_fill(~mask_BT, float("-inf"))
    loudest_B1 = loudest_BT.amax(1, keepdim=True)
    heard_BT1 = (loudest_BT >= loudest_B1 - HEARD * step)[..., None]
    mels_BTF = mels_BTF.maximum(loudest_B1[..., None] - DEPTH * step)
    cells_B = heard_BT1.sum((1, 2), dtype=torch.float64) * mels_BTF.shape[2]
    # In float64, so that how many frames of padding are summed over changes no bit of the result.
    mean_B = (mels_BTF * heard_BT1).sum((1, 2), dtype=torch.float64) / cells_B
    centred_BTF = mels_BTF - mean_B.float()[:, None, None]
    variance_B = (centred_BTF.square() * heard_BT1).sum((1, 2), dtype=torch.float64) / cells_B
    scale_B = variance_B.clamp(min=step**2).rsqrt().float()
    return AudioBatch(centred_BTF.mul_(scale_B[:, None, None]).mul_(mask_BT[..., None]), mask_BT)
