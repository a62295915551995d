"""Images: photographs, drawings, scans, in the formats that people have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...types import Progress, silent
from .. import (
    PREVIEW_SIZES,
    Batcher,
    Examined,
    ItemFinding,
    KnownItems,
    Media,
    Modality,
    Occlusions,
    Prepared,
    Preview,
    Previewed,
)
from .formats import SUFFIXES, format_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .batching import ImageSettings
    from .processing import ImageProcessor

GOLDEN = 4
"""Images that are kept with a model."""

SMALLEST = 32
"""Pixels a side to which an image is decoded where only its size and its soundness are asked for."""


class Image(Modality):
    """Everything that is known of images."""

    name = "image"
    plural = "images"
    advice: ClassVar[Mapping[str, str]] = {
        "bomb": "set COSPACE_IMAGE_MEMORY_MB to what the message says, or make these images smaller"
    }
    decided = ("size",)
    examination = 2
    default_encoder = "cnn"
    extents = ("width", "height")
    noun = "image"
    suffixes = SUFFIXES
    columns = (
        "image", "images", "img", "picture", "photo", "image_path", "img_path", "filepath", "file_path", "path",
        "image_file", "file_name", "filename", "file", "image_url", "url", "jpg", "png", "image_id", "img_id",
    )  # fmt: skip
    has_preview = True
    upload_types = ("image/jpeg", "image/png", "image/webp")
    job_size = 512

    def recognises(self, data: bytes) -> bool:
        return format_of(data) is not None

    def settings_class(self) -> type[ImageSettings]:
        from .batching import ImageSettings

        return ImageSettings

    def fit_settings(self, settings: Any, items: Sequence[Any], texts: Sequence[str], generates: bool) -> Any:
        return settings.fitted(items, texts, generates)

    def smaller(self, settings: Any) -> Any:
        """Three quarters of the side: the grids of the default encoder have little over half as many cells."""
        return settings.model_copy(update={"size": settings.size * 3 // 4})

    def phases(self, settings: Any) -> Sequence[float]:
        return (settings.progressive_resizing or 0.0,)

    def processor_class(self) -> type[ImageProcessor]:
        from .processing import ImageProcessor

        return ImageProcessor

    def build_processor(self, settings: Any, texts: Sequence[str]) -> ImageProcessor:
        return self.processor_class()(size=settings.size)

    def settings_of(self, processor: Any, settings: Any, fixed_size: bool) -> Any:
        update: dict[str, Any] = {"size": processor.size}
        if fixed_size:
            update["progressive_resizing"] = 0.0
        return settings.model_copy(update=update)

    def prepare_all(
        self,
        raws: Sequence[Any],
        processor: Any,
        progress: Progress = silent,
        spill: Path | None = None,
        known: KnownItems | None = None,
    ) -> Prepared:
        from .._prepared import Preparation, prepare_fixed

        shape = (3, processor.size, processor.size)
        return prepare_fixed(raws, Preparation(processor, self.plural, known), shape, progress, spill)

    def batcher(
        self, prepared: Any, item_of_row: np.ndarray, processor: Any, settings: Any, seed: int, steps: int
    ) -> Batcher:
        from .batching import ImageBatcher

        low_res_steps = round((settings.progressive_resizing or 0) * steps)
        return ImageBatcher(prepared, item_of_row, processor, settings.augment, seed, low_res_steps)

    def golden(self, raws: Sequence[Any], prepared: Sequence[Any]) -> list[Any]:
        """The upper three quarters of prepared images: not square, so that they show how such ones are made to fit."""
        import numpy as np

        images = [prepared[place] for place in range(min(GOLDEN, len(prepared)))]
        cut = [image_3SS[:, : max(1, image_3SS.shape[1] * 3 // 4)] for image_3SS in images]
        return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in cut]

    def serialize(self, raw: Any) -> Tensor:
        import torch

        return torch.from_numpy(raw)

    def deserialize(self, stored: Tensor) -> Any:
        return stored.numpy()

    def inspect(self, raw: Any) -> dict[str, float]:
        from .decoding import decoded

        height, width = decoded(raw, SMALLEST).upright_size
        return {"width": float(width), "height": float(height)}

    def examine(self, raw: Any) -> Examined:
        from .decoding import decoded, fetched
        from .frames import frames
        from .measuring import SCALE, at_scale, measured
        from .signatures import signature

        data = fetched(raw)
        image = decoded(data, SCALE)
        height, width = image.upright_size
        pixels_HW3 = at_scale(image.upright())
        shape = {"width": float(width), "height": float(height), "frames": float(frames(data))}
        return Examined(shape | measured(pixels_HW3), signature(pixels_HW3))

    def find(self, raws: Sequence[Any], measures: Mapping[str, np.ndarray], processor: Any = None) -> list[ItemFinding]:
        from .faults import find

        return find(measures)

    def export(self, raw: Any) -> tuple[bytes, str]:
        from .._pixels import png
        from .decoding import decode, fetched
        from .showing import encoded_suffix

        data = fetched(raw)
        return (data, encoded_suffix(data)) if isinstance(data, bytes) else (png(decode(data)), "png")

    def preview(self, raw: Any) -> Preview:
        from .showing import preview

        return preview(raw)

    def prepare_with_preview(self, raw: Any, processor: Any) -> Previewed:
        """Decoded once for both, as the model reads it, so that its vector is the same as everywhere else; and once
        more where that is too small for the previews or not what a browser shows.
        """
        from .cost import held
        from .decoding import decoded, fetched
        from .showing import preview_of

        data = fetched(raw)
        with held():
            image = processor.decoded(data)
            prepared = processor.resized(image)
            small = max(image.pixels_HW3.shape[:2]) < min(max(PREVIEW_SIZES), max(image.size))
            shown = None if small or not (image.plain or processor.to_rgb == "browser") else preview_of(image)
            del image
        if shown is None:
            shown = preview_of(decoded(data, max(PREVIEW_SIZES)))
        return Previewed(prepared, shown, data if isinstance(data, bytes) else None)

    def occlusions(self, raw: Any, processor: Any) -> Occlusions:
        from .occluding import occlusions

        return occlusions(raw, processor)

    def signatures(self, prepared: Sequence[Any]) -> np.ndarray:
        """Images as 32 x 32 levels of lightness and 8 x 8 colours."""
        from .signatures import signatures

        return signatures(prepared)

    def outlines(self, signatures: np.ndarray) -> np.ndarray:
        from .signatures import outlines

        return outlines(signatures)

    def copies(self, known: np.ndarray, measured: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        from .copies import copies

        return copies(known, measured, pairs)

    def statistics(self, prepared: Sequence[Any]) -> np.ndarray:
        from .statistics import statistics

        return statistics(prepared)

    def descriptors(self, raws: Sequence[Any], progress: Progress = silent) -> Prepared:
        from .._descriptors import of_whole
        from .descriptors import SIDE, descriptors

        return of_whole(self.prepare_all(raws, self.processor_class()(size=SIDE), progress), len(raws), descriptors)

    def prepared_preview(self, prepared: Any, processor: Any) -> bytes:
        from .._pixels import png

        return png(prepared.permute(1, 2, 0).numpy())

    def media(self, raw: Any, size: int) -> Media:
        from .showing import media

        return media(raw, size)

    def read_upload(self, data: bytes) -> np.ndarray:
        from .showing import read_upload

        return read_upload(data)

    def example(self) -> Any:
        import numpy as np

        return np.full((32, 32, 3), 255, np.uint8)


MODALITY = Image()
