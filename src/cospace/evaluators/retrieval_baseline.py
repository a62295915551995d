"""Captions that were not written for the item: what a decoder's own must be better than."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..data.pairs import Pairs
from ..modalities import text_modality
from ..models.generation.generator import TextGenerator
from ..models.space import Space
from ..types import Metrics
from .embedded import EmbeddedPairs
from .generation import GenerationResults, judged, true_captions

SHOWN = ("CIDEr-D", "BLEU-4", "accuracy")
"""Figures of a caption that are worth comparing."""


def retrieval_baselines(
    generator: TextGenerator | None, space: Space, embedded: EmbeddedPairs, results: GenerationResults
) -> Metrics:
    """Two baselines on the items that the decoder described, with captions it was trained on.

    ``caption/retrieval_baseline/*`` take the caption nearest to the item in the space,
    ``caption/most_frequent_baseline/*`` the one that occurred most often (of several the one nearest to their mean).
    """
    if generator is None or not results.captions or not generator.prior.captions:
        return {}
    described = generator.modality
    if text_modality() not in space.modalities or described not in embedded.vectors:
        return {}
    rows = list(results.captions)
    items = embedded.vector_of_row[described][rows]
    references, _ = true_captions(embedded.pairs, embedded.vector_of_row[described], items)
    known, common = list(generator.prior.captions), generator.prior.most_frequent()
    known_KE = _vectors(space, known)
    nearest = (embedded.vectors[described][torch.from_numpy(items)] @ known_KE.T).argmax(1).tolist()
    common_KE = known_KE[: len(common)]
    middle = common[int((common_KE @ common_KE.mean(0)).argmax())]
    baselines = {
        "retrieval_baseline": [known[place] for place in nearest],
        "most_frequent_baseline": [middle] * len(rows),
    }
    found: Metrics = {}
    for name, captions in baselines.items():
        found |= _figures(name, (embedded.pairs, described), dict(zip(rows, captions, strict=True)), references)
    return found


def _figures(name: str, of: tuple[Pairs, str], captions: dict[int, str], references: list[list[str]]) -> Metrics:
    _, metrics = judged(*of, captions, references)
    return {
        f"caption/{name}/{figure}": metrics[f"caption/{figure}"] for figure in SHOWN if f"caption/{figure}" in metrics
    }


def _vectors(space: Space, texts: list[str]) -> torch.Tensor:
    name = text_modality()
    prepared: Iterator[torch.Tensor] = (space.processors[name].prepare(text) for text in texts)
    return torch.from_numpy(np.concatenate(list(space.embed_prepared(name, prepared))))
