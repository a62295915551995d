"""The words of an index: which items have captions that hold a word, and which words go together.

A search needs this for what no score can say: that a word occurs in no caption, how many items can possibly be right,
what may be typed next. An item's captions are its text and, of a file with several, those that :data:`CAPTIONS` keeps.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, takewhile
from pathlib import Path

import numpy as np

from .. import files
from ..modalities.text.words import FUNCTION_WORDS, variants, words
from ..reading import opened, understood
from . import Index, Item, Progress, silent
from .entries import captions_of

FORMAT = 1
PART = 4_096
"""Items that are read at a time."""

MOST_BIGRAMS = 100_000
"""Two words in a row that are remembered, the most frequent ones."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What may be typed, and how many items have captions that hold it."""

    text: str
    count: int


@dataclass(frozen=True)
class Lexicon:
    """Words in order of the alphabet with the numbers of the items that hold them; numbers are those of one version.

    ``ends_W`` are the ends of the words' rows in ``numbers_P``. ``modality_N`` is the place in ``modalities`` of the
    items ``items_N`` that have captions, ascending.
    """

    version: int
    words: Sequence[str]
    ends_W: np.ndarray
    numbers_P: np.ndarray
    modalities: Sequence[str]
    items_N: np.ndarray
    modality_N: np.ndarray
    captions: int
    """Different captions."""
    bigrams: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Index, progress: Progress = silent) -> Lexicon:
        """Read all captions of a store, about 100,000 items a second."""
        numbers, reading = store.select(), _Reading()
        for start in range(0, len(numbers), PART):
            part = numbers[start : start + PART].tolist()
            for number, item in zip(part, store.items(part), strict=True):
                reading.add(number, item)
            progress("reading captions", min(start + PART, len(numbers)), len(numbers))
        return reading.lexicon(store.version)

    def __len__(self) -> int:
        return len(self.words)

    def __bool__(self) -> bool:
        """Whether any item has a caption with a word."""
        return len(self.words) > 0

    def describes(self, modality: str) -> bool:
        """Whether items of a modality have captions."""
        return modality in self.modalities

    def unknown(self, text: str) -> list[str]:
        """The words of a text that no caption uses, in singular and plural; nothing where there are no captions.

        A text without any word, such as ``???``, is unknown as a whole.
        """
        if not self:
            return []
        asked = words(text)
        if not asked and text.strip():
            return [text.strip()]
        return list(dict.fromkeys(word for word in asked if not len(self._holding(word))))

    def holding(self, text: str, modality: str) -> np.ndarray:
        """Numbers, ascending, of the items of a modality whose captions hold all words of a text."""
        asked = list(dict.fromkeys(words(text)))
        if not asked:
            return np.zeros(0, np.int64)
        found = sorted((self._holding(word) for word in asked), key=len)
        numbers = found[0]
        for others in found[1:]:
            numbers = numbers[np.isin(numbers, others, assume_unique=True)]
        return np.asarray(numbers[self._is(modality, numbers)], np.int64)

    def complete(self, typed: str, k: int, modality: str) -> list[Completion]:
        """How the last word of what is being typed may end, and what follows it; the words before are kept."""
        known = words(typed)
        if not known or not words(typed[-1:]):
            return []
        *before, prefix = known
        kept = (
            typed[: len(typed) - len(prefix)] if typed.casefold().endswith(prefix) else "".join(f"{w} " for w in before)
        )
        last = before[-1] if before else ""
        ends = self._beginning(prefix)
        found = Counter({end: self._count(" ".join([*before, end]), modality) for end in ends[:_TRIED]})
        for first in [f"{last} {end}" for end in ends if f"{last} {end}" in self.bigrams]:
            end = first.partition(" ")[2]
            found[end] += self.bigrams[first] * 10  # what follows the word before comes first
        best = [end for end, count in found.most_common(k) if count]
        more = [f"{end} {then}" for end in best[:2] for then in self._followers.get(end, ())[:3]]
        listed = [*best, *more]
        counts = [self._count(" ".join([*before, end]), modality) for end in listed]
        return [Completion(kept + end, count) for end, count in zip(listed, counts, strict=True) if count][:k]

    def phrases(self, most: int) -> list[str]:
        """Common words and pairs of words that say something, the most frequent first, as examples to search for."""
        pairs = [pair for pair, count in self.bigrams.items() if count > 1 and not FUNCTION_WORDS & set(pair.split())]
        sizes = np.diff(self.ends_W, prepend=0)
        chosen = [place for place in np.argsort(-sizes, kind="stable")[: 4 * most] if self._says_something(place)]
        singles = [self.words[place] for place in chosen]
        return [phrase for both in zip(pairs, singles, strict=False) for phrase in both][:most]

    def save(self, path: Path) -> None:
        """Write it as one file."""
        bigrams = list(self.bigrams)
        arrays = {
            "head": np.array([FORMAT, self.version, self.captions], np.int64),
            "words": _joined(self.words),
            "modalities": _joined(self.modalities),
            "bigrams": _joined(bigrams),
            "bigram_counts": np.array([self.bigrams[pair] for pair in bigrams], np.int64),
            **{name: getattr(self, name) for name in _ARRAYS},
        }

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)

        files.atomic_write(path, write)

    @classmethod
    def load(cls, path: Path, version: int) -> Lexicon | None:
        """What :meth:`save` wrote for this version; nothing where that is another one's, or nothing is there."""
        if not path.is_file():
            return None
        with understood(path), opened(path) as file, np.load(file, allow_pickle=False) as stored:
            written, of_version, captions = stored["head"].tolist()
            if (written, of_version) != (FORMAT, version):
                return None
            bigrams = dict(zip(_parted(stored["bigrams"]), stored["bigram_counts"].tolist(), strict=True))
            arrays = {name: stored[name] for name in _ARRAYS}
            words, modalities = (_parted(stored[name]) for name in ("words", "modalities"))
            return cls(version, words, captions=captions, modalities=modalities, bigrams=bigrams, **arrays)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def _followers(self) -> dict[str, list[str]]:
        """What follows a word, the most frequent first."""
        found: dict[str, list[str]] = {}
        for pair in self.bigrams:
            first, _, then = pair.partition(" ")
            if then not in FUNCTION_WORDS:
                found.setdefault(first, []).append(then)
        return found

    def _says_something(self, place: int) -> bool:
        return self.words[place] not in FUNCTION_WORDS and (
            len(self.words[place]) > 2 or not self.words[place].isascii()
        )

    def _is(self, modality: str, numbers: np.ndarray) -> np.ndarray:
        if modality not in self.modalities:
            return np.zeros(len(numbers), bool)
        kind_N = self.modality_N[np.searchsorted(self.items_N, numbers)]
        return np.asarray(kind_N == self.modalities.index(modality))

    def _holding(self, word: str) -> np.ndarray:
        """Items that hold a word; where none does, those that hold it in the other number."""
        exact = self._row(word)
        if len(exact):
            return exact
        rows = [row for other in variants(word) if len(row := self._row(other))]
        return np.unique(np.concatenate(rows)) if rows else exact

    def _row(self, word: str) -> np.ndarray:
        place = self._place.get(word)
        if place is None:
            return self.numbers_P[:0]
        return np.asarray(self.numbers_P[self.ends_W[place - 1] if place else 0 : self.ends_W[place]])

    def _count(self, text: str, modality: str) -> int:
        return len(self.holding(text, modality))

    def _beginning(self, prefix: str) -> list[str]:
        """Words that begin so, the most frequent first."""
        start = bisect_left(self.words, prefix)
        there = takewhile(lambda place: self.words[place].startswith(prefix), range(start, len(self.words)))
        sizes = np.diff(self.ends_W, prepend=0)
        places = sorted((place for place in there if self._says_something(place)), key=lambda place: -sizes[place])
        return [self.words[place] for place in places]


_TRIED = 50
"""Endings of a word whose items are counted."""

_ARRAYS = ("ends_W", "numbers_P", "items_N", "modality_N")


class _Reading:
    """The words of items as they are read, in the order of their numbers."""

    def __init__(self) -> None:
        self.code: dict[str, int] = {}
        self.word_P, self.number_P = array("i"), array("q")
        self.item_N, self.modality_N = array("q"), array("b")
        self.modalities: dict[str, int] = {}
        self.bigrams: Counter[str] = Counter()
        self.captions: set[int] = set()

    def add(self, number: int, item: Item) -> None:
        """One more item."""
        captions = captions_of(item)
        if not captions:
            return
        self.captions.update(map(hash, captions))
        written = [words(caption) for caption in captions]
        self.item_N.append(number)
        self.modality_N.append(self.modalities.setdefault(item.modality, len(self.modalities)))
        held = dict.fromkeys(word for caption in written for word in caption)
        self.word_P.extend(self.code.setdefault(word, len(self.code)) for word in held)
        self.number_P.extend([number] * len(held))
        self.bigrams.update({" ".join(pair) for caption in written for pair in pairwise(caption)})
        if len(self.bigrams) > 10 * MOST_BIGRAMS:
            self.bigrams = Counter(dict(self.bigrams.most_common(2 * MOST_BIGRAMS)))

    def lexicon(self, version: int) -> Lexicon:
        """All that was read."""
        known = np.array(list(self.code), dtype=object)
        order = np.argsort(known) if len(known) else np.zeros(0, np.int64)
        place_W = np.empty(len(order), np.int64)
        place_W[order] = np.arange(len(order))
        word_P, number_P = place_W[np.array(self.word_P, np.int64)], np.array(self.number_P, np.int64)
        rows = np.argsort(word_P, kind="stable")
        ends_W = np.cumsum(np.bincount(word_P, minlength=len(order)))
        return Lexicon(
            version, [str(word) for word in known[order]], ends_W, number_P[rows], list(self.modalities),
            np.array(self.item_N, np.int64), np.array(self.modality_N, np.int8), len(self.captions),
            dict(self.bigrams.most_common(MOST_BIGRAMS)),
        )  # fmt: skip


def _joined(texts: Sequence[str]) -> np.ndarray:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _parted(stored: np.ndarray) -> list[str]:
    text = stored.tobytes().decode()
    return text.split("\n") if text else []
