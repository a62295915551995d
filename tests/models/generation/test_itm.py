"""Image-text matching: whose the true and false texts are, which are drawn, and that padding changes no logit."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cospace.data.batches import Batch, MicroBatches
from cospace.matches import BatchMatches
from cospace.models.generation.decoder import Config
from cospace.models.generation.itm import ITMBatch
from cospace.training.hard_negatives import HardNegatives
from cospace.types import Features, TextSpec

PAIR = ("image", "text")


def batch_of(images: list[int], groups: list[int], step: int = 0) -> Batch:
    """Rows that show these images; the caption of row 7 is the token 107."""
    captions = [torch.tensor([1, 100 + row, 2]) for row in range(len(images))]
    parts = {"image": MicroBatches([], torch.tensor(images)), "text": MicroBatches([], torch.arange(len(images)))}
    return Batch(step, parts, BatchMatches.of_groups(np.array(groups)), np.arange(len(images)), captions=captions)


def random_embeddings(rows: int, seed: int = 0) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, 4, generator=dice) for name in ("image", "text")}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=24),
    st.integers(1, 5),
    st.integers(0, 3),
)
@settings(max_examples=60)
def test_every_image_gets_a_text_of_its_own_and_one_that_does_not_match(
    rows: list[tuple[int, int]], micro_batch_size: int, step: int
) -> None:
    shown = sorted({image for image, _ in rows})
    places = [shown.index(image) for image, _ in rows]
    groups = [group for _, group in rows]
    sizes = [
        len(range(len(shown))[start : start + micro_batch_size]) for start in range(0, len(shown), micro_batch_size)
    ]
    hard_negatives = HardNegatives.of(batch_of(places, groups, step), random_embeddings(len(rows)), PAIR, sizes)
    assert hard_negatives is not None
    seen = []
    for number in range(len(sizes)):
        candidates = hard_negatives.about(number)
        again = hard_negatives.about(number)
        if candidates is None or again is None:
            assert len(set(groups)) == 1
            continue
        assert torch.equal(candidates.ids_CT, again.ids_CT)
        assert candidates.true_C.sum() * 2 == len(candidates.true_C)
        first = {}
        for item, row, true in zip(
            candidates.item_C.tolist(), (candidates.ids_CT[:, 1] - 100).tolist(), candidates.true_C, strict=True
        ):
            place = item + number * micro_batch_size
            if true:
                assert places[row] == place
                first[place] = row
            else:
                assert groups[row] != groups[first[place]]
        seen += list(first)
    assert len(seen) == len(set(seen))
    if len(set(groups)) > 1:
        assert len(seen) == len(shown) == hard_negatives.total // 2


def test_likely_texts_are_drawn() -> None:
    text_BE = torch.eye(4).repeat(5, 1)[:20]
    embeddings = {"image": text_BE.clone(), "text": text_BE}
    groups = list(range(20))
    drawn = []
    for step in range(20):
        candidates = HardNegatives(batch_of(groups, groups, step), embeddings, PAIR, [20]).about(0)
        assert candidates is not None
        drawn.append((candidates.ids_CT[20:, 1] - 100).tolist())
    alike = np.mean([[row % 4 == place % 4 for place, row in enumerate(rows)] for rows in drawn])
    assert alike > 0.99  # e to the power of 20 times likelier than the others
    assert len({tuple(rows) for rows in drawn}) > 10  # among the four of that kind any


def test_without_captions_or_texts_there_is_nothing_to_match() -> None:
    batch = batch_of([0, 1], [0, 1])
    assert HardNegatives.of(batch, {"image": torch.randn(2, 4)}, PAIR, [2]) is None
    assert HardNegatives.of(Batch(0, batch.parts, batch.matches, batch.row_B), random_embeddings(2), PAIR, [2]) is None


def test_padding_changes_no_logit() -> None:
    torch.manual_seed(0)
    decoder = Config(width=16, depth=2, heads=2).build(TextSpec(30, 16), 8).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    seen = Features(torch.zeros(2, 8), torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool))
    texts = [torch.tensor([1, *range(3, 3 + length), 2]) for length in (1, 6, 3)]
    together = decoder.itm(ITMBatch.of(texts, [0, 1, 1]), seen)
    alone = [decoder.itm(ITMBatch.of([text], [item]), seen)[0] for text, item in zip(texts, (0, 1, 1), strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)
    assert not torch.allclose(together[1], decoder.itm(ITMBatch.of(texts[1:2], [0]), seen)[0], atol=1e-3)
