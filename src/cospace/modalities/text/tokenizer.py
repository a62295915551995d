"""Text to token ids: a byte-level BPE trained on the run's own captions, and batches without fixed padding."""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...types import TextSpec, UserError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer as BPE

PAD, BEGIN, END = "<pad>", "<begin>", "<end>"
PAD_ID, BEGIN_ID, END_ID = range(3)
LENGTH = 64
"""Default longest text in tokens; longer captions are cut and counted."""

STRIDE = 4
"""Rows of token ids are multiples of this long."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Texts as ``ids_BT`` (int64) with ``mask_BT``, true where a token is real; ``T`` fits the longest."""

    ids_BT: torch.Tensor
    mask_BT: torch.Tensor

    def to(self, where: torch.device) -> TokenBatch:
        """The same texts on another device."""
        return TokenBatch(self.ids_BT.to(where), self.mask_BT.to(where))


def padded(texts: Sequence[torch.Tensor], most: int) -> torch.Tensor:
    """Token ids in rows ``(B, T)``, zeros after each text's end; ``T`` is a multiple of :data:`STRIDE`, or ``most``.

    A matrix product is compiled when its shape is first met, which takes longer than many a product: a tower that met
    every length once would compile for a sixth of its time.
    """
    from torch.nn.functional import pad
    from torch.nn.utils.rnn import pad_sequence

    ids_BT = pad_sequence(list(texts), batch_first=True)
    length = ids_BT.shape[1]
    return pad(ids_BT, (0, max(0, min(most, length + -length % STRIDE) - length)))


class EncodedTexts(Sequence["torch.Tensor"]):
    """Token ids of many texts end to end, four bytes a token; a tensor for each would take hundreds a text."""

    def __init__(self, ids_L: np.ndarray, lengths_N: np.ndarray) -> None:
        self.ids_L = ids_L
        self.ends_N = np.cumsum(lengths_N)

    def __len__(self) -> int:
        return len(self.ends_N)

    def __getitem__(self, text: Any) -> Any:
        """One text as a vector of int64 ids."""
        import torch

        start = self.ends_N[text - 1] if text else 0
        return torch.from_numpy(self.ids_L[start : self.ends_N[text]].astype(np.int64))


_RUN = re.compile(r"\S+|\s+")
_LONGEST_RUN = 128
"""Letters without a blank, or blanks, that are learned from as one word: learning takes the square of that."""


def _read(text: str, length: int) -> str:
    """The beginning of a text, far more than ``length`` tokens: the rest is cut anyway, and takes 20 us a letter."""
    return text[: max(10_000, 50 * length)]


def _pieces(text: str) -> Iterator[str]:
    """A text to learn from, whole as a rule; one with a run of letters that is no word of any language, in parts."""
    runs = [run.span() for run in _RUN.finditer(text)] if len(text) > _LONGEST_RUN else []
    start = 0
    for first, end in runs:
        for cut in range(first + _LONGEST_RUN, end, _LONGEST_RUN):
            yield text[start:cut]
            start = cut
    yield text[start:]


def vocabulary_for(captions: Sequence[str]) -> int:
    """How many entries a vocabulary should have: about one per two different words, between 512 and 16,384.

    A vocabulary far above the number of words leaves most rows of the embedding untrained; 2,813 emoji names with
    1,450 different words want about 1,500, not CLIP's 49,408.
    """
    words = {word for caption in captions for word in caption.casefold().split()}
    return int(min(16_384, max(512, len(words))))


@dataclass(frozen=True, slots=True)
class Manner:
    """What a published tokenizer does to texts before it cuts them into tokens; our own does none of this.

    ``lower`` writes them in lower case, ``bare`` takes out ASCII's punctuation and runs of blanks (SigLIP does both),
    ``blank`` makes blanks of low lines before that, and ``clean`` mends text from the web as the first CLIP does
    (:func:`cleaned`).
    """

    lower: bool = False
    bare: bool = False
    blank: bool = False
    clean: bool = False


_PUNCTUATION = str.maketrans("", "", string.punctuation)

PLAIN = Manner()
"""Nothing of all that."""


def cleaned(text: str) -> str:
    """Text from the web mended as CLIP's published code does it: broken encodings, HTML entities, runs of blanks.

    Letters beyond ASCII need the library ftfy, which CLIP was trained with (``pip install 'cospace[pretrained]'``).
    """
    import html

    if not text.isascii():
        try:
            import ftfy
        except ModuleNotFoundError as error:
            raise UserError(
                "this tokenizer mends texts that are not plain ASCII with the library ftfy; "
                "pip install 'cospace[pretrained]'"
            ) from error
        text = ftfy.fix_text(text)
    return " ".join(html.unescape(html.unescape(text)).split())


def bpe_from(described: str) -> BPE:
    """A tokenizer in the library's own format. Raises ``ValueError`` where it is of another."""
    from tokenizers import Tokenizer as BPE

    try:
        return BPE.from_str(described)
    except Exception as error:  # the library raises nothing more particular
        raise ValueError(f"it describes no tokenizer: {error}") from error


class Tokenizer:
    """Byte-level BPE with ``<begin>`` and ``<end>`` around every text; no text is ever out of vocabulary.

    Captions are brought to Unicode NFC and lower case first, so that the two spellings of an accented letter and of a
    sentence's first word are one. Ids 0, 1, 2 are padding, begin and end. ``<end>`` typed in a caption is five letters
    like others, not the end. A published tokenizer brings all of this with it, in the ``tokenizers`` library's format
    and in its ``manner``; what its library takes for a control token where it is typed (``<|endoftext|>`` of CLIP,
    ``[SEP]`` of BERT) is one here too, since vectors are to agree with that library's.
    """

    def __init__(self, bpe: BPE, length: int = LENGTH, manner: Manner = PLAIN) -> None:
        self._bpe = bpe
        if [bpe.id_to_token(number) for number in range(3)] == [PAD, BEGIN, END]:
            bpe.encode_special_tokens = True  # our own: they are put around texts, and never found in them
        self.length, self.manner = length, manner

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
        bpe.train_from_iterator((piece for text in captions for piece in _pieces(_read(text, length))), trainer)
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 1), (END, 2)]
        )
        return cls(bpe, length)

    @property
    def spec(self) -> TextSpec:
        """What a text encoder must be built for."""
        return TextSpec(vocabulary=self._bpe.get_vocab_size(), length=self.length)

    def ends(self) -> tuple[str | None, str]:
        """The entries that stand before and after every text; the first may be none."""
        ids = self.encode([""])[0]
        return (self.entry(ids[0]) if len(ids) > 1 else None), self.entry(ids[-1])

    def entry(self, number: int) -> str:
        """The entry of the vocabulary with this id."""
        return str(self._bpe.id_to_token(number))

    def id_of(self, token: str) -> int | None:
        """The id of an entry of the vocabulary, if there is such an entry."""
        number: int | None = self._bpe.token_to_id(token)
        return number

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, cut to ``length`` with ``<end>`` kept in the last place.

        Of a text of 10,000 letters or more, no more than that (or 50 for each token) is read at all.
        """
        beginnings = (_read(text, self.length) for text in texts)
        clean = [self._mended(text.encode("utf-8", "replace").decode("utf-8")) for text in beginnings]
        cut = self.length
        ids = [encoding.ids for encoding in self._bpe.encode_batch(clean)]
        return [row if len(row) <= cut else [*row[: cut - 1], row[-1]] for row in ids]

    def count(self, text: str) -> int:
        """How many tokens a whole text has, its beginning and its end left out."""
        added = self._bpe.encode("").ids
        return len(self._bpe.encode(self._mended(text.encode("utf-8", "replace").decode("utf-8"))).ids) - len(added)

    def _mended(self, text: str) -> str:
        text = cleaned(text) if self.manner.clean else text
        text = text.replace("_", " ") if self.manner.blank else text
        text = text.lower() if self.manner.lower else text
        return " ".join(text.translate(_PUNCTUATION).split()) if self.manner.bare else text

    def encode_all(self, texts: Sequence[str], at_once: int = 10_000) -> EncodedTexts:
        """:meth:`encode` for very many texts, packed."""
        ids: list[np.ndarray] = [np.empty(0, np.int32)]
        lengths = np.empty(len(texts), np.int64)
        for first in range(0, len(texts), at_once):
            rows = self.encode(texts[first : first + at_once])
            lengths[first : first + len(rows)] = [len(row) for row in rows]
            ids.append(np.fromiter((token for row in rows for token in row), np.int32))
        return EncodedTexts(np.concatenate(ids), lengths)

    def prepare(self, text: str) -> torch.Tensor:
        """One text as a vector of int64 ids."""
        import torch

        if not isinstance(text, str):
            raise UserError(f"a text was expected, {type(text).__name__} was given")
        return torch.tensor(self.encode([text])[0], dtype=torch.int64)

    def batch(self, prepared: Sequence[torch.Tensor]) -> TokenBatch:
        """Pad to the longest of these texts, not to a fixed context; see :func:`padded`."""
        import torch

        lengths = torch.tensor([len(ids) for ids in prepared])
        ids_BT = padded(prepared, self.length)
        return TokenBatch(ids_BT, torch.arange(ids_BT.shape[1])[None, :] < lengths[:, None])

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids; special tokens are left out."""
        return unicodedata.normalize("NFC", str(self._bpe.decode(list(ids), skip_special_tokens=True))).strip()

    def state(self) -> dict[str, Any]:
        """Everything as JSON data: the length, and the ``tokenizers`` library's own format."""
        manner = {} if self.manner == PLAIN else {"manner": asdict(self.manner)}
        return {"length": self.length, "bpe": json.loads(self._bpe.to_str()), **manner}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Tokenizer:
        """The inverse of :meth:`state`."""
        manner = Manner(**state.get("manner", {}))
        return cls(bpe_from(json.dumps(state["bpe"])), int(state["length"]), manner)
