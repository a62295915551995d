"""Words of captions and queries: case, quotes, plurals, and scripts without blanks."""

from __future__ import annotations

import pytest

from cospace.modalities.text.words import variants, words

HINDI = "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Person with Crown: medium-dark skin tone", ["person", "with", "crown", "medium", "dark", "skin", "tone"]),
        ("\"cat\" 'dog' .", ["cat", "dog"]),
        ("the man\u2019s t-shirt", ["the", "man", "s", "t", "shirt"]),
        ("\u732b\u3068\u72ac Caf\u00e9", ["\u732b", "\u3068", "\u72ac", "cafe"]),
        ("\u043a\u043e\u0448\u043a\u0430", ["\u043a\u043e\u0448\u043a\u0430"]),
        (HINDI, HINDI.split()),
        ("\U0001f469\U0001f3fd\u200d\U0001f9af \U0001f431\ufe0f", ["\U0001f469", "\U0001f9af", "\U0001f431"]),
        ("???  -- .", []),
    ],
)  # fmt: skip
def test_words_in_any_script(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_singular_and_plural_are_variants_of_each_other() -> None:
    for one, many in (("dog", "dogs"), ("box", "boxes"), ("puppy", "puppies")):
        assert many in variants(one)
        assert one in variants(many)
    assert "gras" not in variants("grass")
