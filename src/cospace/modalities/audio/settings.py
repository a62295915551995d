"""The settings under ``data.audio``."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from ...config import Config
from ...types import attempted
from .augmenting import Augment

RATES = (8_000, 24_000)
"""Sample rates in Hz that one is chosen between: a telephone's, and one beyond which little is to be heard."""

PROBED = 200
"""Files whose headers are read to choose a sample rate."""

VOICES = re.compile(
    r"\b(man|woman|men|women|boy|girl|child|kid|baby|adult|male|female|high|low|deep|pitch|pitched|note|tone|bass|soprano)s?\b",
    re.IGNORECASE,
)
"""What texts name where the pitch of a sound, or whose voice it is, matters."""

NAMED = 0.02
"""Share of such texts from which frequencies are left as they are."""


class AudioSettings(Config):
    """How sounds are prepared and varied; open values are filled in from the data."""

    sample_rate: int | None = Field(default=None, ge=4_000, le=96_000)
    """Samples a second that sounds are brought to; from the data: the median of the files, 8,000 to 24,000."""
    mel_bins: int = Field(default=40, ge=8, le=256)
    """Frequency bands of the spectrogram."""
    max_seconds: float = Field(default=30.0, gt=0, le=600)
    """What comes later in a sound is not used."""
    augment: Augment = Augment()
    """How much sounds are varied while training."""

    def fitted(self, items: Sequence[Any], texts: Sequence[str]) -> AudioSettings:
        """With every open value chosen."""
        warp = self.augment.vtlp
        if warp is None:
            warp = 0.0 if names_voices(texts) else Augment.SHIFTED
        return self.model_copy(
            update={
                "sample_rate": self.sample_rate or common_rate(items),
                "augment": self.augment.model_copy(update={"vtlp": warp}),
            }
        )


def names_voices(texts: Sequence[str]) -> bool:
    """Whether more than a few texts distinguish pitches or voices, which a shift of all frequencies would blur."""
    return sum(VOICES.search(text) is not None for text in texts) > NAMED * len(texts)


def common_rate(items: Sequence[Any]) -> int:
    """The median sample rate of some items that are spread over all, within :data:`RATES`."""
    found = list(_rates(items[:: max(1, len(items) // PROBED)]))
    rate = statistics.median_low(found) if found else 16_000
    return min(max(rate, RATES[0]), RATES[1])


def _rates(items: Iterable[Any]) -> Iterable[int]:
    for item in items:
        rate = attempted(_rate, item)
        if isinstance(rate, int):  # what cannot be read is reported when all are prepared
            yield rate


def _rate(item: Any) -> int | None:
    from .reading import fetched, header

    raw = fetched(item)
    if isinstance(raw, tuple):
        return int(raw[1])
    return int(header(raw)[0]) if isinstance(raw, bytes | str | Path) else None
