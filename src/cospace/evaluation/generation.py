"""How good generated texts are: BLEU, ROUGE-L, CIDEr-D of captions, accuracy of answers, as the field defines them.

The formulas are those of the COCO caption evaluation and of VQA v2, so figures compare with published ones where the
tokens do. That evaluation tokenises with a Java program; :func:`words` keeps its visible rules (lower case, punctuation
dropped) and no more. METEOR and SPICE need Java and word lists, and are left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..types import Metrics

ORDERS = 4
"""Longest n-gram that counts."""

Grams = Counter[tuple[str, ...]]


def words(text: str) -> list[str]:
    """A caption's words in lower case; hyphens and apostrophes stay inside a word, other punctuation is dropped."""
    return re.findall(r"\w+(?:[-'’]\w+)*", text.lower())


def caption_metrics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Metrics:
    """BLEU-1 to 4, ROUGE-L and CIDEr-D of one caption an image, and how many of the captions differ.

    ``references`` are each image's true captions, at least one.
    """
    predicted, true = (
        [words(caption) for caption in captions],
        [[words(text) for text in texts] for texts in references],
    )
    scores = {f"BLEU-{order}": value for order, value in enumerate(bleu(predicted, true), 1)}
    scores |= {"ROUGE-L": float(np.mean(rouge_l(predicted, true))), "CIDEr-D": float(np.mean(cider_d(predicted, true)))}
    return scores | {"distinct": len(set(captions)) / max(1, len(captions))}


def grams(tokens: Sequence[str]) -> list[Grams]:
    """How often each n-gram occurs, by length from 1 to :data:`ORDERS`."""
    return [
        Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)) for order in range(1, ORDERS + 1)
    ]


def bleu(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """Corpus BLEU of 1- to 4-grams with the closest reference's length (Papineni et al. 2002)."""
    right, made = np.zeros(ORDERS), np.zeros(ORDERS)
    length = reference_length = 0
    for tokens, references in zip(predicted, true, strict=True):
        length += len(tokens)
        reference_length += min((abs(len(reference) - len(tokens)), len(reference)) for reference in references)[1]
        known = [grams(reference) for reference in references]
        for order, found in enumerate(grams(tokens)):
            made[order] += found.total()
            limit: Grams = Counter()
            for reference in known:
                limit |= reference[order]
            right[order] += (found & limit).total()
    tiny, small = 1e-15, 1e-9  # as the COCO evaluation has them: nothing right is nearly zero, not an error
    precision = np.cumprod((right + tiny) / (made + small)) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (length + tiny) / (reference_length + small)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [float(value) * penalty for value in precision]


def rouge_l(
    predicted: Sequence[Sequence[str]], true: Sequence[Sequence[Sequence[str]]], beta: float = 1.2
) -> list[float]:
    """The F-score of the longest common subsequence, an image at a time (Lin 2004); the best of the references."""
    scores = []
    for tokens, references in zip(predicted, true, strict=True):
        common = [common_length(tokens, reference) for reference in references]
        precision = max(common) / max(1, len(tokens))
        recall = max(c / max(1, len(reference)) for c, reference in zip(common, references, strict=True))
        both = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / both if both else 0.0)
    return scores


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for token in a:
        diagonal = 0
        for place, other in enumerate(b, 1):
            diagonal, row[place] = row[place], diagonal + 1 if token == other else max(row[place], row[place - 1])
    return row[-1]


def cider_d(
    predicted: Sequence[Sequence[str]], true: Sequence[Sequence[Sequence[str]]], sigma: float = 6.0
) -> list[float]:
    """CIDEr-D of each image (Vedantam et al. 2015, section 4): n-grams weighed by how few images have them.

    Document frequencies are counted over ``true`` itself, as the COCO evaluation does by default.
    """
    known = [[grams(reference) for reference in references] for references in true]
    images_with: Counter[tuple[str, ...]] = Counter()
    for references in known:
        images_with.update({gram for reference in references for counts in reference for gram in counts})
    log_images = math.log(len(true)) if true else 0.0

    def weighed(counts: Grams) -> dict[tuple[str, ...], float]:
        return {g: n * (log_images - math.log(max(1.0, images_with[g]))) for g, n in counts.items()}

    scores = []
    for tokens, references in zip(predicted, known, strict=True):
        made = grams(tokens)
        vectors = [weighed(counts) for counts in made]
        total = 0.0
        for reference in references:
            apart = made[1].total() - reference[1].total()  # lengths in 2-grams, as the COCO evaluation counts them
            factor = math.exp(-(apart**2) / (2 * sigma**2))
            total += factor * sum(_alike(mine, weighed(c)) for mine, c in zip(vectors, reference, strict=True))
        scores.append(10 * total / ORDERS / len(references))
    return scores


def _alike(predicted: Mapping[tuple[str, ...], float], true: Mapping[tuple[str, ...], float]) -> float:
    """Cosine of two weighed counts where repeating a thing more often than it is true gains nothing."""
    lengths = math.sqrt(sum(v * v for v in predicted.values())) * math.sqrt(sum(v * v for v in true.values()))
    shared = sum(min(value, true[gram]) * true[gram] for gram, value in predicted.items() if gram in true)
    return shared / lengths if lengths else 0.0


# ------------------------------------------------------------------------------------------------ answers

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_DIGITS)}}
_ARTICLES = frozenset({"a", "an", "the"})


def normal_answer(answer: str) -> str:
    """An answer as VQA v2 compares it: lower case, no articles or punctuation, number words as digits."""
    text = re.sub(r"(?<=\d),(?=\d)", "", answer.lower().strip())
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)
    text = re.sub(r"[^\w\s.':$%-]|_", " ", text).replace("-", " ")
    kept = [_NUMBERS.get(word, word) for word in text.split() if word not in _ARTICLES]
    return " ".join(kept)


def answer_accuracy(answer: str, annotators: Sequence[str]) -> float:
    """Whether an answer is the true one; with several annotators the VQA accuracy (Antol et al. 2015).

    That is a third for each of up to three annotators who said the same, averaged over who is left out.
    """
    given, true = normal_answer(answer), [normal_answer(one) for one in annotators]
    if len(true) == 1:
        return float(given == true[0])
    agreeing = sum(one == given for one in true)
    return float(np.mean([min(1.0, (agreeing - (one == given)) / 3) for one in true]))
