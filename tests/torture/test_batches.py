"""Rows 6, 15, 18 and 33 of the suite: who sees what, on any number of workers and ranks, after any restart."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import rank_tasks
from conftest import Cospace, write_shapes
from cospace.data import sampler
from cospace.data.batches import Batch, Share, TrainingBatches
from cospace.data.sampler import BatchSampler
from cospace.matches import BatchMatches, Matches
from cospace.objectives import softmax
from torture.figures import tried

ROWS, BATCH, EPOCHS = 48, 16, 3
STEPS = ROWS * EPOCHS // BATCH

LAYOUTS = [((1, 0), (1, 2)), ((1, 0), (2, 0)), ((2, 0), (1, 0)), ((2, 1), (3, 0)), ((4, 0), (2, 0))]
"""Ranks and workers before a restart, and after it."""


def batches(micro: int = 4) -> TrainingBatches:
    return rank_tasks.batches(rank_tasks.towers("plain"), micro)


def by_ranks(ranks: int, workers: int, start: int, stop: int) -> list[list[Batch]]:
    """Each step as its ranks see it; the same micro-batches whatever the number of ranks."""
    streams = [batches().shared(Share(rank, ranks, 4)).stream(start, stop, workers) for rank in range(ranks)]
    return [list(step) for step in zip(*streams, strict=True)]


def seen(steps: list[list[Batch]]) -> list[tuple[int, int, str]]:
    """Step, row and a hash of what the encoder is given of each row's image: its crop, shift and mirror."""
    found = []
    for parts in steps:
        first = parts[0]
        inputs = [
            [batch.parts["image"].inputs[place] for batch in parts] for place in range(len(first.parts["image"].inputs))
        ]
        whole = [next(one for one in given if one is not None) for given in inputs]
        pixels = torch.cat([one.images_B3SS for one in whole])[first.parts["image"].item_B]
        for row, image in zip(first.row_B.tolist(), pixels, strict=True):
            found.append((first.step, row, hashlib.blake2b(image.numpy().tobytes(), digest_size=8).hexdigest()))
    return found


def missing_and_duplicated(found: list[tuple[int, int, str]]) -> tuple[int, int]:
    """Rows that an epoch lacks, and that it has twice."""
    missing = duplicated = 0
    for epoch in range(EPOCHS):
        rows = [row for step, row, _ in found if step * BATCH // ROWS == epoch]
        counts = Counter(rows)
        missing += len(set(range(ROWS)) - set(rows))
        duplicated += sum(count - 1 for count in counts.values())
    return missing, duplicated


def restarted(before: tuple[int, int], after: tuple[int, int], at: int) -> list[tuple[int, int, str]]:
    return seen(by_ranks(*before, 0, at) + by_ranks(*after, at, STEPS))


@pytest.mark.parametrize(("before", "after"), LAYOUTS)
def test_row_06_and_18_every_row_once_an_epoch_with_the_same_draws(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    straight = seen(by_ranks(1, 0, 0, STEPS))
    found = restarted(before, after, at=4)
    missing, duplicated = missing_and_duplicated(found)
    tried(6, f"{before[0]} to {after[0]} ranks, {before[1]} to {after[1]} workers, {EPOCHS} epochs", len(found),
          lost=missing, duplicated=duplicated)  # fmt: skip
    altered = sum(one != two for one, two in zip(found, straight, strict=True))
    tried(18, "draws of every row, restarted", len(found), altered=altered)


def repeats(found: list[tuple[int, int, str]]) -> int:
    """Rows that look the same in two epochs."""
    looks = [Counter(look for _, row, look in found if row == one) for one in range(ROWS)]
    return sum(count - 1 for counts in looks for count in counts.values())


def test_row_18_no_epoch_repeats_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift of a few pixels has few values, so some repeat by chance; all of them do in a broken build."""
    found = seen(by_ranks(1, 0, 0, STEPS))
    n = ROWS * (EPOCHS - 1)
    assert repeats(found) < n // 3
    tried(18, "rows that look alike in two epochs, beyond chance", n, altered=0)
    step = BatchSampler.step
    monkeypatch.setattr(BatchSampler, "step", lambda self, at: (step(self, at)[0], np.zeros(BATCH, np.int64)))
    assert repeats(seen(by_ranks(1, 0, 0, STEPS))) == n, "the same augmentation in all epochs is noticed"


def _drops_a_row(self: BatchSampler, step: int) -> tuple[np.ndarray, np.ndarray]:
    rows, epochs = REAL_STEP(self, step)
    return np.where(rows == 7, 8, rows), epochs


def _begins_anew(self: BatchSampler, step: int) -> tuple[np.ndarray, np.ndarray]:
    return REAL_STEP(self, step - 4 if step >= 4 else step)


def _by_process(self: BatchSampler, step: int) -> tuple[np.ndarray, np.ndarray]:
    key = [self.seed, id(self) % 2**32]
    return np.random.default_rng(key).permutation(self.rows)[: self.batch_size], np.zeros(self.batch_size, np.int64)


REAL_STEP = sampler.BatchSampler.step
DEFECTS: dict[str, Callable[[BatchSampler, int], tuple[np.ndarray, np.ndarray]]] = {
    "drops a row": _drops_a_row,
    "begins the order anew after a restart": _begins_anew,
    "draws an order for each process": _by_process,
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_row_06_notices_a_build_that(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchSampler, "step", DEFECTS[defect])
    assert any(missing_and_duplicated(restarted((1, 0), (1, 0), at=4)))


def test_row_06_a_changed_batch_size_is_refused_by_name(
    shapes: Path, tmp_path: Path, cospace: Cospace, tiny: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    command = ["train", shapes, "--out", out, "--no-report", *tiny, "training.steps=4", "training.checkpoint_seconds=0"]
    from cospace.training.loop import Trainer

    step = Trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Trainer,
            "step",
            lambda self, batch, steps: (
                (_ for _ in ()).throw(KeyboardInterrupt) if batch.step == 2 else step(self, batch, steps)
            ),
        )
        assert cospace(*command).code == 130
    assert "config.training.batch_size" in cospace(*command, "training.batch_size=8").refusal()
    tried(6, "another batch size is refused", 1)


# ------------------------------------------------------------------------------------------------ row 15


def perfect(copies: int, pairs: int = 64) -> tuple[dict[str, torch.Tensor], Matches]:
    """Features of a perfect model, every caption ``copies`` times in the batch."""
    number = np.arange(pairs) // copies
    feature_BE = torch.eye(pairs)[torch.from_numpy(number)]
    return {"image": feature_BE, "text": feature_BE}, Matches.of({"image": number, "text": number})


def loss_at_perfection(copies: int, known: bool = True) -> float:
    embeddings, matches = perfect(copies)
    rows = np.arange(64)
    if not known:  # the naive loss: every other row is wrong
        matches = Matches.of({"image": rows, "text": rows})
    objective = softmax.Config(label_smoothing=0.0).build([("image", "text")])
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.fill_(float(np.log(100.0)))
        batch: BatchMatches = matches.batch(rows)
        return float(objective(embeddings, batch))


@pytest.mark.parametrize("copies", [2, 8, 64])
def test_row_15_equal_captions_are_no_false_negatives(copies: int) -> None:
    tried(15, f"every caption {copies} times in a batch", 64, altered=int(loss_at_perfection(copies) > 1e-3))
    assert loss_at_perfection(copies, known=False) == pytest.approx(np.log(copies), rel=0.01), (
        "the naive loss is noticed"
    )


# ------------------------------------------------------------------------------------------------ row 33


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("ranks", "rows", "batch"), [(2, 3, 2), (4, 5, 2), (3, 7, 16), (2, 2, 2), (4, 64, 3), (8, 9, 4)]
)
def test_row_33_fewer_rows_than_ranks_is_no_hang(ranks: int, rows: int, batch: int) -> None:
    """Every rank gets a batch at every step, with a share of the work or a spare."""
    order = BatchSampler(rows, batch, seed=1)
    steps, shares = 2 * -(-rows // order.batch_size), [Share(rank, ranks, ranks) for rank in range(ranks)]
    seen_rows = np.concatenate([order.step(step)[0] for step in range(steps)])
    assert set(seen_rows.tolist()) == set(range(rows))
    for count in range(1, 2 * ranks + 1):
        owned = np.array([share.own(count) for share in shares]).sum(0)
        assert (owned == 1).all(), "every micro-batch has one rank"
    tried(33, f"{rows} rows, batches of {batch}, {ranks} ranks", steps)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_row_33_too_small_a_set_is_a_sentence(rows: int, tmp_path: Path, cospace: Cospace) -> None:
    table = write_shapes(tmp_path, 1)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[: rows + 1]) + "\n")
    assert "Traceback" not in cospace("train", table, "--out", tmp_path / "run", "training.workers=4").refusal()
    tried(33, "a set smaller than what can be held out", 1)
