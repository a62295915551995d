"""Texts as counted words, pairs of words and letter n-grams: what captions say without a model of language."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from .._descriptors import SAMPLE, reduced

WIDTH = 512
"""Numbers of a text."""

TERMS = 3000
"""Terms of a kind that count: those in most texts, in two at least."""

LETTERS = (3, 4)
"""Lengths of the letter n-grams, with a mark for the start and the end of a word."""

_WORD = re.compile(r"\w+")

Terms = Counter[str]


def descriptors(texts: Sequence[str]) -> np.ndarray:
    """float32 ``(N, at most WIDTH)``: tf-idf (Spärck Jones 1972) of words and of letters, by principal components."""
    kinds = (_words, _letters)
    step = max(1, len(texts) // (4 * SAMPLE))
    known = [_frequencies([count(text) for text in texts[::step]]) for count in kinds]

    def describe(numbers: Sequence[int]) -> list[np.ndarray]:
        some = [texts[number] for number in numbers]
        return [_weighted([count(text) for text in some], one) for count, one in zip(kinds, known, strict=True)]

    return reduced(describe, len(texts), WIDTH)


def _words(text: str) -> Terms:
    found = _WORD.findall(text)
    return Counter([*found, *(f"{first} {second}" for first, second in pairwise(found))])


def _letters(text: str) -> Terms:
    marked = [f"<{word}>" for word in _WORD.findall(text)]
    return Counter(word[at : at + n] for word in marked for n in LETTERS for at in range(len(word) - n + 1))


def _frequencies(counted: Sequence[Terms]) -> dict[str, float]:
    """The inverse document frequencies of the terms that count."""
    documents = Counter(term for terms in counted for term in terms)
    frequent = sorted(documents.items(), key=lambda one: (-one[1], one[0]))[:TERMS]
    return {term: 1 + math.log(len(counted) / count) for term, count in frequent if count > 1}


def _weighted(counted: Sequence[Terms], known: Mapping[str, float]) -> np.ndarray:
    """float32 ``(N, terms)``, one column at least."""
    place = {term: number for number, term in enumerate(known)}
    rows = np.zeros((len(counted), max(1, len(known))), np.float32)
    for row, terms in enumerate(counted):
        for term, count in terms.items():
            if term in place:
                rows[row, place[term]] = (1 + math.log(count)) * known[term]
    return rows
