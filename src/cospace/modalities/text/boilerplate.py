"""Captions that say nothing by themselves ("untitled", IMG_2041), and words that are put around many captions.

Words that many captions share may be what they are about ("in front of a house", ", medium skin tone") or how class
names are written ("a photo of a ..."). What is put around captions ("| Free shipping", "Stock Photo by Jane Doe")
stands behind a mark that parts fields, or is made of words that occur nowhere else in the set.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np

from ...columns import mapped, taken

FEWEST = 10
"""Different captions below which "photo" or "3" may well be a class; and captions that put words must be around."""

SENTENCES = 0.5
"""Share of the captions with two words or more from which on "photo" or "3" is none of the classes of the set."""

MOST_DIGITS = 0.1
"""Largest share of the captions that are digits alone: of more, the digits are what is learned (house numbers)."""

MOST = 0.5
"""Share of captions that are names of a camera's files from which on the column is wrong, which is another finding."""

WORDS = 4
"""Fewest words of a sequence that no mark parts from the rest; shorter ones end many captions ("in the snow")."""

PARTED_WORDS = 2
"""Fewest words of a sequence behind a mark such as ``|``."""

LONGEST_SEQUENCE = 40
"""Words of the longest sequence that is followed to its beginning."""

SHARE = 0.0005
"""Least share of the captions that a sequence must be around."""

ENOUGH = 50
"""Captions below which it does not show that a word occurs nowhere else."""

SAME = 0.9
"""Share of the captions of a sequence that must go on alike for it to be longer, and of a word's captions that must
have the sequence for the word to be its own; and of all captions from which on it is how the captions are written."""

INFORMATIVE = 0.3
"""Share of the beginnings that also go on in other ways, from which on a sequence is one of several values: "man
farmer" with ": dark skin tone" and with ": light skin tone"."""

VALUES = 5
"""Most sequences behind the same kind of mark; more are values of a field (albums, places), not boilerplate."""

ASKED = 200
"""Captions of a sequence whose beginnings are looked at."""

_NEIGHBOURS = 4
"""Captions in alphabetical order that are asked whether they begin alike."""

CERTAIN, PARTED, APART = 1.0, 0.95, 0.8
"""How sure it is of captions in the lists below, of words behind a mark, and of words that occur nowhere else."""

CAMERA = re.compile(
    r"(?:img|dsc[fn]?|pxl|mvi|dji|gopr|pict|cimg|sam|wp|image|photo|scan|screenshot)?[ _-]*"
    r"\d{4,}(?:[ _-]?\d+)*(?:\.\w{3,4})?",
    re.IGNORECASE,
)
"""What cameras and scanners call files: IMG_2041, DSC00012.JPG, 20190704_101500."""

_FILE = re.compile(
    r"[^\s/]+\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|avif|svg|psd|raw|cr2|nef|wav|mp3|flac|ogg|m4a|mp4|mov|avi|pdf)",
    re.IGNORECASE,
)

_EMPTY = frozenset({
    "untitled", "untitled document", "untitled design", "no title", "no name", "no caption", "no description",
    "no description available", "description not available", "no caption available", "no photo description available",
    "no alt text", "no text", "no data", "no image", "no photo", "no picture", "no image available",
    "no photo available", "image not available", "image not found", "image coming soon", "photo coming soon",
    "image unavailable", "not available", "not applicable", "null", "nan", "n/a", "n.a", "undefined", "alt text", "alt",
    "alttext", "alt tag", "image alt text", "placeholder", "placeholder image", "placeholder text", "image placeholder",
    "image may contain", "this image may contain", "may be an image of", "click to enlarge", "click to zoom",
    "click here", "click for larger image", "click image to enlarge", "click to view", "click on image to enlarge",
    "view larger image", "view full size", "enlarge image", "zoom image", "stock photo", "stock image", "stock photos",
    "stock images", "stock photography", "stock vector", "stock illustration", "royalty free stock photo",
    "all rights reserved", "your text here", "enter caption here", "insert caption here", "add a caption",
    "add caption", "caption here", "description here", "tbd", "todo", "loading", "lorem", "ohne titel", "kein titel",
    "sans titre", "sin título", "sin titulo", "senza titolo", "sem título", "zonder titel", "без названия", "无题",
})  # fmt: skip
"""What forms, pages and programs put where nobody wrote a caption; letter case, marks around and numbers left out."""

_VAGUE = frozenset({
    "image", "images", "photo", "photos", "photograph", "picture", "pictures", "pic", "img", "figure",
    "screenshot", "thumbnail", "thumb", "none", "unknown", "caption", "description", "title", "text", "default",
    "missing", "file", "filename", "copy", "final", "test", "example", "sample", "bild", "foto", "imagen", "immagine",
})  # fmt: skip
"""The same among sentences; among single words they may be names of classes."""

_ARTICLE = re.compile(r"(?:an? |the |my |this is an? )")
_PREFIX = re.compile(r"(?:this )?(?:image|photo) may contain:?\s|may be an? (?:image|photo|closeup) of ", re.IGNORECASE)
"""What programs begin descriptions with, which go on with something."""
_MARKS = string.punctuation + string.whitespace + "–—•·«»“”„‘’…©®™"
_LONGEST = 60
"""Characters of the longest caption that the lists are asked for."""

_FIELD = (" | ", " - ", " – ", " — ", " • ", " · ", " » ", " :: ", " ~ ", " || ", " // ")
"""Marks that part fields."""
_FIELD_MARKS = frozenset(mark.strip() for mark in _FIELD)
_SENTENCE_ENDS = (".", "!", "?", ",", ";", ":", ")", "]", "...", "…")
_ADVERTISING = re.compile(
    r"\b(?:stock|photos?|photography|images?|shipping|wallpapers?|royalty|free|downloads?|buy|sale|shop|store|copyright|"
    r"rights|getty|alamy|shutterstock|istock|etsy|ebay|amazon|pinterest|flickr|youtube|click|subscribe|www|com)\b|©",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[^\W\d_]+")

Fault = tuple[int, float, str, bool]
"""A caption's number, how sure it is, why, and whether it says nothing beside."""


def boilerplate(texts: Sequence[str | None]) -> tuple[list[Fault], list[Fault]]:
    """Captions that say nothing by themselves, and captions with words around them that many share."""
    nothing = {fault[0]: fault for fault in _empty_talk(texts)}
    there = (item for item, text in enumerate(texts) if text is not None and item not in nothing)
    items_W = np.fromiter(there, np.int64)
    written = cast("Sequence[str]", taken(texts, items_W))
    shared: dict[int, Fault] = {}
    cores: dict[str, str] = {}
    for words in [*_around(written, False), *_around(written, True)]:
        cores[_bare(words.words)] = words.words
        for item in items_W[words.places].tolist():
            if item not in shared or shared[item][1] < words.certainty:
                shared[item] = item, words.certainty, words.note, False
    for item, text in zip(items_W.tolist(), written, strict=True):
        if cores and (words_alone := cores.get(_bare(text))) is not None:
            nothing[item] = item, PARTED, f'nothing but "{words_alone}", which many captions share', True
        elif item not in shared and _PREFIX.match(text):
            shared[item] = item, CERTAIN, "a program's beginning of a description", False
    return list(nothing.values()), [fault for item, fault in shared.items() if item not in nothing]


def _bare(text: str) -> str:
    return text.strip(_MARKS).casefold()


# --- by themselves


def _empty_talk(texts: Sequence[str | None]) -> Iterator[Fault]:
    """Captions in the lists, names of files, digits and punctuation alone."""
    written = sum(text is not None for text in texts)
    sentences = written >= FEWEST and sum(" " in text.strip() for text in texts if text) >= SENTENCES * written
    cameras, digits = [], []
    for item, text in enumerate(texts):
        if text is None:
            continue
        if len(text) > _LONGEST:
            if text[:40].casefold().lstrip(_MARKS).startswith("lorem ipsum"):
                yield item, CERTAIN, "placeholder text", True
        elif CAMERA.fullmatch(text.strip()):
            cameras.append(item)
        elif _FILE.fullmatch(text.strip()):
            yield item, CERTAIN, f"the name of a file: {text}", True
        elif not any(map(str.isalpha, text)):
            if not _LETTERS.search(text) and all(_is_mark(letter) for letter in text):
                digits.append(item)
        elif _says_nothing(text, sentences):
            yield item, CERTAIN, text, True
    digits += [item for item in cameras if (texts[item] or "").strip().isdigit()]
    if sentences and len(digits) <= MOST_DIGITS * written:
        yield from ((item, CERTAIN, f"no word: {texts[item]}", True) for item in digits)
    if len(cameras) < MOST * written:
        named = set(digits)
        yield from ((i, CERTAIN, f"a camera's name of a file: {texts[i]}", True) for i in cameras if i not in named)


def _is_mark(letter: str) -> bool:
    """Whether it is a digit, punctuation or a blank; an emoji says something."""
    return letter.isnumeric() or letter.isspace() or ord(letter) < 0x2190


def _says_nothing(text: str, sentences: bool) -> bool:
    """Whether it is in the lists, with an article before or a number behind."""
    plain = _bare(text)
    if plain.startswith("lorem ipsum"):
        return True
    for words in (plain, _ARTICLE.sub("", plain, count=1)):
        without = words.rstrip("0123456789").rstrip(_MARKS) if words[-1:].isdigit() else words
        for one in (words, without):
            if one in _EMPTY or (sentences and one in _VAGUE):
                return True
    return False


# --- around many


class Around(NamedTuple):
    """Words that end (or begin) many captions, and the places of these."""

    words: str
    places: list[int]
    certainty: float
    note: str


def _around(texts: Sequence[str], at_begin: bool) -> list[Around]:
    """Words that are put around many otherwise different captions, at one of their ends."""
    if len(texts) < FEWEST:
        return []
    turned = mapped(lambda text: " ".join(text.split()[::-1]), texts) if at_begin else texts
    least = max(FEWEST, int(SHARE * len(texts)))
    frequent = _frequent((hash(end) for text in turned for end in _ends(text)), least)
    places: dict[str, list[int]] = {}
    for place, text in enumerate(turned if frequent else ()):
        for end in _ends(text):
            if hash(end) in frequent:
                places.setdefault(end, []).append(place)
    places = {end: having for end, having in places.items() if len(having) >= least}
    longer = dict(_extended(turned, end, having) for end, having in places.items())
    named = {end: having for end, having in longer.items() if len(having) >= least and _has_words(end)}
    return _decided(turned, named, at_begin)


def _frequent(hashes: Iterable[int], least: int) -> frozenset[int]:
    """Hashes that occur as often; sorted numbers take a tenth of the memory of what they stand for."""
    sorted_Q = np.sort(np.fromiter(hashes, np.int64))
    starts = np.flatnonzero(np.append(True, sorted_Q[1:] != sorted_Q[:-1])[: len(sorted_Q)])
    counts = np.diff(np.append(starts, len(sorted_Q)))
    return frozenset(sorted_Q[starts[counts >= least]].tolist())


def _ends(text: str) -> Iterator[str]:
    """The last words of a caption: so many, and those behind the last mark that parts fields."""
    parts = text.rsplit(None, WORDS)
    if len(parts) > WORDS:
        yield " ".join(parts[1:])
    last = max((text.rfind(mark) for mark in _FIELD if mark in text), default=-1)
    if last > 0 and (end := " ".join(text[last:].split())).count(" ") != WORDS - 1:
        yield end


def _extended(texts: Sequence[str], end: str, places: Sequence[int]) -> tuple[str, list[int]]:
    """A sequence with all words before it that nearly all of its captions have, and these captions."""
    having = list(places)
    for words in range(len(end.split()), LONGEST_SEQUENCE):
        before = {place: texts[place].rsplit(None, words + 1)[:2] for place in having}
        next_words = Counter(parts[1] for parts in before.values() if len(parts) == 2 and parts[0])
        word, many = next_words.most_common(1)[0] if next_words else ("", 0)
        if many < SAME * len(having) or not many or (_is_parted(end) and not _LETTERS.search(word)):
            break
        end = f"{word} {end}"
        having = [place for place, parts in before.items() if len(parts) == 2 and parts[1] == word]
    return end, having


def _is_parted(end: str) -> bool:
    """Whether it begins with a mark that parts fields."""
    return end.split(" ", 1)[0] in _FIELD_MARKS


def _has_words(end: str) -> bool:
    """Whether it has as many words as it must, of letters."""
    many = sum(bool(_LETTERS.search(word)) for word in end.split())
    return many >= (PARTED_WORDS if _is_parted(end) else WORDS)


def _decided(texts: Sequence[str], named: dict[str, list[int]], at_begin: bool) -> list[Around]:
    """Those of the sequences that are put around captions rather than part of what they say."""
    parted = [end for end in named if _is_parted(end)]
    values = sum(not _ADVERTISING.search(end) for end in parted) > VALUES
    some = {end: having for end, having in named.items() if not _is_parted(end) and len(having) < SAME * len(texts)}
    own = _own_words(texts, some if len(texts) >= ENOUGH else {})
    in_order: list[str] | None = None
    found = []
    for end, having in named.items():
        certainty = 0.0
        if _is_parted(end):
            certainty = 0.0 if values and not _ADVERTISING.search(end) else PARTED
        elif not at_begin or end.split(" ", 1)[0].endswith(_SENTENCE_ENDS):  # "a photo of a" begins a sentence
            certainty = APART if own.get(end, 0) >= max(2, len(_LETTERS.findall(end)) / 2) else 0.0
        if certainty:
            in_order = in_order or sorted(texts)
            if not _is_informative(texts, in_order, end, having):
                shown = " ".join(end.split()[::-1]) if at_begin else end
                note = f'"{shown}" {"begins" if at_begin else "ends"} {len(having):,} captions'
                found.append(Around(shown, having, certainty, note))
    return found


def _own_words(texts: Sequence[str], named: dict[str, list[int]]) -> dict[str, int]:
    """How many of its words each sequence has for itself: next to all captions with the word have the sequence."""
    words_of = {end: set(_LETTERS.findall(end.casefold())) for end in named}
    wanted = set().union(*words_of.values())
    counts: Counter[str] = Counter()
    if wanted:
        for text in texts:
            counts.update(wanted.intersection(_LETTERS.findall(text.casefold())))
    return {
        end: sum(len(word) > 1 and len(named[end]) >= SAME * counts[word] for word in words)
        for end, words in words_of.items()
    }


def _is_informative(texts: Sequence[str], in_order: Sequence[str], end: str, places: Sequence[int]) -> bool:
    """Whether what stands before the sequence also stands before others, so that the sequence says which one it is."""
    asked = places[:: max(1, len(places) // ASKED)]
    several = sum(_goes_on_otherwise(in_order, " ".join(texts[place].split()), end) for place in asked)
    return several >= INFORMATIVE * len(asked)


def _goes_on_otherwise(in_order: Sequence[str], text: str, end: str) -> bool:
    """Whether the beginning of a text that ends so is the beginning of another text too, before such a mark again."""
    start = text[: -len(end)].rstrip()
    if not start:
        return False
    first = bisect_left(in_order, f"{start} ")
    return any(
        other.startswith(f"{start} ")
        and not other.endswith(end)
        and _is_parted(other[len(start) :].strip()) == _is_parted(end)
        for other in in_order[first : first + _NEIGHBOURS]
    )
