"""The loop: what it refuses, what it keeps in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cospace.data.batches import TrainingBatches
from cospace.data.sampler import BatchSampler
from cospace.matches import BatchMatches, Matches
from cospace.modalities.image.augmentation import Augment
from cospace.modalities.image.batching import ImageBatcher
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.batching import TextBatcher
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, linear, transformer, vit
from cospace.models.precision import compute_copy
from cospace.models.space import Space
from cospace.objectives import softmax
from cospace.training.checkpoint import CheckpointFolder, Checkpoints
from cospace.training.loop import Learner, Observers, Trainer, TrainingConfig, affordable_evaluations, evaluation_steps
from cospace.training.optim import OptimConfig
from cospace.training.selection import Evaluation, Outcome
from cospace.types import UserError

WORDS = ["a bus", "two dogs", "a red car on the road", "night"]


def space(image: Any = None, text: Any = None) -> Space:
    torch.manual_seed(0)
    configs = {"image": image or linear.Config.tiny(), "text": text or bag.Config.tiny()}
    return Space.build(configs, {"image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)}, 8)


def batches(of: Space, micro_batch_size: int = 64) -> TrainingBatches:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, 16, 16), dtype=np.uint8))
    tokenizer = of.processors["text"]
    assert isinstance(tokenizer, Tokenizer)
    tokens = [torch.tensor(ids) for ids in tokenizer.encode(WORDS)]
    batchers = {
        "image": ImageBatcher(images, np.arange(16), ImageProcessor(size=16), Augment(), 0),
        "text": TextBatcher(tokens, np.arange(16) % 4, tokenizer, 0.0, 0),
    }
    matches = Matches.of({name: np.arange(16) % 4 for name in batchers})
    return TrainingBatches(batchers, matches, BatchSampler(16, 8, 0), micro_batch_size)


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"steps": 6, "optim": OptimConfig(warmup_steps=1), **changes})


def test_training_lowers_the_loss_and_logs_every_step(tmp_path: Path) -> None:
    made, rows = space(), []
    observers = Observers(row=rows.append)
    Trainer(Learner(made), softmax.Config().build(), config(steps=40), CheckpointFolder(tmp_path), observers).fit(
        batches(made)
    )
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert rows[0]["logit_scale"] != rows[-1]["logit_scale"]


def test_bfloat16_towers_follow_the_float32_masters(tmp_path: Path) -> None:
    made, rows = space(vit.Config.tiny(), transformer.Config.tiny()), []
    trainer = Trainer(
        Learner(made),
        softmax.Config().build(),
        config(steps=30, precision="bfloat16"),
        CheckpointFolder(tmp_path),
        Observers(row=rows.append),
    )
    trainer.fit(batches(made))
    assert all(p.dtype == torch.float32 for p in made.parameters())
    towers = {name: p.dtype for name, p in trainer.low_precision.space.encoders.named_parameters()}
    tables = {"text.embed.weight", "text.positions.weight"}
    assert towers == {name: torch.float32 if name in tables else torch.bfloat16 for name in towers}
    assert trainer.low_precision.space.projections is made.projections
    for master, low_precision in zip(made.parameters(), trainer.low_precision.space.parameters(), strict=True):
        assert torch.equal(master.to(low_precision.dtype), low_precision)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_a_compute_copy_in_bfloat16_embeds_nearly_the_same() -> None:
    made = space(vit.Config.tiny(), transformer.Config.tiny()).eval()
    images = torch.randn(4, 3, 16, 16)
    with torch.inference_mode():
        exact, fast = made.encode("image", images), compute_copy(made, torch.bfloat16).eval().encode("image", images)
    assert torch.nn.functional.cosine_similarity(exact, fast).min() > 0.999
    assert fast.dtype == torch.float32


class Broken(nn.Module):
    """Gives NaN at chosen steps."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.bad, self.calls = bad, 0
        self.inner = softmax.Config().build()

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        self.calls += 1
        loss: Tensor = self.inner(embeddings, matches)
        return loss * float("nan") if self.calls in self.bad else loss


def test_a_step_that_is_not_finite_changes_nothing_and_is_said(tmp_path: Path) -> None:
    made, sentences = space(), []
    trainer = Trainer(Learner(made), Broken({1}), config(), CheckpointFolder(tmp_path), Observers(say=sentences.append))
    before = {name: p.clone() for name, p in made.named_parameters()}
    trainer.step(batches(made)[0], 6)
    assert all(torch.equal(before[name], p) for name, p in made.named_parameters())
    assert all(not optimizer.state for optimizer in trainer.optimizers)
    assert "not finite" in sentences[0]
    trainer.step(batches(made)[1], 6)
    assert any(not torch.equal(before[name], p) for name, p in made.named_parameters())


def test_three_such_steps_in_a_row_stop_the_run(tmp_path: Path) -> None:
    made = space()
    trainer = Trainer(Learner(made), Broken({2, 3, 4}), config(), CheckpointFolder(tmp_path), Observers())
    with pytest.raises(UserError, match="3 steps in a row"):
        trainer.fit(batches(made))


class Scores:
    """Evaluations with scores given by step, and the weights at each."""

    def __init__(self, scores: Mapping[int, float], draws: bool = False) -> None:
        self.scores, self.draws = scores, draws
        self.step = 0
        self.weights: dict[int, dict[str, Tensor]] = {}

    def row(self, row: dict[str, Any]) -> None:
        self.step = row["step"] + 1

    def __call__(self, space: Space) -> Evaluation:
        if self.draws:
            torch.rand(7)
            np.random.rand(7)
        space.eval()
        step = max(self.step, 0)
        self.weights[step] = {name: value.clone() for name, value in space.state_dict().items()}
        return Evaluation({"text_to_image/R@1": self.scores[step]}, np.array([self.scores[step]]))


def fitted(tmp_path: Path, scores: Scores, start: bool = False, **settings: Any) -> tuple[Space, Outcome, list[Any]]:
    """A run of six steps that is evaluated after each; what it kept, and its rows or what it said."""
    made, said = space(), []
    scores.step = 0 if start else 1

    def row(row: dict[str, Any]) -> None:
        scores.row(row)
        said.append(row)

    observers = Observers(row=row, evaluate=scores, say=said.append)
    chosen = config(evaluations=5, **settings)
    trainer = Trainer(Learner(made), softmax.Config().build(), chosen, CheckpointFolder(tmp_path), observers)
    return made, trainer.fit(batches(made), evaluate_start=start), said


def test_the_best_evaluation_is_what_a_run_ends_with(tmp_path: Path) -> None:
    scores = Scores({1: 0.1, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.4, 6: 0.4})
    made, outcome, said = fitted(tmp_path, scores)
    assert outcome.plain() == {
        "steps": 6,
        "kept_step": 2,
        "best": {"step": 2, "score": 0.5, "text_to_image/R@1": 0.5},
        "last": {"step": 6, "score": 0.4, "text_to_image/R@1": 0.4},
        "least_difference": 0.0,
    }
    assert all(torch.equal(value, scores.weights[2][name]) for name, value in made.state_dict().items())
    assert [row["best/step"] for row in said] == [1, 2, 2, 2, 2, 2]
    assert [row["evaluations_without_improvement"] for row in said] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("settings", [{"keep": "last"}, {}])
def test_the_last_weights_are_kept_where_asked_for_or_best(tmp_path: Path, settings: dict[str, str]) -> None:
    best = 0.9 if settings else 0.2
    scores = Scores({1: 0.1, 2: best, 3: 0.2, 4: 0.3, 5: 0.4, 6: 0.5})
    made, outcome, _ = fitted(tmp_path, scores, **settings)
    assert outcome.plain()["kept_step"] == 6
    assert all(torch.equal(value, scores.weights[6][name]) for name, value in made.state_dict().items())


def test_a_start_that_only_gets_worse_is_kept(tmp_path: Path) -> None:
    scores = Scores({0: 0.9, 1: 0.5, 2: 0.4, 3: 0.3, 4: 0.3, 5: 0.3, 6: 0.3})
    made, outcome, said = fitted(tmp_path, scores, start=True)
    assert outcome.plain()["kept_step"] == 0
    assert said[0]["step"] == 0
    assert "loss" not in said[0]
    assert all(torch.equal(value, scores.weights[0][name]) for name, value in made.state_dict().items())


def test_patience_stops_a_run_and_it_says_so(tmp_path: Path) -> None:
    scores = Scores({1: 0.1, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.9, 6: 0.9})
    _, outcome, said = fitted(tmp_path, scores, patience=2)
    assert said[-1] == (
        "stopped early after step 4 of 6: 2 evaluations in a row without a better score (training.patience=2)"
    )
    assert outcome.plain()["kept_step"] == 2
    assert outcome.plain()["last"]["step"] == 4
    _, again, said = fitted(tmp_path, scores, patience=2)
    assert again.plain() == outcome.plain(), "started again it stays where it stopped"
    assert said[0] == "resuming after step 4"


def test_evaluations_change_no_step_of_training(tmp_path: Path) -> None:
    """Whatever they draw: every step seeds its own randomness."""
    losses = []
    for name, draws, patience in (("plain", False, None), ("drawing", True, 9)):
        scores = Scores(dict.fromkeys(range(7), 0.5), draws)
        _, _, said = fitted(tmp_path / name, scores, start=draws, patience=patience)
        losses.append([row["loss"] for row in said if "loss" in row])
    made, rows = space(), []
    Trainer(
        Learner(made),
        softmax.Config().build(),
        config(evaluations=0),
        CheckpointFolder(tmp_path / "none"),
        Observers(row=rows.append),
    ).fit(batches(made))
    assert losses[0] == losses[1] == [row["loss"] for row in rows]


def test_lost_best_weights_are_said_and_the_last_ones_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Checkpoints, step: int) -> None:
        raise UserError(f"step {step} is damaged")

    monkeypatch.setattr(Checkpoints, "load_best", lost)
    _, outcome, said = fitted(tmp_path, Scores({1: 0.9, 2: 0.5, 3: 0.2, 4: 0.3, 5: 0.4, 6: 0.4}))
    assert outcome.plain()["kept_step"] == 6
    assert said[-1] == "the weights of step 1 are lost and those of the last one kept: step 1 is damaged"


def test_a_run_is_evaluated_more_often_where_that_costs_little() -> None:
    assert affordable_evaluations(300, 84 * 256) == 10, "100 photographs with 500 captions"
    assert affordable_evaluations(1000, 196 * 256) == 4
    assert affordable_evaluations(1000, 0) == 4


def test_evaluations_are_spread_and_always_include_the_end() -> None:
    assert evaluation_steps(100, 4) == {20, 40, 60, 80, 100}
    assert evaluation_steps(1, 6) == {1}
    assert evaluation_steps(7, 0) == {7}
