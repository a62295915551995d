"""Sounds for people: spectrograms to look at, samples to listen to, and what strangers send."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...types import BadItem
from .. import Media, Preview
from .._pixels import small_images
from .containers import KINDS, kind_of
from .processor import RANGE, AudioProcessor
from .reading import HOURS, fetched, opened, read, wave
from .waveforms import loudest_part, to_int16, wav

SHAPE = (128, 256)
"""Height and width of a spectrogram before it is made smaller: low frequencies below, time from left to right."""

SHOWN = AudioProcessor(sample_rate=16_000, mel_bins=64, max_seconds=30.0)
"""What previews show, whatever a model reads."""

DEPTH = 60.0
"""dB below the loudest cell at which the image is dark."""

STOPS = ((0.0, 0x10122B), (0.3, 0x3B2A78), (0.55, 0xA83A7A), (0.8, 0xF58B55), (1.0, 0xFFF3C9))
"""Night blue, violet, raspberry, orange, cream: as lightness rises evenly, all eyes can read it."""

REPORTED = 2.0
"""Seconds of a sound that a report plays."""

PLAYED = 16 << 20
"""Bytes of a file that a browser is sent as they are; of a larger one it gets the beginning, as WAV."""

UPLOAD_BYTES, UPLOAD_SECONDS, UPLOAD_RATE = 32 << 20, 30.0, 24_000
"""What is taken from strangers, how much of it is decoded, and the sample rate it is kept at."""


def preview(raw: Any) -> Preview:
    """The spectrogram, small and smaller."""
    small, rgb = small_images(spectrogram(SHOWN.prepare(raw).numpy()))
    height, width = SHAPE
    return Preview(small, width, height, rgb)


def spectrogram(prepared_TF: np.ndarray) -> np.ndarray:
    """A prepared sound as pixels ``uint8`` ``(H, W, 3)`` of :data:`SHAPE`, the loudest cell light."""
    depth = DEPTH * 255 / RANGE
    light_TF = 1 - (prepared_TF.max() - prepared_TF.astype(np.float32)) / depth
    grey_FT = np.rint(255 * light_TF.clip(0, 1)).astype(np.uint8).T[::-1]
    drawn = Image.fromarray(np.ascontiguousarray(grey_FT)).resize(SHAPE[::-1], Image.Resampling.BILINEAR)
    pixels_HW3: np.ndarray = colours()[np.asarray(drawn)]
    return pixels_HW3


def colours() -> np.ndarray:
    """The colour of every grey, ``uint8`` ``(256, 3)``, from :data:`STOPS`."""
    at = [place for place, _ in STOPS]
    grey = np.linspace(0, 1, 256)
    channels = [np.interp(grey, at, [colour >> shift & 255 for _, colour in STOPS]) for shift in (16, 8, 0)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def media(raw: Any) -> Media:
    """The file itself where a browser plays it and it is not too large; else its beginning as WAV."""
    raw = fetched(raw)
    data = encoded(raw)
    kind = None if data is None else kind_of(data)
    if data is not None and kind in KINDS:
        return Media(data, KINDS[kind])
    sound = read(raw)
    return Media(wav(sound.samples_N, sound.rate or SHOWN.sample_rate), KINDS["wav"])


def reported(raw: Any) -> Media:
    """The loudest :data:`REPORTED` seconds as WAV."""
    sound = read(raw)
    rate = sound.rate or SHOWN.sample_rate
    return Media(wav(loudest_part(sound.samples_N, round(REPORTED * rate)), rate), KINDS["wav"])


def encoded(raw: Any) -> bytes | None:
    """The bytes of a path or of bytes, up to :data:`PLAYED` of them; nothing for anything else."""
    if isinstance(raw, np.ndarray | tuple):
        return None
    with opened(raw) as file:
        data = file.read(PLAYED + 1)
    return data if len(data) <= PLAYED else None


def export(raw: Any) -> tuple[bytes, str]:
    """Encoded bytes as they are, an array as WAV; and the suffix."""
    raw = fetched(raw)
    if isinstance(raw, bytes) and (kind := kind_of(raw)):
        return raw, kind
    sound = read(raw, seconds=HOURS * 3600)
    return wav(sound.samples_N, sound.rate or SHOWN.sample_rate), "wav"


def excerpt(raw: Any, seconds: float) -> tuple[np.ndarray, int]:
    """The loudest part of a sound as ``int16`` samples, and their rate, which is that of the sound."""
    sound = read(raw)
    rate = sound.rate or SHOWN.sample_rate
    return to_int16(loudest_part(sound.samples_N, round(seconds * rate))), rate


def read_upload(data: bytes) -> tuple[np.ndarray, int]:
    """Up to :data:`UPLOAD_SECONDS` of a sound that a stranger sent, decoded, as one channel. Raises ``BadItem``."""
    if len(data) > UPLOAD_BYTES:
        raise BadItem("too long", f"{len(data):,} bytes, more than the {UPLOAD_BYTES:,} that are taken")
    return wave(data, UPLOAD_RATE, UPLOAD_SECONDS, HOURS).numpy(), UPLOAD_RATE
