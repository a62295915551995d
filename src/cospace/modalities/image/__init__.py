"""Images: photographs, drawings, scans, in the formats that people have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...types import Progress, silent
from .. import PREVIEW_SIZES, Batcher, Media, Modality, Prepared, Preview, Previewed
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
    default_encoder = "cnn"
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
        self, raws: Sequence[Any], processor: Any, progress: Progress = silent, spill: Path | None = None
    ) -> Prepared:
        from .._prepared import prepare_fixed

        return prepare_fixed(raws, processor, (3, processor.size, processor.size), self.plural, progress, spill)

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

    def signatures(self, prepared: Sequence[Any]) -> np.ndarray:
        """Images and their mirror images as 8 x 8 colours."""
        import numpy as np
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        small = [adaptive_avg_pool2d(image.float(), 8).round().to(torch.uint8) for image in prepared]
        if not small:
            return np.zeros((0, 2, 3 * 64), np.uint8)
        views = torch.stack([torch.stack([image, image.flip(-1)]) for image in small])
        return np.asarray(views.flatten(2).numpy())

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
