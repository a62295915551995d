"""Evaluations during training: on which items, what they are compared by, and the loss on validation pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..data.prepared import PreparedPairs, of_some_items
from ..data.sampler import BatchSampler
from ..modalities import is_text
from ..types import Metrics
from .embedded import EmbeddedPairs
from .generation import GenerationResults
from .measures import query_components


def thinned(prepared: PreparedPairs, most: int) -> PreparedPairs:
    """The rows of at most ``most`` items of each modality that is not typed, evenly spaced."""
    keep = np.ones(len(prepared.pairs), bool)
    for name, item_of_row in prepared.item_of_row.items():
        if not is_text(name):
            keep &= (item_of_row < 0) | of_some_items(item_of_row, most)
    return prepared if keep.all() else prepared.select(np.flatnonzero(keep))


def items_per_modality(prepared: PreparedPairs) -> float:
    """How many different items an evaluation embeds of each modality, on average."""
    counts = [len(np.unique(item_of_row[item_of_row >= 0])) for item_of_row in prepared.item_of_row.values()]
    return float(np.mean(counts)) if counts else 0.0


def score_by_group(embedded: EmbeddedPairs, generated: GenerationResults) -> np.ndarray:
    """The score of an evaluation in parts ``(G,)``, one of each connected component of the pairs; higher is better.

    Their sum is the mean over what the model does: retrieval by the mean reciprocal rank of all directions, captions by
    the share that is true (CIDEr-D where the items do not know), answers by their accuracy. R@1 counts in steps of one
    over the number of queries and says nothing of a match in second place, so it is too noisy to choose by.
    """
    pairs = embedded.pairs
    groups = np.unique(pairs.groups)

    def parts_of_mean(values_N: np.ndarray, groups_N: np.ndarray) -> np.ndarray:
        """What each group adds to the mean."""
        return np.bincount(np.searchsorted(groups, groups_N), values_N, len(groups)) / len(values_N)

    directions = [
        parts_of_mean(1 / ranking.rank_N.double().numpy(), query_components(embedded, direction))
        for direction, ranking in embedded.rankings().items()
    ]
    scores = [np.mean(directions, axis=0)] if directions else []
    for predictions in filter(None, (generated.captions, generated.answers)):
        values_N = np.array([prediction.score for prediction in predictions.values()])
        scores.append(parts_of_mean(values_N, pairs.groups[list(predictions)]))
    return np.mean(scores, axis=0) if scores else np.zeros(0)


@torch.no_grad()
def validation_loss(objective: nn.Module, embedded: EmbeddedPairs, batch_size: int) -> Metrics:
    """``loss``: the objective on validation pairs, averaged over batches of ``batch_size`` rows; else nothing.

    It is the loss of training without dropout and augmentation, its learned temperature included. Batches are always
    the same; rows that do not fill one are left out, since a contrastive loss grows with the batch. Where there are
    fewer, they are one batch, whose loss is lower than that of a whole one would be.
    """
    if not embedded.both():
        return {}
    encoded = {name: vectors_NE * embedded.norms[name] for name, vectors_NE in embedded.vectors.items()}
    rows = len(embedded.pairs)
    sampler = BatchSampler(rows, batch_size, seed=0)
    was_training = objective.training
    objective.eval()
    losses = [
        _loss_of_rows(objective, embedded, encoded, sampler.step(number)[0])
        for number in range(rows // sampler.batch_size)
    ]
    objective.train(was_training)
    return {"loss": float(np.mean(losses))}


def _loss_of_rows(
    objective: nn.Module, embedded: EmbeddedPairs, encoded: dict[str, torch.Tensor], rows_B: np.ndarray
) -> float:
    where = next(objective.parameters(), torch.zeros(())).device
    places = {name: embedded.vector_of_row[name][rows_B] for name in encoded}
    batch = {name: encoded[name][torch.from_numpy(place_B[place_B >= 0])].to(where) for name, place_B in places.items()}
    loss: torch.Tensor = objective(batch, embedded.pairs.matches.batch(rows_B).to(where))
    return loss.item()
