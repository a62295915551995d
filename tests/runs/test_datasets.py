"""From pairs to what a run trains on: what is refused, what is learned from the texts, when pairs are compared."""

from __future__ import annotations

import numpy as np
import pytest

from cospace.data.pairs import Pairs, build
from cospace.data.prepared import prepare_pairs
from cospace.data.sources import Rows
from cospace.models.space import Space
from cospace.runs.datasets import need, new_processors, training_batches
from cospace.runs.settings import resolve
from cospace.types import UserError


def image(number: int) -> np.ndarray:
    return np.full((2, 2, 3), (number % 256, number // 256 % 256, 7), np.uint8)


def made(images: list[int], captions: list[int]) -> Pairs:
    """Pairs by the numbers of their images and captions; equal numbers are equal content."""
    items = {"image": [image(n) for n in images], "text": [f"caption {n}" for n in captions]}
    return build("made", Rows([f"row{i}" for i in range(len(images))], items))


def test_pairs_without_captions_are_refused_by_name() -> None:
    pairs = build("photos", Rows(["a"], {"image": [image(1)]}))
    need(pairs, "image")
    with pytest.raises(UserError, match="photos has no text"):
        need(pairs, "image", "text")


def test_preparation_is_learned_from_the_training_captions() -> None:
    pairs = made(list(range(20)), list(range(20)))
    settings = ["data.image.size=16", "data.text.vocab_size=300", "data.text.max_length=9"]
    parts = new_processors(pairs, resolve("small", settings).fitted(pairs))
    assert parts["image"].spec.size == 16
    assert parts["text"].spec.length == 9
    assert parts["text"].spec.vocabulary <= 300


@pytest.mark.parametrize(("share", "first"), [(0.4, 6), (1, 0), (0, None)])
def test_pairs_are_compared_in_the_last_steps(share: float, first: int | None) -> None:
    pairs = made(list(range(20)), list(range(20)))
    steps = ["training.steps=10", "training.batch_size=4"]
    config = resolve("small", ["data.image.size=16", *steps, "tasks=caption", f"decoder.itm_fraction={share}"]).fitted(
        pairs
    )
    space = Space.build(config.encoder_parts(), new_processors(pairs, config), config.embed_dim)
    prepared = prepare_pairs(pairs, space.processors)
    batches = training_batches(prepared, space, config, space.processors["text"])
    compared = [step for step in range(10) if batches[step].captions]
    assert compared == ([] if first is None else list(range(first, 10)))
