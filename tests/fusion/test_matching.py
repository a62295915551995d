"""True texts and false ones: whose they are, which are drawn, and that padding changes no judgement."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cospace.batches import Batch, Chunks
from cospace.fusion.decoder import Config
from cospace.fusion.matching import Claims, Deceptions
from cospace.types import Features, TextSpec


def batch_of(pictures: list[int], groups: list[int], step: int = 0) -> Batch:
    """Rows that show these pictures; the caption of row 7 is the token 107."""
    captions = [torch.tensor([1, 100 + row, 2]) for row in range(len(pictures))]
    chunks = {"image": Chunks([], torch.tensor(pictures)), "text": Chunks([], torch.arange(len(pictures)))}
    return Batch(step, chunks, torch.tensor(groups), np.arange(len(pictures)), captions=captions)


def random_embeddings(rows: int, seed: int = 0) -> dict[str, Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {name: torch.randn(rows, 4, generator=dice) for name in ("image", "text")}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=24),
    st.integers(1, 5),
    st.integers(0, 3),
)
@settings(max_examples=60)
def test_every_picture_meets_its_own_text_and_a_strangers(rows: list[tuple[int, int]], micro: int, step: int) -> None:
    shown = sorted({picture for picture, _ in rows})
    places = [shown.index(picture) for picture, _ in rows]
    groups = [group for _, group in rows]
    sizes = [len(range(len(shown))[start : start + micro]) for start in range(0, len(shown), micro)]
    deceptions = Deceptions.of(batch_of(places, groups, step), random_embeddings(len(rows)), sizes)
    assert deceptions is not None
    seen = []
    for chunk in range(len(sizes)):
        claims = deceptions.about(chunk)
        again = deceptions.about(chunk)
        if claims is None or again is None:
            assert len(set(groups)) == 1
            continue
        assert torch.equal(claims.ids_CT, again.ids_CT)
        assert claims.true_C.sum() * 2 == len(claims.true_C)
        first = {}
        for item, row, true in zip(
            claims.item_C.tolist(), (claims.ids_CT[:, 1] - 100).tolist(), claims.true_C, strict=True
        ):
            place = item + chunk * micro
            if true:
                assert places[row] == place
                first[place] = row
            else:
                assert groups[row] != groups[first[place]]
        seen += list(first)
    assert len(seen) == len(set(seen))
    if len(set(groups)) > 1:
        assert len(seen) == len(shown) == deceptions.total // 2


def test_likely_texts_are_drawn() -> None:
    text_BE = torch.eye(4).repeat(5, 1)[:20]
    image_BE = text_BE.clone()
    groups = list(range(20))
    drawn = []
    for step in range(20):
        claims = Deceptions(batch_of(groups, groups, step), {"image": image_BE, "text": text_BE}, [20]).about(0)
        assert claims is not None
        drawn.append((claims.ids_CT[20:, 1] - 100).tolist())
    alike = np.mean([[row % 4 == place % 4 for place, row in enumerate(rows)] for rows in drawn])
    assert alike > 0.99  # e to the power of 20 times likelier than the others
    assert len({tuple(rows) for rows in drawn}) > 10  # among the four of that kind any


def test_without_captions_or_texts_there_is_nothing_to_judge() -> None:
    batch = batch_of([0, 1], [0, 1])
    assert Deceptions.of(batch, {"image": torch.randn(2, 4)}, [2]) is None
    assert Deceptions.of(Batch(0, batch.chunks, batch.groups_B, batch.row_B), random_embeddings(2), [2]) is None


def test_padding_changes_no_judgement() -> None:
    torch.manual_seed(0)
    decoder = Config(width=16, depth=2, heads=2).build(TextSpec(30, 16), 8).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    seen = Features(torch.zeros(2, 8), torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool))
    texts = [torch.tensor([1, *range(3, 3 + length), 2]) for length in (1, 6, 3)]
    together = decoder.match(Claims.of(texts, [0, 1, 1]), seen)
    alone = [decoder.match(Claims.of([text], [item]), seen)[0] for text, item in zip(texts, (0, 1, 1), strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)
    assert not torch.allclose(together[1], decoder.match(Claims.of(texts[1:2], [0]), seen)[0], atol=1e-3)
