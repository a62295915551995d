"""From prepared pairs to the batches that a run trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.batches import DecoderTargets, PooledBatcher, TrainingBatches
from ..data.pairs import Pairs
from ..data.prepared import PreparedPairs, different_items, identities, on_demand_rows
from ..data.sampler import BatchSampler, WindowSampler
from ..data.targets import RowsPerItem, TaskTargets
from ..modalities import FIELDS, Batcher, Processor, modality, text_modality
from ..modalities.text.tokenizer import Tokenizer
from ..models.generation.decoder import MAX_LENGTH
from ..models.space import Space, learns
from ..runtime import device
from ..types import UserError
from .settings import RunConfig, texts_of

CPU_MICRO_BATCH = 128
"""Items at a time on a CPU: enough to keep it busy, few enough that ragged items, by length, need little padding."""


def can_train(pairs: Pairs) -> Pairs:
    """Refuse pairs from which nothing can be learned: they pair two modalities, or have questions with answers."""
    if not set(FIELDS) <= pairs.items.keys():
        need(pairs, *([] if len(pairs.modalities) > 1 else [text_modality()]))
    return pairs


def need(pairs: Pairs, *modalities: str) -> None:
    """Refuse pairs that lack a modality, with a sentence."""
    for name in modalities:
        if name not in pairs.items:
            what = f"{modality(name).noun}s" if modality(name).is_text else f"a column of {modality(name).plural}"
            raise UserError(f"{pairs.name} has no {name}; training and evaluation need pairs, so give it {what}")


def new_processors(pairs: Pairs, config: RunConfig) -> dict[str, Processor]:
    """A processor for each modality of the data: image size, a tokenizer learned from these texts, and so on."""
    texts = texts_of(pairs)
    return {
        name: modality(name).build_processor(config.data.of(name), texts)
        for name in config.encoders
        if name in pairs.items
    }


def new_tokenizer(pairs: Pairs, config: RunConfig) -> Tokenizer:
    """A tokenizer learned from these texts, for a decoder whose space has none."""
    name = text_modality()
    made: Tokenizer = modality(name).build_processor(config.data.of(name), texts_of(pairs))  # type: ignore[assignment]
    return made


def training_batches(
    prepared: PreparedPairs,
    space: Space,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    window: WindowSampler | None = None,
    record: Path | None = None,
    pooled: Mapping[str, Batcher] | None = None,
) -> TrainingBatches:
    """The batches of a fitted configuration; those of a ``window`` where the pairs are one of a stream.

    Rows of no use that are found on the way are remembered in ``record``. Items of frozen encoders are encoded here,
    unless they are ``pooled`` already.
    """
    training, pairs = config.training, prepared.pairs
    sampler = window or BatchSampler(len(pairs), training.batch_size or len(pairs), training.seed)
    on_cpu = device().type == "cpu"
    size = training.micro_batch_size or (CPU_MICRO_BATCH if on_cpu else sampler.batch_size)
    batchers: dict[str, Batcher] = {
        name: modality(name).batcher(
            prepared.items[name],
            prepared.item_of_row[name],
            space.processors[name],
            config.data.of(name),
            training.seed,
            training.steps or 0,
        )
        for name in space.modalities
        if name in prepared.items
    }
    if window is not None:
        for name, batcher in batchers.items():
            batcher.identity_N = identities(prepared, name)
    batchers |= pooled_batchers(space, prepared, batchers, config) if pooled is None else pooled
    targets = _decoder_targets(prepared, batchers, config, tokenizer)
    most = config.data.max_bad_fraction if window is None else 1.0  # the windows of a stream are judged together
    on_demand = on_demand_rows(prepared, training.seed, most, record)
    return TrainingBatches(batchers, pairs.matches, sampler, size, targets, on_demand)


def pooled_batchers(
    space: Space, prepared: PreparedPairs, batchers: Mapping[str, Batcher], config: RunConfig
) -> dict[str, Batcher]:
    """The modalities with a frozen encoder, every item encoded once; not what a decoder attends to.

    What is encoded once is not augmented.
    """
    made: dict[str, Batcher] = {}
    for name, batcher in batchers.items():
        if (
            learns(space.encoders[name])
            or len(batchers) < 2
            or (config.decoder_tasks and name == config.decoder.modality)
        ):
            continue
        items = prepared.items[name]
        pooled = list(space.pooled_prepared(name, (items[place] for place in range(len(items)))))
        made[name] = PooledBatcher(torch.from_numpy(np.concatenate(pooled)), batcher.item_of_row)
    return made


def _decoder_targets(
    prepared: PreparedPairs, batchers: Mapping[str, Batcher], config: RunConfig, tokenizer: Tokenizer
) -> DecoderTargets | None:
    """What a decoder learns to write, and when image-text matching begins."""
    tasks, described = config.decoder_tasks, config.decoder.modality
    if not tasks or described is None:
        return None
    texts = TokenisedColumns(prepared.pairs, tokenizer)
    rows_per_item = {"caption": config.decoder.captions_per_item, "vqa": config.decoder.questions_per_item}
    targets = {
        name: texts.targets(name, RowsPerItem(prepared.item_of_row[described], count))
        for name, count in rows_per_item.items()
        if name in tasks
    }
    steps = config.training.steps or 0
    compares = "itm" in tasks and text_modality() in batchers
    return DecoderTargets(described, targets, round((1 - config.decoder.itm_fraction) * steps) if compares else None)


class TokenisedColumns:
    """The different texts of some columns as token ids, each column tokenised once."""

    def __init__(self, pairs: Pairs, tokenizer: Tokenizer) -> None:
        self.pairs, self.tokenizer = pairs, tokenizer
        self._encoded: dict[str, tuple[Any, np.ndarray]] = {}

    def __getitem__(self, column: str) -> tuple[Any, np.ndarray]:
        """The texts of a column, and the text of every row."""
        if column not in self._encoded:
            texts, text_of_row = different_items(self.pairs, column)
            self._encoded[column] = self.tokenizer.encode_all(texts), text_of_row
        return self._encoded[column]

    def targets(self, task: str, beside: RowsPerItem) -> TaskTargets:
        """Captions after an empty prompt, answers after their questions."""
        if task == "caption":
            empty = [self.tokenizer.prepare("")], np.zeros(len(self.pairs), np.int64)
            return TaskTargets(*empty, *self[text_modality()], MAX_LENGTH, beside)
        question, answer = FIELDS
        return TaskTargets(*self[question], *self[answer], MAX_LENGTH, beside)
