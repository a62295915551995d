"""Captions that nobody wrote for the picture: what a decoder's own must be better than."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..fusion.teller import Teller
from ..pairs import Pairs
from ..space import Space
from ..types import Metrics
from .evaluate import Embedded
from .telling import Told, judged, true_captions

SHOWN = ("CIDEr-D", "BLEU-4", "true")
"""Figures of a caption that are worth comparing."""


def borrowed(teller: Teller | None, space: Space, embedded: Embedded, told: Told) -> Metrics:
    """Two baselines on the pictures that the decoder described, with captions it was trained on.

    ``caption/nearest/*`` take the caption nearest to the picture in the space, ``caption/commonest/*`` the one that was
    written most often (of several the one nearest to their middle) for all of them.
    """
    if teller is None or not told.captions or not teller.prior.captions or "text" not in space.modalities:
        return {}
    rows = list(told.captions)
    images = embedded.image_of_row[rows]
    references, _ = true_captions(embedded.pairs, embedded.image_of_row, images)
    known, common = list(teller.prior.captions), teller.prior.commonest()
    known_KE = _vectors(space, known)
    nearest = (embedded.image_NE[torch.from_numpy(images)] @ known_KE.T).argmax(1).tolist()
    common_KE = known_KE[: len(common)]
    middle = common[int((common_KE @ common_KE.mean(0)).argmax())]
    return {
        **_figures("nearest", embedded.pairs, rows, [known[place] for place in nearest], references),
        **_figures("commonest", embedded.pairs, rows, [middle] * len(rows), references),
    }


def _figures(name: str, pairs: Pairs, rows: list[int], captions: list[str], references: list[list[str]]) -> Metrics:
    _, metrics = judged(pairs, dict(zip(rows, captions, strict=True)), references)
    return {
        f"caption/{name}/{figure}": metrics[f"caption/{figure}"] for figure in SHOWN if f"caption/{figure}" in metrics
    }


def _vectors(space: Space, texts: list[str]) -> torch.Tensor:
    prepared: Iterator[torch.Tensor] = (space.preparers["text"].prepare(text) for text in texts)
    return torch.from_numpy(np.concatenate(list(space.embed_prepared("text", prepared))))
