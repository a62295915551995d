"""The words of a text, as a search compares them: what people type and what captions say, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_MARKS = re.compile("[\u0300-\u036f]")
"""Accents of Latin, Greek and Cyrillic letters; the vowel signs of other scripts are letters of their own right."""

_UNSPACED = ("HIRAGANA", "KATAKANA", "CJK", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts that put no blanks between words: there every letter counts as a word."""

_ASCII = re.compile("[a-z0-9]+")

SHORT = 4
"""Most words of a short query, function words not counted; longer ones are whole captions."""

FUNCTION_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "has", "have", "her", "his", "in", "into", "is",
    "it", "its", "of", "off", "on", "or", "out", "over", "s", "some", "that", "the", "their", "them", "there",
    "they", "this", "to", "up", "very", "was", "were", "while", "who", "with",
})  # fmt: skip
"""English words that say nothing alone."""


def words(text: str) -> list[str]:
    """The words of a text in order, without case, accents, quotes and punctuation.

    Hyphens and apostrophes part words. An emoji is a word, whatever its skin tone; of a script without blanks (Chinese,
    Japanese, Thai) every letter is.
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    folded = unicodedata.normalize("NFKD", text).casefold()
    plain = unicodedata.normalize("NFC", _MARKS.sub("", folded))
    return [word for run in plain.split() for word in _of_run(run)]


def is_short(text: str) -> bool:
    """Whether a text is a query of one to four words, as "a dog in the grass" is, rather than a whole caption."""
    there = words(text)
    content = [word for word in there if word not in FUNCTION_WORDS] or there
    return 0 < len(content) <= SHORT


def variants(word: str) -> list[str]:
    """The other number of an English noun, as far as spelling goes: ``dog`` of ``dogs``, ``boxes`` of ``box``."""
    found = [f"{word}s", f"{word}es"]
    if word.endswith("y"):
        found.append(f"{word[:-1]}ies")
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        found.append(word[:-1])
        if word.endswith("es"):
            found.append(word[:-2])
        if word.endswith("ies"):
            found.append(f"{word[:-3]}y")
    return found


def _of_run(run: str) -> Iterator[str]:
    """The words of what stands between two blanks."""
    word = ""
    for letter in run:
        kind = unicodedata.category(letter)
        joins = kind[0] in "LN" or (kind[0] == "M" and bool(word))
        if joins and not _is_unspaced(letter):
            word += letter
            continue
        if word:
            yield word
            word = ""
        if joins or kind == "So":
            yield letter
    if word:
        yield word


def _is_unspaced(letter: str) -> bool:
    return ord(letter) > 0x0E00 and unicodedata.name(letter, "").startswith(_UNSPACED)
