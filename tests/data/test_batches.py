"""Batches: every pair once an epoch, the same whatever the workers, nothing encoded twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.data.batches import Batch, TrainingBatches
from cospace.data.keys import items_of
from cospace.data.sampler import BatchSampler
from cospace.data.targets import FILL, RowsPerItem, TaskTargets, filling
from cospace.matches import Matches
from cospace.modalities._draws import draws
from cospace.modalities.image.augmentation import Augment
from cospace.modalities.image.batching import ImageBatcher
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.batching import TextBatcher
from cospace.modalities.text.tokenizer import STRIDE, Tokenizer

WORDS = ["bus", "a red bus", "a long caption about two red buses", "dog"]
TOKENIZER = Tokenizer.train(WORDS)


def make(
    rows: int = 40, batch: int = 12, augment: Augment | None = None, micro: int = 4, dropout: float = 0.0
) -> TrainingBatches:
    dice = np.random.default_rng(0)
    images = torch.from_numpy(dice.integers(0, 256, (rows // 2, 3, 16, 16), dtype=np.uint8))
    tokens = [torch.tensor(ids) for ids in TOKENIZER.encode(WORDS)]
    image_of_row, text_of_row = np.arange(rows) % (rows // 2), np.arange(rows) % len(WORDS)
    batchers = {
        "image": ImageBatcher(images, image_of_row, ImageProcessor(size=16), augment or Augment(), seed=3),
        "text": TextBatcher(tokens, text_of_row, TOKENIZER, dropout, seed=3),
    }
    matches = Matches.of({name: np.arange(rows) % 7 for name in batchers})
    return TrainingBatches(batchers, matches, BatchSampler(rows, batch, seed=3), micro)


@given(rows=st.integers(2, 200), batch=st.integers(1, 64), seed=st.integers(0, 9), epochs=st.integers(1, 3))
@settings(max_examples=60)
def test_every_row_is_seen_exactly_once_an_epoch(rows: int, batch: int, seed: int, epochs: int) -> None:
    sampler = BatchSampler(rows, batch, seed)
    steps = -(-epochs * rows // sampler.batch_size)
    seen = np.concatenate([sampler.step(step)[0] for step in range(steps)])[: epochs * rows]
    for epoch in np.split(seen, epochs):
        assert sorted(epoch) == list(range(rows))


def test_epochs_are_shuffled_differently() -> None:
    sampler = BatchSampler(50, 50, 0)
    assert sampler.step(0)[0].tolist() != sampler.step(1)[0].tolist()


def pictures(batch: Batch) -> torch.Tensor:
    """Row by row what the image encoder sees."""
    part = batch.parts["image"]
    return torch.cat([inputs.to(torch.device("cpu")) for inputs in part.inputs])[part.item_B]


def rebuilt(batches: TrainingBatches, step: int) -> tuple[torch.Tensor, list[list[int]]]:
    """Row by row what the encoders see."""
    batch = batches[step]
    image = pictures(batch)
    texts = [
        ids[mask].tolist() for c in batch.parts["text"].inputs for ids, mask in zip(c.ids_BT, c.mask_BT, strict=True)
    ]
    return image, [texts[item] for item in batch.parts["text"].item_B]


def test_rows_find_their_own_items() -> None:
    batches = make(augment=Augment(translate=0))
    rows = batches.sampler.step(1)[0]
    image, texts = rebuilt(batches, 1)
    batcher = batches.batchers["image"]
    assert isinstance(batcher, ImageBatcher)
    expected = batcher.processor.normalise(batcher.images_N3SS[torch.from_numpy(batcher.item_of_row[rows])])
    assert torch.equal(image, expected)
    assert texts == [TOKENIZER.encode([WORDS[row % len(WORDS)]])[0] for row in rows]


def test_an_item_is_encoded_once_however_many_rows_share_it() -> None:
    batch = make()[0]
    assert sum(len(inputs.ids_BT) for inputs in batch.parts["text"].inputs) == len(
        {row % len(WORDS) for row in batch.row_B}
    )


def test_a_large_batch_is_filled_up_with_items_that_no_row_asks_for() -> None:
    batches = make(rows=200, batch=90, augment=Augment(translate=0), micro=64)
    batcher, rows = batches.batchers["image"], batches.sampler.step(0)[0]
    assert isinstance(batcher, ImageBatcher)
    different = len(set(batcher.item_of_row[rows]))
    assert different % FILL
    sizes = [len(inputs.images_B3SS) for inputs in batches[0].parts["image"].inputs]
    assert sizes == [64, different + filling(different) - 64]
    image, texts = rebuilt(batches, 0)
    expected = batcher.processor.normalise(batcher.images_N3SS[torch.from_numpy(batcher.item_of_row[rows])])
    assert torch.equal(image, expected)
    assert texts == [TOKENIZER.encode([WORDS[row % len(WORDS)]])[0] for row in rows]


@given(count=st.integers(1, 500))
def test_filling_costs_less_than_a_quarter(count: int) -> None:
    assert 0 <= filling(count) < max(1, count / 4)
    assert count < 4 * FILL or (count + filling(count)) % FILL == 0


def test_micro_batches_hold_texts_of_like_length() -> None:
    batch = make(micro=2)[0]
    lengths = [inputs.mask_BT.sum(1).tolist() for inputs in batch.parts["text"].inputs]
    assert [n for part in lengths for n in part] == sorted(n for part in lengths for n in part)
    for inputs, n in zip(batch.parts["text"].inputs, lengths, strict=True):
        assert max(n) <= inputs.ids_BT.shape[1] < max(n) + STRIDE


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_restarts_change_nothing(workers: int) -> None:
    batches = make(augment=Augment(translate=0.2), dropout=0.3)
    straight = [rebuilt(batches, step) for step in range(6)]
    resumed = list(make(augment=Augment(translate=0.2), dropout=0.3).stream(2, 6, workers))
    assert [b.step for b in resumed] == [2, 3, 4, 5]
    for batch in resumed:
        image = pictures(batch)
        assert torch.equal(image, straight[batch.step][0])
        group_B = torch.from_numpy(batch.row_B % 7)
        assert torch.equal(batch.matches.relation("image", "text").dense(), group_B[:, None] == group_B)


def test_rows_without_an_item_bring_none() -> None:
    batches = make(batch=40)
    batches.batchers["text"].item_of_row = np.where(np.arange(40) % 3 == 0, -1, np.arange(40) % len(WORDS))
    codes = {"image": np.arange(40), "text": batches.batchers["text"].item_of_row}
    batches.matches = Matches.of(codes)
    batch = batches[0]
    has = batch.row_B % 3 != 0
    assert batch.matches.rows["image"] is None
    assert batch.matches.rows["text"].tolist() == np.flatnonzero(has).tolist()
    assert len(batch.parts["image"].item_B) == 40
    assert len(batch.parts["text"].item_B) == has.sum() == batch.matches.relation("text", "image").shape[0]


def test_draws_are_uniform_and_depend_on_seed_epoch_and_item() -> None:
    items = np.arange(4000)
    values = draws(1, np.zeros(4000, int), items, 4)
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01  # standard error 0.0023
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.06
    assert not np.allclose(values, draws(2, np.zeros(4000, int), items, 4))
    assert not np.allclose(values, draws(1, np.ones(4000, int), items, 4))
    assert np.array_equal(values[7], draws(1, np.zeros(1, int), np.array([7]), 4)[0])


def test_shifting_moves_whole_pixels_and_continues_edges() -> None:
    picture = torch.arange(64, dtype=torch.float32).view(1, 1, 8, 8)
    moved = Augment(translate=0.25).apply(picture, np.array([[0.99, 0.5, 0, 0]]))
    reference = picture[:, :, [2, 3, 4, 5, 6, 7, 7, 7], :]
    assert torch.equal(moved, reference)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(("side", "translate"), [(8, 0.25), (9, 0.1), (6, 0.0)])
def test_windows_are_what_indices_would_gather(side: int, translate: float, hflip: bool) -> None:
    pictures = torch.randint(0, 256, (40, 3, side, side), dtype=torch.uint8)
    numbers = draws(3, np.zeros(40, int), np.arange(40), 4)
    reach = round(translate * side)
    place = np.arange(side) + (np.floor(numbers[:, :2, None] * (2 * reach + 1)).astype(int) - reach)
    place = np.clip(place, 0, side - 1)
    place[:, 1] = np.where((numbers[:, 3:4] < 0.5) & hflip, side - 1 - place[:, 1], place[:, 1])
    expected = torch.stack([one[:, rows][:, :, columns] for one, (rows, columns) in zip(pictures, place, strict=True)])
    assert torch.equal(Augment(translate=translate, hflip=hflip).apply(pictures, numbers), expected)


def test_flip_without_scaling_equals_a_mirror() -> None:
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(
        Augment(translate=0, hflip=True).apply(picture, np.array([[0.5, 0.5, 0, 0.1]])), picture.flip(-1)
    )
    assert torch.equal(Augment(translate=0, hflip=True).apply(picture, np.array([[0.5, 0.5, 0, 0.9]])), picture)


def test_scaling_without_change_is_the_identity() -> None:
    picture = torch.rand(2, 3, 8, 8)
    still = Augment(translate=0.0, scale=0.3).apply(picture, np.full((2, 4), 0.5))
    assert torch.allclose(still, picture, atol=1e-5)


def test_items_of_numbers_contents_in_order_of_appearance() -> None:
    first, item = items_of(np.array([5, 2, 5, 9, 2]))
    assert first.tolist() == [0, 1, 3]
    assert item.tolist() == [0, 1, 0, 2, 1]


def test_pictures_can_be_scaled_on_their_way_to_the_encoder() -> None:
    """The batcher keeps pictures in uint8, which resampling does not take."""
    image, _ = rebuilt(make(augment=Augment(translate=0.1, scale=0.2)), 0)
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("scale", [0.0, 0.2])
def test_pictures_reach_the_encoder_the_same_every_time(scale: float) -> None:
    """They are normalised when asked for, and a step may ask twice."""
    batch = make(augment=Augment(translate=0.1, scale=scale))[0]
    first = pictures(batch)
    assert torch.equal(pictures(batch), first)
    assert first.dtype == torch.float32
    assert sum(len(inputs.images_B3SS) for inputs in batch.parts["image"].inputs) == len(set(batch.row_B % 20))


def test_workers_may_hand_over_more_tensors_than_a_shell_allows_files() -> None:
    """Shells commonly allow 1,024 open files, and every tensor of a batch from a worker takes one."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        batches = make(micro=1)
        assert [batch.step for batch in batches.stream(0, 3, 2)] == [0, 1, 2]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_picture_is_mirrored_every_other_epoch() -> None:
    batcher = make(augment=Augment(translate=0, hflip=True)).batchers["image"]
    items = np.arange(20)

    def shown(epoch: int) -> torch.Tensor:
        inputs, _ = batcher.micro_batches(0, items, np.full(20, epoch), 20)
        return torch.as_tensor(inputs[0].images_B3SS)

    first, second = shown(0), shown(1)
    assert torch.equal(first.flip(3), second)
    assert torch.equal(first, shown(2))
    assert isinstance(batcher, ImageBatcher)
    mirrored = (first != batcher.images_N3SS).flatten(1).any(1)
    assert 4 <= mirrored.sum() <= 16, "about half of them start mirrored"


def test_the_first_steps_see_pictures_at_three_quarters_of_their_side() -> None:
    batcher = make().batchers["image"]
    assert isinstance(batcher, ImageBatcher)
    batcher.low_res_steps, batcher.augment = 2, Augment(translate=0)
    cpu, items = torch.device("cpu"), np.arange(20)
    coarse, fine = (batcher.micro_batches(step, items, np.zeros(20, int), 20)[0][0].to(cpu) for step in (1, 2))
    assert coarse.shape == (20, 3, 12, 12)
    assert fine.shape == (20, 3, 16, 16)
    # the same pictures: what is left of noise after averaging is the mean of every region
    assert torch.allclose(coarse.mean((2, 3)), fine.mean((2, 3)), atol=0.05)


# ------------------------------------------------------------------------------------------------ a decoder's targets


@given(items=st.lists(st.integers(0, 6), min_size=1, max_size=30), count=st.integers(1, 5))
def test_rows_per_item_are_rows_of_the_same_item(items: list[int], count: int) -> None:
    item_of_row = np.array(items)
    rows = np.arange(len(items))
    of_BK = RowsPerItem(item_of_row, count).of(rows).reshape(len(rows), count)
    assert (of_BK[:, 0] == rows).all()
    assert (item_of_row[of_BK] == item_of_row[:, None]).all()
    for row, together in zip(rows, of_BK, strict=True):
        assert len(set(together.tolist())) == min(count, items.count(items[row]))
    for item in set(items):
        often = np.bincount(of_BK[item_of_row == item].ravel(), minlength=len(items))[item_of_row == item]
        assert (often == count).all(), "every question is learned equally often"


def test_targets_are_about_the_micro_batch_that_shows_their_image() -> None:
    words = [TOKENIZER.prepare(text) for text in ("bus", "a red bus", "two dogs")]
    item_of_row = np.array([0, 0, 1, 2, 2])
    beside = RowsPerItem(item_of_row, 2)
    task = TaskTargets(words, np.array([0, 1, 2, 0, 1]), words, np.array([2, 1, 0, 2, 1]), 64, beside)
    rows, places = np.array([3, 0, 2]), np.array([2, 0, 1])  # the pictures' order in the micro-batches
    first, second = task.about(rows, places, [2, 2])
    assert first is not None and second is not None
    assert first.item_B.tolist() == [0, 0, 1]  # both questions about the first picture, the only one about the second
    assert second.item_B.tolist() == [0, 0]
    asked = [ids[: len(words[prompt])].tolist() for ids, prompt in zip(first.ids_BT, (0, 1, 2), strict=True)]
    assert asked == [words[prompt].tolist() for prompt in (0, 1, 2)]
    assert task.about(np.array([2]), np.array([3]), [2, 2])[0] is None
    first, second = task.about(rows, places, [1, 3])  # sounds are cut by length, into micro-batches of any size
    assert first is not None and second is not None
    assert (first.item_B.tolist(), second.item_B.tolist()) == ([0, 0], [0, 1, 1])
