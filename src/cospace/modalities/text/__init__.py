"""Texts: captions, class names, queries; the one modality that people type."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...types import Progress, silent
from .. import Batcher, ItemFinding, KnownItems, Modality, Occlusions, Prepared

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .batching import TextSettings
    from .tokenizer import Tokenizer

GOLDEN = 4
"""Texts that are kept with a model."""

WORDS = 64
"""Words of a text that are left out in turn, see :meth:`Text.occlusions`."""


class Text(Modality):
    """Everything that is known of texts."""

    name = "text"
    plural = "texts"
    decided = ("vocab_size",)
    default_encoder = "transformer"
    extents = ("words",)
    noun = "caption"
    columns = (
        "text", "caption", "captions", "title", "description", "sentence", "alt_text", "alt", "txt", "label", "name",
    )  # fmt: skip
    is_text = True

    def holds(self, value: Any) -> bool:
        return isinstance(value, str)

    def match_key(self, content: str) -> str:
        """Neither case, nor spacing, nor how accents are coded makes another caption."""
        folded = unicodedata.normalize("NFD", content).casefold()  # in this order, as Unicode defines caseless matching
        return " ".join(unicodedata.normalize("NFC", folded).split())

    def settings_class(self) -> type[TextSettings]:
        from .batching import TextSettings

        return TextSettings

    def processor_class(self) -> type[Tokenizer]:
        from .tokenizer import Tokenizer

        return Tokenizer

    def build_processor(self, settings: Any, texts: Sequence[str]) -> Tokenizer:
        return self.processor_class().train(texts, settings.vocab_size, settings.max_length)

    def settings_of(self, processor: Any, settings: Any, fixed_size: bool) -> Any:
        return settings.model_copy(update={"max_length": processor.length})

    def prepare_all(
        self,
        raws: Sequence[Any],
        processor: Any,
        progress: Progress = silent,
        spill: Path | None = None,
        known: KnownItems | None = None,
    ) -> Prepared:
        return Prepared(processor.encode_all(raws))

    def batcher(
        self, prepared: Any, item_of_row: np.ndarray, processor: Any, settings: Any, seed: int, steps: int
    ) -> Batcher:
        from .batching import TextBatcher

        return TextBatcher(prepared, item_of_row, processor, settings.token_dropout, seed)

    def golden(self, raws: Sequence[Any], prepared: Sequence[Any]) -> list[Any]:
        return list(raws[:GOLDEN])

    def serialize(self, raw: Any) -> Tensor:
        import torch

        return torch.tensor(list(raw.encode()), dtype=torch.uint8)

    def deserialize(self, stored: Tensor) -> Any:
        return bytes(stored.tolist()).decode()

    def inspect(self, raw: Any) -> dict[str, float]:
        return {"words": float(len(raw.split()))}

    def find(self, raws: Sequence[Any], measures: Mapping[str, np.ndarray], processor: Any = None) -> list[ItemFinding]:
        from .faults import find

        return find(raws) if processor is None else find(raws, processor.count, processor.length)

    def occlusions(self, raw: Any, processor: Any) -> Occlusions:
        """The text without each of its words; of a long text without the first :data:`WORDS` of them."""
        spans = [word.span() for word in islice(re.finditer(r"\w[\w'’-]*", raw), WORDS)]
        hidden = [processor.prepare(f"{raw[:start]}{raw[end:]}") for start, end in spans]
        return Occlusions("letters", spans, processor.prepare(raw), hidden)

    def descriptors(self, raws: Sequence[Any], progress: Progress = silent) -> Prepared:
        from .descriptors import descriptors

        return Prepared(descriptors([self.match_key(raw) for raw in raws]))  # type: ignore[arg-type]

    def example(self) -> Any:
        return "a"


MODALITY = Text()
