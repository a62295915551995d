"""Published tokenizers as ours: the ``tokenizers`` library's own file, or CLIP's list of merges."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer as BPE

from ..modalities.text.tokenizer import PLAIN, Manner, Tokenizer, bpe_from
from ..reading import lines, read_bytes, read_json, read_text
from ..types import UserError

CLIP_BEGIN, CLIP_END = "<|startoftext|>", "<|endoftext|>"
CLIP_VOCABULARY = 49_408
"""Entries of CLIP's vocabulary: 256 bytes, each also as the end of a word, the merges, begin and end."""

MODELS = ("BPE", "WordPiece", "Unigram", "WordLevel")
"""Kinds of tokenizers that the library knows."""

WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP's tokenizer takes for a word, a number's digit, or a run of signs."""


def tokenizer_in(folder: Path, length: int, manner: Manner = PLAIN) -> Tokenizer:
    """The tokenizer of a published folder: ``tokenizer.json``, or ``vocab.json`` with ``merges.txt`` of a CLIP."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer(_opened(folder / "tokenizer.json"), length, manner)
    if (folder / "merges.txt").is_file() and (folder / "vocab.json").is_file():
        vocabulary, listed = read_json(folder / "vocab.json"), lines(read_text(folder / "merges.txt"))
        return Tokenizer(clip_bpe(vocabulary, _merges(listed)), length, manner)
    raise UserError(f"{folder} holds no tokenizer.json; save the model together with its (fast) tokenizer")


def siglip_tokenizer(folder: Path, length: int) -> Tokenizer:
    """SigLIP's tokenizer: both generations were trained on lower case, the first also without punctuation.

    Only the tokenizer's class says so; its ``tokenizer.json`` does not (Tschannen et al. 2025, SigLIP 2).
    """
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    if settings.get("padding_side", "right") != "right":
        raise UserError(f"{path} puts padding before texts; this text tower is read with padding after them")
    name = str(settings.get("tokenizer_class", "")).removesuffix("Fast")
    manners = {"SiglipTokenizer": Manner(lower=True, bare=True), "Siglip2Tokenizer": Manner(lower=True)}
    return tokenizer_in(folder, length, manners.get(name, Manner(lower=True) if name == "GemmaTokenizer" else PLAIN))


def longest_in(path: Path, key: str) -> int:
    """The longest text in tokens that a file allows under this key; where it says nothing, as long as anything."""
    asked = read_json(path).get(key) if path.is_file() else None
    return int(asked) if asked else 1_000_000


def pad_token_id_of(folder: Path, tokenizer: Tokenizer) -> int:
    """The id of padding, for a tower that was trained to see it."""
    path = folder / "tokenizer_config.json"
    token = read_json(path).get("pad_token")
    token = token.get("content") if isinstance(token, Mapping) else token
    number = None if token is None else tokenizer.id_of(str(token))
    if number is None:
        raise UserError(f"{path} names no padding that its vocabulary knows ({token!r}), which this text tower reads")
    return number


def _opened(path: Path) -> BPE:
    described = read_json(path)
    model = described.get("model") if isinstance(described, Mapping) else None
    if not isinstance(model, Mapping) or model.get("type") not in MODELS or "vocab" not in model:
        raise UserError(f"{path} describes no tokenizer; save the model again together with its (fast) tokenizer")
    made = bpe_from(json.dumps(described))
    made.no_padding()
    made.no_truncation()
    return made


def clip_tokenizer(path: Path, length: int) -> Tokenizer:
    """CLIP's tokenizer from the list of merges that it was published with (``bpe_simple_vocab_16e6.txt.gz``)."""
    listed = lines(gzip.decompress(read_bytes(path)).decode("utf-8"))
    merges = _merges(listed)[: CLIP_VOCABULARY - 2 * 256 - 2]
    letters = [letter for _, letter in sorted(byte_letters().items())]
    entries = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    entries += [CLIP_BEGIN, CLIP_END]
    bpe = clip_bpe({entry: number for number, entry in enumerate(entries)}, merges)
    return Tokenizer(bpe, length, Manner(clean=True))


def byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in a byte-level vocabulary, in that vocabulary's order."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    order = {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    return dict(enumerate(order.values()))


def _merges(listed: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of entries, best first; a first line that names a version is none."""
    first = 1 if listed and "#version" in listed[0] else 0
    pairs = [line.split(" ") for line in listed[first:]]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def clip_bpe(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> BPE:
    """CLIP's byte-level BPE: lower case, words end in ``</w>``, begin and end around every text."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

    bpe = BPE(
        models.BPE(
            vocabulary,
            list(merges),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
            unk_token=CLIP_END,
        )
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([CLIP_BEGIN, CLIP_END])
    begin, end = vocabulary[CLIP_BEGIN], vocabulary[CLIP_END]
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{CLIP_BEGIN} $A {CLIP_END}", special_tokens=[(CLIP_BEGIN, begin), (CLIP_END, end)]
    )
    return bpe
