"""Vectors of a run's held-out pairs, kept with its model: what probabilities of classes are fitted on later.

Which classes somebody will ask for is not known when a run ends, so no single number could be kept. The vectors say no
more of the pairs than that; they lie beside the weights, are copied into an index, and are no part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from .. import files, tensors
from ..evaluators.classification import HeldOut
from ..evaluators.embedded import EmbeddedPairs
from ..modalities import is_text, modality, text_modality
from ..reading import understood

PATH = "held_out/vectors.safetensors"
MOST = 1_000
"""Items of a modality that are kept; half a megabyte at a width of 256."""


def held_out_content(embedded: EmbeddedPairs, seed: int = 0) -> dict[str, files.Content]:
    """A file for a model's folder, with a seeded sample of the items that have a text; nothing where none has."""
    kept = {name: of_modality(embedded, name, seed) for name in embedded.vectors if not is_text(name)}
    stored: dict[str, torch.Tensor] = {}
    for name, one in kept.items():
        if one is not None:
            stored |= {f"{name}.item": torch.from_numpy(one.item_NE).half()}
            stored |= {} if one.statistics_NS is None else {f"{name}.statistics": torch.from_numpy(one.statistics_NS)}
            stored |= {f"{name}.text": torch.from_numpy(one.text_ME).half(), f"{name}.of": torch.from_numpy(one.text_N)}
    return {PATH: tensors.writer(stored)} if stored else {}


def of_modality(embedded: EmbeddedPairs, name: str, seed: int = 0) -> HeldOut | None:
    """A sample of one modality's items with the first text that each matches; nothing where none has a text."""
    text = text_modality()
    if text not in embedded.vectors:
        return None
    text_of = embedded.vector_of_row[text][embedded.first_row[name]]
    rows = np.flatnonzero(text_of >= 0)
    if not len(rows):
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    texts, place = np.unique(text_of[rows], return_inverse=True)
    item_NE, text_ME = embedded.vectors[name].numpy()[rows], embedded.vectors[text].numpy()[texts]
    items = (embedded.prepared.items[name][item] for item in embedded.item[name][rows].tolist())
    return HeldOut(item_NE, text_ME, place.astype(np.int64), modality(name).statistics(list(items)))


def read_held_out(model: Path) -> Mapping[str, HeldOut]:
    """By modality, what a model's folder holds; nothing of models that were imported, or trained before it was kept."""
    path = model / PATH
    if not path.is_file():
        return {}
    stored = tensors.read(path)
    with understood(path):
        names = [key.removesuffix(".of") for key in stored if key.endswith(".of")]
        return {
            name: HeldOut(
                stored[f"{name}.item"].float().numpy(),
                stored[f"{name}.text"].float().numpy(),
                stored[f"{name}.of"].numpy(),
                stored[f"{name}.statistics"].numpy() if f"{name}.statistics" in stored else None,
            )
            for name in names
        }
