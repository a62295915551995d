"""How good a space is on some pairs: retrieval both ways, zero-shot classification, health, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import Calibration, Matching
from ..evaluation.geometry import diagnose, geometry
from ..evaluation.matches import fit_matching
from ..evaluation.platt import expected_calibration_error, fit, reliability, sample_scores
from ..evaluation.retrieval import Ranking, both_ways, metric_intervals, retrieval
from ..evaluation.zero_shot import class_vectors, templates_for, true_classes, zero_shot
from ..pairs import Pairs
from ..space import Space
from ..types import Metrics, Progress, silent
from .prepare import Store, decode_all
from .settings import unique_items

HEALTH_ROWS = 2048
"""Pairs that the space's health is measured on; more change no digit that is shown."""

WATCHED = 1024
"""Pairs of a training batch that its health is measured on: memory would grow with the square of the batch."""


@dataclass(slots=True)
class Embedded:
    """Pairs and the unit vectors of their different pictures and texts, with groups."""

    pairs: Pairs
    image_NE: Tensor
    text_NE: Tensor
    image_groups: np.ndarray
    text_groups: np.ndarray
    image_of_row: np.ndarray
    text_of_row: np.ndarray
    images: Tensor = field(repr=False)

    def rankings(self) -> dict[str, Ranking]:
        """Where every query's match stands, both ways."""
        return both_ways(self.image_NE, self.text_NE, self.image_groups, self.text_groups)


def decode_for(space: Space, pairs: Pairs, bad_share: float = 0.01, progress: Progress = silent) -> tuple[Pairs, Store]:
    """Decode every different picture once; those that cannot be read are set aside, up to ``bad_share`` of the rows."""
    pairs, store = decode_all(pairs, space.preparers["image"], progress)  # type: ignore[arg-type]
    return pairs.stop_above(bad_share), store


def embed_store(space: Space, pairs: Pairs, store: Store, progress: Progress = silent) -> Embedded:
    """Embed every different picture, decoded already, and every different text once."""
    used, image_of_row = np.unique(store.item_of_row, return_inverse=True)
    first = np.unique(image_of_row, return_index=True)[1]
    pictures = (store.images_N3SS[item] for item in used)
    image_NE = _vectors(space, "image", pictures, len(used), progress)
    text_NE, text_groups, text_of_row = _texts(space, pairs, progress)
    images = store.images_N3SS if len(used) == len(store.images_N3SS) else store.images_N3SS[torch.from_numpy(used)]
    return Embedded(pairs, image_NE, text_NE, pairs.groups[first], text_groups, image_of_row, text_of_row, images)


def _texts(space: Space, pairs: Pairs, progress: Progress) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Vectors and groups of the different texts, and the text of every row; nothing where space or pairs have none."""
    if "text" not in space.modalities or "text" not in pairs.items:
        return torch.zeros(0, space.width), np.zeros(0, np.int64), np.zeros(0, np.int64)
    texts, groups, text_of_row = unique_items(pairs, "text")
    prepared = (space.preparers["text"].prepare(text) for text in texts)
    return _vectors(space, "text", prepared, len(texts), progress), groups, text_of_row


def _vectors(space: Space, modality: str, prepared: Iterator[Tensor], total: int, progress: Progress) -> Tensor:
    def tell(done: int, of: int) -> None:
        progress(f"embedding {modality}s", done, of)

    return torch.from_numpy(np.concatenate(list(space.embed_prepared(modality, prepared, tell, total))))


def measure(space: Space, embedded: Embedded) -> Metrics:
    """Retrieval both ways and the space's health; of a space of pictures alone, how many there are."""
    if not len(embedded.text_NE):
        return {"n_images": float(len(embedded.image_NE))}
    metrics = retrieval(embedded.image_NE, embedded.text_NE, embedded.image_groups, embedded.text_groups)
    return metrics | health(embedded)


def health(embedded: Embedded) -> Metrics:
    """Geometry of the space on (at most :data:`HEALTH_ROWS`) different pictures with one of their texts."""
    _, rows = np.unique(embedded.image_of_row, return_index=True)
    rows = np.sort(rows)[:HEALTH_ROWS]
    if len(rows) < 2:
        return {}
    image_RE = embedded.image_NE[torch.from_numpy(embedded.image_of_row[rows])]
    return geometry(image_RE, embedded.text_NE[torch.from_numpy(embedded.text_of_row[rows])])


@dataclass(frozen=True, slots=True)
class Classified:
    """Zero-shot classification of every different picture: its true class (or none), and the classes' vectors."""

    names: Sequence[str]
    class_CE: Tensor
    labels_N: np.ndarray
    metrics: Metrics


def classify(
    space: Space,
    embedded: Embedded,
    names: Sequence[str],
    templates: Sequence[str] | None = None,
    bare: bool | None = None,
) -> Classified:
    """Name every picture's class by the nearest class text.

    ``templates`` default to the bare name where the space was trained on bare names, else to a few sentences.
    """
    pairs = embedded.pairs
    _, rows = np.unique(embedded.image_of_row, return_index=True)
    captions = [pairs.items["text"][row] for row in rows]
    labels = [pairs.extras["label"][row] for row in rows] if "label" in pairs.extras else None
    paths = [_path(pairs.items["image"][row]) for row in rows]
    labels_N = true_classes(names, labels, paths, captions)

    def embed_text(texts: list[str]) -> Tensor:
        return torch.from_numpy(space.embed(text=texts))

    chosen = templates or (("{}",) if bare else templates_for(captions))
    class_CE = class_vectors(embed_text, names, chosen)
    return Classified(names, class_CE, labels_N, zero_shot(embedded.image_NE, class_CE, labels_N))


def _path(raw: Any) -> str:
    return str(raw) if isinstance(raw, str | Path) else ""


def calibrate(embedded: Embedded, seed: int = 0) -> Calibration:
    """From cosines to probabilities, on these held-out pairs."""
    matched, unmatched = sample_scores(
        embedded.image_NE, embedded.text_NE, (embedded.image_groups, embedded.text_groups), seed
    )
    is_match = np.concatenate([np.ones(len(matched), bool), np.zeros(len(unmatched), bool)])
    return fit(np.concatenate([matched, unmatched]), is_match)


def calibrate_search(embedded: Embedded, seed: int = 0) -> dict[str, Matching]:
    """What a search may say of its results, by direction, on these held-out pairs."""
    sides = {
        "text": (embedded.text_NE, embedded.text_groups),
        "image": (embedded.image_NE, embedded.image_groups),
    }
    fitted = {}
    for asked, found in (("text", "image"), ("image", "text")):
        (query_NE, query_N), (gallery_ME, gallery_M) = sides[asked], sides[found]
        matching = fit_matching(query_NE, gallery_ME, (query_N, gallery_M), seed)
        if matching is not None:
            fitted[f"{asked}_to_{found}"] = matching
    return fitted


def intervals(embedded: Embedded) -> dict[str, list[float]]:
    """95 % intervals of the figures of retrieval, by their keys."""
    if not len(embedded.text_NE):
        return {}
    groups = {"image": embedded.image_groups, "text": embedded.text_groups}
    found: dict[str, list[float]] = {}
    for direction, ranking in embedded.rankings().items():
        bounds = metric_intervals(direction, ranking, groups[direction.partition("_to_")[0]])
        found |= {key: list(interval) for key, interval in bounds.items()}
    return found


def reliability_of(space: Space, embedded: Embedded) -> dict[str, Any]:
    """How far the probabilities of texts and pictures are from what came true, in bins, on held-out pairs."""
    if space.calibration is None or not len(embedded.text_NE):
        return {}
    groups = (embedded.text_groups, embedded.image_groups)
    matched, unmatched = sample_scores(embedded.text_NE, embedded.image_NE, groups)
    chance = space.calibration.probability(np.concatenate([matched, unmatched]))
    is_match = np.arange(len(chance)) < len(matched)
    bins = [asdict(one) for one in reliability(chance, is_match)]
    return {"error": expected_calibration_error(chance, is_match), "bins": bins}


def watch(embeddings: Mapping[str, Tensor]) -> Metrics:
    """The health of one training batch, for the log."""
    if len(embeddings) < 2:
        return {}
    image_BE, text_BE = embeddings["image"][:WATCHED], embeddings["text"][:WATCHED]
    if not bool(torch.isfinite(image_BE).all() and torch.isfinite(text_BE).all()):
        return {}
    tiny = 1e-12
    if float(image_BE.norm(dim=1).min()) < tiny or float(text_BE.norm(dim=1).min()) < tiny:
        return {}
    return geometry(image_BE, text_BE)


def complaint(metrics: Metrics, width: int) -> str | None:
    """What is wrong with the space, in plain words, or nothing."""
    return diagnose(metrics, width) if "space/effective_rank" in metrics else None
