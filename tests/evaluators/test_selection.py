"""The score that evaluations are compared by, and the loss on validation pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import write_shapes
from cospace.config import part
from cospace.data.pairs import open_pairs
from cospace.data.prepared import PreparedPairs
from cospace.data.sampler import BatchSampler
from cospace.evaluators.embedded import embed_pairs, prepare_for
from cospace.evaluators.generation import GenerationResults, Prediction
from cospace.evaluators.measures import measure
from cospace.evaluators.selection import score_by_group, validation_loss
from cospace.matches import BatchMatches
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, linear
from cospace.models.generation.generator import Answer
from cospace.models.space import Space


@pytest.fixture(scope="module")
def space() -> Space:
    torch.manual_seed(0)
    words = ["a red circle", "a blue square", "a green circle", "a black square number 1"]
    configs = {"image": linear.Config.tiny(), "text": bag.Config.tiny()}
    space = Space.build(configs, {"image": ImageProcessor(size=16), "text": Tokenizer.train(words)}, 16)
    space.precision = "float32"  # of what it is compared with
    return space


@pytest.fixture(scope="module")
def prepared(space: Space, tmp_path_factory: pytest.TempPathFactory) -> PreparedPairs:
    """24 pairs of shapes, a caption of which two pictures share."""
    table = write_shapes(tmp_path_factory.mktemp("val"), 3)
    text = table.read_text("utf-8").replace("number 1", "number 0")
    table.write_text(text, encoding="utf-8")
    return prepare_for(space, open_pairs(table))


def test_the_score_of_retrieval_is_the_mean_reciprocal_rank(space: Space, prepared: PreparedPairs) -> None:
    embedded = embed_pairs(space, prepared)
    metrics, score_G = measure(embedded), score_by_group(embedded, GenerationResults())
    both = (metrics["text_to_image/MRR"], metrics["image_to_text/MRR"])
    assert score_G.sum() == pytest.approx(np.mean(both))
    assert len(score_G) == len(np.unique(prepared.pairs.groups)) == 16


def test_captions_and_answers_count_beside_it(space: Space, prepared: PreparedPairs) -> None:
    embedded = embed_pairs(space, prepared)
    answer = Answer("a red circle", 0.5)
    captions = {row: Prediction(answer, "", row < 6, score=float(row < 6)) for row in range(12)}
    answers = {row: Prediction(answer, "", True, "what?", 1.0) for row in (3, 4)}
    retrieval = score_by_group(embedded, GenerationResults()).sum()
    both = score_by_group(embedded, GenerationResults({}, captions, answers))
    assert both.sum() == pytest.approx((retrieval + 0.5 + 1.0) / 3)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "vicreg", "mse"])
@pytest.mark.parametrize("batch_size", [8, 24, 100])
def test_the_validation_loss_is_the_objective_on_plain_batches(
    space: Space, prepared: PreparedPairs, name: str, batch_size: int
) -> None:
    objective = part("objectives", {"name": name, "loss_truncation": 0.5} if name == "softmax" else name).build()  # type: ignore[attr-defined]
    objective.train()
    space.eval()
    sampler, losses = BatchSampler(24, batch_size, seed=0), []
    for number in range(24 // sampler.batch_size):
        rows = sampler.step(number)[0]
        embeddings = {}
        for modality, processor in space.processors.items():
            items = [prepared.items[modality][item] for item in prepared.item_of_row[modality][rows]]
            with torch.no_grad():
                embeddings[modality] = space.encode(modality, processor.batch(items))
        matches: BatchMatches = prepared.pairs.matches.batch(rows)
        losses.append(objective.eval()(embeddings, matches).item())
    objective.train()
    found = validation_loss(objective, embed_pairs(space, prepared), batch_size)
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert objective.training


def test_neither_draws_random_numbers(space: Space, prepared: PreparedPairs) -> None:
    objective = part("objectives", "softmax").build()  # type: ignore[attr-defined]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    embedded = embed_pairs(space, prepared)
    score_by_group(embedded, GenerationResults())
    validation_loss(objective, embedded, 8)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_pairs_of_one_modality_have_neither(space: Space, tmp_path: Path) -> None:
    table = write_shapes(tmp_path, 1)
    prepared = prepare_for(space, open_pairs(table))
    alone = PreparedPairs(prepared.pairs, {"image": prepared.items["image"]}, {"image": prepared.item_of_row["image"]})
    embedded = embed_pairs(space, alone)
    assert validation_loss(torch.nn.Identity(), embedded, 8) == {}
    assert not len(score_by_group(embedded, GenerationResults()))
