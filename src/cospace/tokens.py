"""Text to token ids: a byte-level BPE trained on the run's own captions, and batches without fixed padding."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .types import TextSpec, UserError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer as BPE

PAD, BEGIN, END = "<pad>", "<begin>", "<end>"
LENGTH = 64
"""Default longest text in tokens; longer captions are cut and counted."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts as ``ids_BT`` (int64) with ``mask_BT``, true where a token is real; ``T`` is the longest of the batch."""

    ids_BT: torch.Tensor
    mask_BT: torch.Tensor

    def to(self, where: torch.device) -> TokenBatch:
        """The same texts on another device."""
        return TokenBatch(self.ids_BT.to(where), self.mask_BT.to(where))


def vocabulary_for(captions: Sequence[str]) -> int:
    """How many entries a vocabulary should have: about one per two different words, between 512 and 16,384.

    A vocabulary far above the number of words leaves most rows of the embedding untrained; 2,813 emoji names with
    1,450 different words want about 1,500, not CLIP's 49,408.
    """
    words = {word for caption in captions for word in caption.casefold().split()}
    return int(min(16_384, max(512, len(words))))


class Tokenizer:
    """Byte-level BPE with ``<begin>`` and ``<end>`` around every text; no text is ever out of vocabulary.

    Captions are brought to Unicode NFC and lower case first, so that the two spellings of an accented letter and of a
    sentence's first word are one. Ids 0, 1, 2 are padding, begin and end.
    """

    def __init__(self, bpe: BPE, length: int = LENGTH) -> None:
        self._bpe = bpe
        self.length = length

    @classmethod
    def train(cls, captions: Sequence[str], vocabulary: int | None = None, length: int = LENGTH) -> Tokenizer:
        """Learn the merges from ``captions``; ``vocabulary`` defaults to :func:`vocabulary_for`."""
        from tokenizers import Tokenizer as BPE
        from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

        bpe = BPE(models.BPE())
        bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Digits(individual_digits=True)]
        )
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary or vocabulary_for(captions),
            special_tokens=[PAD, BEGIN, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(captions, trainer)
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 1), (END, 2)]
        )
        return cls(bpe, length)

    @property
    def spec(self) -> TextSpec:
        """What a text encoder must be built for."""
        return TextSpec(vocabulary=self._bpe.get_vocab_size(), length=self.length)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, cut to ``length`` with ``<end>`` kept in the last place."""
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        cut = self.length
        ids = [encoding.ids for encoding in self._bpe.encode_batch(clean)]
        return [row if len(row) <= cut else [*row[: cut - 1], row[-1]] for row in ids]

    def prepare(self, text: str) -> torch.Tensor:
        """One text as a vector of int64 ids."""
        import torch

        if not isinstance(text, str):
            raise UserError(f"a text was expected, {type(text).__name__} was given")
        return torch.tensor(self.encode([text])[0], dtype=torch.int64)

    def batch(self, prepared: Sequence[torch.Tensor]) -> TokenBatch:
        """Pad to the longest of these texts, not to a fixed context."""
        import torch

        lengths = torch.tensor([len(ids) for ids in prepared])
        ids_BT = torch.nn.utils.rnn.pad_sequence(list(prepared), batch_first=True)
        return TokenBatch(ids_BT, torch.arange(ids_BT.shape[1])[None, :] < lengths[:, None])

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; special tokens are left out."""
        return unicodedata.normalize("NFC", str(self._bpe.decode(list(ids), skip_special_tokens=True))).strip()

    def state(self) -> dict[str, Any]:
        """Everything as JSON data: the length, and the ``tokenizers`` library's own format."""
        return {"length": self.length, "bpe": json.loads(self._bpe.to_str())}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Tokenizer:
        """The inverse of :meth:`state`."""
        from tokenizers import Tokenizer as BPE

        return cls(BPE.from_str(json.dumps(state["bpe"])), int(state["length"]))
