"""Pixels and words as features: what pairs teach without any published tower."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.pairs import Pairs
from ..data.prepared import different_items, prepare_pairs
from ..modalities import modality, text_modality
from ..modalities.image.processing import ImageProcessor
from ..training.closed_form import Features
from ..types import Progress, silent

SIDE = 10
"""Pixels to a side that an image is shrunk to."""

WORDS = 600
"""Words that stand for a text: the most frequent."""

_WORD = re.compile(r"\w+")


def plain_features(pairs: Pairs, image: str, vocabulary: Mapping[str, float], progress: Progress = silent) -> Features:
    """Shrunken pixels ``(N, 3 * SIDE**2)`` and counted words ``(M, W)`` of the items that rows pair.

    ``image`` names the modality of the images; one that cannot be decoded is left out.
    """
    text = text_modality()
    prepared = prepare_pairs(pairs, {image: ImageProcessor(size=SIDE)}, progress)
    texts, text_of_row = different_items(prepared.pairs, text)
    image_of_row = prepared.item_of_row[image]
    rows = np.flatnonzero((image_of_row >= 0) & (text_of_row >= 0))
    pairs_P2 = np.unique(np.stack([image_of_row[rows], text_of_row[rows]], axis=1), axis=0)
    pixels_ND = torch.stack([one.flatten() for one in prepared.items[image]]).float() / 255
    words_MW = count_words([modality(text).match_key(one) for one in texts], vocabulary)
    return Features(pixels_ND, words_MW, torch.from_numpy(pairs_P2), pairs_P2[:, 0])


def vocabulary_of(texts: Sequence[str]) -> dict[str, float]:
    """The :data:`WORDS` most frequent words, each with its inverse document frequency (Spärck Jones 1972)."""
    counts = Counter(word for text in texts for word in set(_WORD.findall(modality(text_modality()).match_key(text))))
    return {word: 1 + float(np.log(len(texts) / count)) for word, count in counts.most_common(WORDS)}


def count_words(texts: Sequence[str], vocabulary: Mapping[str, float]) -> Tensor:
    """tf-idf ``(M, W)``, float32; a text without any known word is zero."""
    place = {word: number for number, word in enumerate(vocabulary)}
    counts_MW = np.zeros((len(texts), len(vocabulary)), np.float32)
    for row, text in enumerate(texts):
        for word, count in Counter(_WORD.findall(text)).items():
            if word in place:
                counts_MW[row, place[word]] = (1 + np.log(count)) * vocabulary[word]
    return torch.from_numpy(counts_MW)
