"""Sounds: speech, music, machines, animals, in the formats that people have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...types import Progress, silent
from .. import Examined, ItemFinding, KnownItems, Media, Modality, Occlusions, Prepared, Preview

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .batching import AudioBatcher
    from .processor import AudioProcessor
    from .settings import AudioSettings

GOLDEN = 4
"""Sounds that are kept with a model."""

SLICES = 24
"""Slices of time that a sound is cut into, see :meth:`Audio.occlusions`."""


class Audio(Modality):
    """Everything that is known of sounds."""

    name = "audio"
    plural = "sounds"
    advice: ClassVar[Mapping[str, str]] = {
        "silent": "record these sounds again, or leave the rows out",
        "not finite": "save these sounds again from their source",
        "too long": "cut these recordings into pieces",
    }
    noun = "sound"
    decided = ("sample_rate", "mel_bins", "max_seconds")
    default_encoder = "spectrogram"
    examination = 2
    extents = ("seconds",)
    has_preview = True
    suffixes = frozenset(
        {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf"}
    )
    columns = (
        "audio", "sound", "audio_path", "sound_path", "audio_file", "sound_file", "recording", "clip", "wav", "speech",
        "track", "audio_filename", "filepath", "file_path", "path", "file_name", "filename", "file", "mp3", "flac",
    )  # fmt: skip
    upload_types = ("audio/wav", "audio/flac", "audio/mpeg", "audio/ogg")
    job_size = 1024

    def recognises(self, data: bytes) -> bool:
        from .containers import kind_of

        return kind_of(data) is not None

    def settings_class(self) -> type[AudioSettings]:
        from .settings import AudioSettings

        return AudioSettings

    def fit_settings(self, settings: Any, items: Sequence[Any], texts: Sequence[str], generates: bool) -> Any:
        return settings.fitted(items, texts)

    def processor_class(self) -> type[AudioProcessor]:
        from .processor import AudioProcessor

        return AudioProcessor

    def build_processor(self, settings: Any, texts: Sequence[str]) -> AudioProcessor:
        return self.processor_class()(
            sample_rate=settings.sample_rate, mel_bins=settings.mel_bins, max_seconds=settings.max_seconds
        )

    def settings_of(self, processor: Any, settings: Any, fixed_size: bool) -> Any:
        """Settings that agree with the processor of a model to go on from."""
        same = {key: getattr(processor, key) for key in ("sample_rate", "mel_bins", "max_seconds")}
        return settings.model_copy(update=same)

    def prepare_all(
        self,
        raws: Sequence[Any],
        processor: Any,
        progress: Progress = silent,
        spill: Path | None = None,
        known: KnownItems | None = None,
    ) -> Prepared:
        from .batching import prepare_all

        return prepare_all(raws, processor, progress, spill, known)

    def batcher(
        self, prepared: Sequence[Any], item_of_row: np.ndarray, processor: Any, settings: Any, seed: int, steps: int
    ) -> AudioBatcher:
        from .batching import AudioBatcher

        return AudioBatcher(prepared, item_of_row, processor, settings.augment, seed)

    def golden(self, raws: Sequence[Any], prepared: Sequence[Any]) -> list[Any]:
        """The loudest second of a few sounds: ``int16`` samples and their rate."""
        from .showing import excerpt
        from .waveforms import EXCERPT

        usable = islice((number for number, item in enumerate(prepared) if len(item)), GOLDEN)
        return [excerpt(raws[number], EXCERPT) for number in usable]

    def serialize(self, raw: Any) -> Tensor:
        import torch

        from .waveforms import with_rate

        return torch.from_numpy(with_rate(*raw))

    def deserialize(self, stored: Tensor) -> tuple[np.ndarray, int]:
        from .waveforms import without_rate

        return without_rate(stored.numpy())

    def inspect(self, raw: Any) -> dict[str, float]:
        from .reading import HOURS, read

        sound = read(raw, seconds=HOURS * 3600)
        known = {"seconds": sound.seconds, "sample_rate": sound.rate}
        return {key: float(value) for key, value in known.items() if value is not None}

    def examine(self, raw: Any) -> Examined:
        from .measuring import Measuring
        from .reading import HOURS, read

        measuring = Measuring()
        sound = read(raw, seconds=HOURS * 3600, listen=measuring)
        known = {"seconds": sound.seconds, "sample_rate": sound.rate}
        shape = {key: float(value) for key, value in known.items() if value is not None}
        return Examined(shape | measuring.measures())

    def find(self, raws: Sequence[Any], measures: Mapping[str, np.ndarray], processor: Any = None) -> list[ItemFinding]:
        from .faults import find

        return find(measures)

    def export(self, raw: Any) -> tuple[bytes, str]:
        from .showing import export

        return export(raw)

    def preview(self, raw: Any) -> Preview:
        from .showing import preview

        return preview(raw)

    def prepared_preview(self, prepared: Any, processor: Any) -> bytes:
        """The spectrogram as an image for a report."""
        from .._pixels import png
        from .showing import spectrogram

        return png(spectrogram(prepared.numpy()))

    def occlusions(self, raw: Any, processor: Any) -> Occlusions:
        """The sound with each of up to :data:`SLICES` equal slices of time made silent."""
        mels_TF = processor.prepare(raw)
        count = min(SLICES, len(mels_TF))
        ends = [round(len(mels_TF) * place / count) for place in range(count + 1)]
        hidden = []
        for start, end in pairwise(ends):
            silenced_TF = mels_TF.clone()
            silenced_TF[start:end] = mels_TF.min()
            hidden.append(silenced_TF)
        frame = processor.hop_ms / 1000
        return Occlusions("seconds", [(a * frame, b * frame) for a, b in pairwise(ends)], mels_TF, hidden)

    def descriptors(self, raws: Sequence[Any], progress: Progress = silent) -> Prepared:
        from .._descriptors import of_whole
        from .descriptors import descriptors

        return of_whole(self.prepare_all(raws, self.processor_class()(), progress), len(raws), descriptors)

    def excerpt(self, raw: Any) -> Media:
        """The loudest seconds, small enough for a report."""
        from .showing import reported

        return reported(raw)

    def media(self, raw: Any, size: int) -> Media:
        """The sound as a browser plays it; it has no ``size``."""
        from .showing import media

        return media(raw)

    def example(self) -> Any:
        """Half a second of a tone of 440 Hz."""
        import numpy as np

        return np.sin(2 * np.pi * 440 / 16_000 * np.arange(8_000)).astype(np.float32), 16_000

    def read_upload(self, data: bytes) -> tuple[np.ndarray, int]:
        from .showing import read_upload

        return read_upload(data)

    def page_module(self) -> Path:
        return Path(__file__).with_name("page.js")


MODALITY = Audio()
