"""Texts: never out of vocabulary, never padded further than needed; the same whatever their case and spacing."""

from __future__ import annotations

import random
import re
import string
import time
import unicodedata

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.interop.vocabulary import CLIP_BEGIN, CLIP_END, byte_letters, clip_bpe
from cospace.modalities import modality
from cospace.modalities.text.sequences import sequence_batch
from cospace.modalities.text.tokenizer import STRIDE, Tokenizer, _pieces, padded, vocabulary_for
from cospace.types import UserError

CAPTIONS = ["a red bus", "A blue bus", "café at night", "woman student: dark skin tone", "two dogs 128"]
TOKENIZER = Tokenizer.train(CAPTIONS)
match_key = modality("text").match_key


def test_captions_match_whatever_their_case_spacing_and_accents() -> None:
    assert match_key(" A  Red\tBUS\n") == match_key("a red bus")
    assert match_key("caf\u00e9") == match_key("CAFE\u0301")
    assert match_key("stra\u00dfe") == match_key("STRASSE")
    assert match_key("a red bus") != match_key("a red bus.")


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = match_key(text)
    assert match_key(once) == once


@given(st.text(max_size=200))
@settings(max_examples=200)
def test_every_text_has_begin_and_end_and_stays_within_length(text: str) -> None:
    ids = TOKENIZER.encode([text])[0]
    assert ids[0] == 1
    assert ids[-1] == 2
    assert 2 <= len(ids) <= TOKENIZER.length
    assert max(ids) < TOKENIZER.spec.vocabulary


@given(st.lists(st.text(max_size=30), max_size=7), st.integers(1, 3))
def test_packed_texts_are_the_same_texts(texts: list[str], at_once: int) -> None:
    packed = TOKENIZER.encode_all(texts, at_once)
    assert [ids.tolist() for ids in packed] == TOKENIZER.encode(texts)


def test_decoding_gives_the_text_back_in_lower_case() -> None:
    for caption in CAPTIONS:
        assert TOKENIZER.decode(TOKENIZER.encode([caption])[0]) == caption.lower()


def test_the_two_spellings_of_an_accent_are_one() -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert TOKENIZER.encode([composed]) == TOKENIZER.encode([decomposed])


def test_a_batch_is_padded_to_the_stride_that_fits_its_longest_text() -> None:
    prepared = [TOKENIZER.prepare(text) for text in ("bus", "a red bus at night")]
    batch = TOKENIZER.batch(prepared)
    longest = max(map(len, prepared))
    assert longest <= batch.ids_BT.shape[1] < longest + STRIDE
    assert batch.ids_BT.shape[1] % STRIDE == 0
    assert batch.mask_BT.sum(1).tolist() == [len(ids) for ids in prepared]
    assert (batch.ids_BT[~batch.mask_BT] == 0).all()


@pytest.mark.parametrize("most", [6, 7, 8, 9])
def test_rows_are_never_longer_than_the_context(most: int) -> None:
    assert padded([torch.ones(6, dtype=torch.int64)], most).shape == (1, min(most, 8))


def test_sequences_that_follow_ask_for_nothing() -> None:
    texts = [TOKENIZER.prepare(text) for text in CAPTIONS[:3]]
    prompt = TOKENIZER.prepare("")
    plain = sequence_batch([prompt] * 3, texts, [0, 1, 1], 16)
    more = plain.followed_by(2)
    assert len(more) == 5
    assert more.target_mask_BT.sum() == plain.target_mask_BT.sum()
    assert torch.equal(more.target_mask_BT[:3], plain.target_mask_BT)
    assert more.item_B.tolist() == [0, 1, 1, 1, 1]


def test_state_round_trip_encodes_the_same() -> None:
    again = Tokenizer.from_state(TOKENIZER.state())
    assert again.encode(CAPTIONS) == TOKENIZER.encode(CAPTIONS)
    assert again.length == TOKENIZER.length


def test_long_texts_are_cut_before_the_end_token() -> None:
    short = Tokenizer.from_state({**TOKENIZER.state(), "length": 8})
    ids = short.encode(["bus " * 100])[0]
    assert len(ids) == 8
    assert ids[-1] == 2


def test_a_lone_surrogate_is_no_crash() -> None:
    assert TOKENIZER.encode(["bus \ud83d"])[0][-1] == 2


def test_something_else_than_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="a text was expected"):
        TOKENIZER.prepare(3)  # type: ignore[arg-type]


def test_the_vocabulary_follows_the_number_of_different_words() -> None:
    assert vocabulary_for(["a b c"]) == 512
    assert vocabulary_for([f"word{i}" for i in range(1500)]) == 1500
    assert vocabulary_for([f"word{i}" for i in range(100_000)]) == 16_384


@pytest.mark.parametrize("typed", ["<end>", "<pad>", "a <begin> b<end>", "<|endoftext|>", "[SEP] [CLS]", "<END>"])
def test_a_control_token_that_is_typed_is_text(typed: str) -> None:
    for tokenizer in (TOKENIZER, Tokenizer.train([*CAPTIONS, typed]), Tokenizer.from_state(TOKENIZER.state())):
        (ids,) = tokenizer.encode([typed])
        assert not {0, 1, 2} & set(ids[1:-1])
        assert (ids[0], ids[-1]) == (1, 2)
        assert tokenizer.decode(ids) == typed.lower()


def test_a_published_tokenizer_takes_them_as_its_library_does() -> None:
    letters = list(byte_letters().values())
    entries = [*letters, *(letter + "</w>" for letter in letters), CLIP_BEGIN, CLIP_END]
    clip = Tokenizer(clip_bpe({entry: number for number, entry in enumerate(entries)}, []))
    (ids,) = clip.encode([f"a {CLIP_END} b"])
    assert ids.count(len(entries) - 1) == 2


ODD = {
    "letters": lambda n: "".join(random.Random(0).choices(string.ascii_lowercase, k=n)),
    "one letter": lambda n: "a" * n,
    "blanks": lambda n: "a" + " " * n + "b",
    "signs": lambda n: "!" * n,
    "faces": lambda n: "\U0001f600" * n,
    "accents": lambda n: "e" + "\u0301" * n,
    "lines": lambda n: "\n\u2028" * (n // 2),
}
"""Captions of so many letters in which no word ends, or nothing but that."""


@pytest.mark.parametrize("kind", ODD)
def test_learning_and_reading_take_no_longer_for_odd_captions(kind: str) -> None:
    """A million letters took hours to learn from; ten thousand of some kinds took 13 s, and twice as many 50 s."""
    began = time.process_time()
    tokenizer = Tokenizer.train([*CAPTIONS, ODD[kind](1_000_000), *(ODD[kind](5_000) for _ in range(3))])
    assert len(tokenizer.encode([ODD[kind](1_000_000)])[0]) <= tokenizer.length
    assert time.process_time() - began < 10


def test_a_long_word_is_learned_from_in_parts_and_nothing_is_lost() -> None:
    for text in ("", "a b", "x" * 1000 + " y " + "z" * 128, " " * 300 + "a" * 129):
        pieces = list(_pieces(text))
        assert "".join(pieces) == text
        assert len(pieces) == 1 or all(len(run) <= 128 for piece in pieces for run in re.findall(r"\S+|\s+", piece))
