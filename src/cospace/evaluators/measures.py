"""Figures of a space on embedded pairs: retrieval, health, zero-shot classification, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluation.advice import Setup, cure
from ..evaluation.classes import Classes, read_classes, vectors_of
from ..evaluation.geometry import aggregate, diagnose, geometry
from ..evaluation.platt import fit, sample_scores
from ..evaluation.retrieval import metric_intervals, summary
from ..evaluation.zero_shot import (
    BARE,
    ENSEMBLE,
    NO_CLASS,
    prompt_name,
    true_classes,
    without_class,
    zero_shot,
)
from ..matches import BatchMatches
from ..modalities import is_text, text_modality
from ..models.calibration import Calibration
from ..models.space import Space
from ..objectives import aligned
from ..types import Metrics, UserError
from .embedded import EmbeddedPairs

HEALTH_ROWS = 2048
"""Pairs that the space's health is measured on; more change no digit that is shown."""

WATCHED = 1024
"""Pairs of a training batch that its health is measured on: memory would grow with the square of the batch."""


def measure(embedded: EmbeddedPairs) -> Metrics:
    """Retrieval both ways between every two modalities, the space's health, and how many items there are."""
    metrics: Metrics = {f"n_{name}s": float(len(vectors)) for name, vectors in embedded.vectors.items()}
    for direction, ranking in embedded.rankings().items():
        metrics |= summary(direction, ranking)
    return metrics | health(embedded)


def health(embedded: EmbeddedPairs) -> Metrics:
    """Geometry of the space on (at most :data:`HEALTH_ROWS`) different items with one of their partners."""
    found = []
    for first, second in embedded.both():
        places, others = embedded.vector_of_row[first], embedded.vector_of_row[second]
        together = np.flatnonzero((places >= 0) & (others >= 0))
        rows = np.sort(together[np.unique(places[together], return_index=True)[1]])[:HEALTH_ROWS]
        if len(rows) >= 2:
            left_RE = embedded.vectors[first][torch.from_numpy(places[rows])]
            right_RE = embedded.vectors[second][torch.from_numpy(others[rows])]
            items = len(rows), len(np.unique(others[rows]))
            found.append(geometry(left_RE, right_RE, (first, second), items))
    return aggregate(found)


FEWEST_WATCHED = 32
"""Rows of two modalities below which a batch that has more of others says nothing about their health."""


def watch(embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Metrics:
    """The health of one training batch, for the log."""
    found = []
    enough = min(FEWEST_WATCHED, max(map(len, embeddings.values()), default=0))
    for pair in aligned(embeddings, matches):
        # Figures are computed in float64, which not every accelerator has.
        both = (pair.left_KE[:WATCHED].cpu(), pair.right_KE[:WATCHED].cpu())
        tiny = 1e-12
        if len(both[0]) >= enough and all(
            bool(torch.isfinite(rows).all()) and float(rows.norm(dim=1).min()) >= tiny for rows in both
        ):
            relation = pair.relation
            items = min(len(both[0]), len(relation.component_L)), min(len(both[1]), len(relation.component_R))
            found.append(geometry(*both, (pair.left, pair.right), items))
    return aggregate(found)


def diagnosis(metrics: Metrics, width: int, modalities: Sequence[str], setup: Setup | None = None) -> str | None:
    """What is wrong with the space, in plain words with what would help a run of this setup, or nothing."""
    return diagnose(metrics, width, modalities, cure(setup)) if "space/effective_rank" in metrics else None


@dataclass(frozen=True, slots=True)
class Classified:
    """Zero-shot classification of a modality's items: true classes (or none), the classes' vectors, figures."""

    modality: str
    names: Sequence[str]
    class_CE: Tensor
    labels_N: np.ndarray
    metrics: Metrics
    note: str = ""
    """What the rows without a class are called, and which class each may be; empty where all have one."""


def classify(
    space: Space,
    embedded: EmbeddedPairs,
    classes: Classes,
    templates: Sequence[str] | None = None,
    bare: bool | None = None,
) -> list[Classified]:
    """Name the class of every item that is no text by the nearest class text, a modality at a time.

    A name ``automobile = car`` is ``automobile`` in the data and ``car`` in prompts. ``templates`` default to the bare
    name where the space was trained on bare names, else to a few sentences.
    """
    text, pairs = text_modality(), embedded.pairs
    captions = pairs.items.get(text, [None] * len(pairs))

    def embed_text(texts: list[str]) -> Tensor:
        return torch.from_numpy(space.embed(progress=None, **{text: texts}))

    chosen = templates or (BARE if bare else ENSEMBLE)
    listed = read_classes(classes)
    for one in listed:
        one.check(space.fingerprint, space.width, "this run")
    names, class_CE = [one.name for one in listed], vectors_of(embed_text, listed, chosen)
    found = []
    for name in (name for name in embedded.vectors if not is_text(name)):
        rows = embedded.first_row[name].tolist()
        labels = [pairs.extras["label"][row] for row in rows] if "label" in pairs.extras else None
        paths = [_path(pairs.items[name][row]) for row in rows]
        labels_N = true_classes(names, labels, paths, [captions[row] or "" for row in rows])
        note = without_class(names, labels_N, labels, paths)
        if note and (labels_N == NO_CLASS).all():
            raise UserError(f"none of the rows has one of the {len(names)} classes: {note}")
        metrics = zero_shot(embedded.vectors[name], class_CE, labels_N)
        found.append(Classified(name, [prompt_name(one) for one in names], class_CE, labels_N, metrics, note))
    return found


def classification_metrics(classified: Sequence[Classified]) -> Metrics:
    """``zero_shot/top1`` and so on; of several modalities ``zero_shot/audio/top1`` for each."""
    if len(classified) == 1:
        return classified[0].metrics
    found: Metrics = {}
    for one in classified:
        found |= {key.replace("zero_shot/", f"zero_shot/{one.modality}/"): v for key, v in one.metrics.items()}
    return found


def _path(raw: Any) -> str:
    return str(raw) if isinstance(raw, str | Path) else ""


def calibrate(embedded: EmbeddedPairs, seed: int = 0) -> Calibration | None:
    """From cosines to probabilities, on these held-out pairs; nothing where no two modalities are paired."""
    scores, is_match = _scores(embedded, seed)
    return fit(scores, is_match) if len(scores) else None


def _scores(embedded: EmbeddedPairs, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of matches and of others, of every two modalities, and which of them match."""
    scores, is_match = [np.zeros(0)], [np.zeros(0, bool)]
    for first, second in embedded.both():
        matched = embedded.among_matched(first, second)
        right, wrong = sample_scores(matched.first_NE, matched.second_ME, matched.relation, seed)
        if len(right) and len(wrong):
            scores += [right, wrong]
            is_match += [np.ones(len(right), bool), np.zeros(len(wrong), bool)]
    return np.concatenate(scores), np.concatenate(is_match)


def intervals(embedded: EmbeddedPairs) -> dict[str, list[float]]:
    """95 % intervals of the figures of retrieval, by their keys."""
    found: dict[str, list[float]] = {}
    for direction, ranking in embedded.rankings().items():
        bounds = metric_intervals(direction, ranking, query_components(embedded, direction))
        found |= {key: list(interval) for key, interval in bounds.items()}
    return found


def query_components(embedded: EmbeddedPairs, direction: str) -> np.ndarray:
    """The connected component of every query that a direction's ranking is of."""
    asked, found = direction.split("_to_")
    kept = embedded.among_matched(asked, found).kept[0]
    components: np.ndarray = embedded.components(asked)[kept.numpy()]
    return components
