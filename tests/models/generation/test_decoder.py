"""The decoder: causal, cached exactly, blind to padding; what is asked for and what is not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cospace.modalities.text.sequences import sequence_batch
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.generation.decoder import MAX_LENGTH, Config, Decoder, places
from cospace.models.generation.itm import ITMBatch
from cospace.types import Features, TextSpec

VOCABULARY = 30


def decoder(seed: int = 0, vocabulary: int = VOCABULARY) -> Decoder:
    """Nothing starts at zero, so every part matters."""
    torch.manual_seed(seed)
    made = Config(width=16, depth=2, heads=2).build(TextSpec(vocabulary, 16), 8).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made.eval()


def images(count: int = 3, seed: int = 1) -> Features:
    torch.manual_seed(seed)
    mask = torch.ones(count, 5, dtype=torch.bool)
    mask[1:, 3:] = False
    return Features(torch.zeros(count, 8).double(), torch.randn(count, 5, 8).double(), mask)


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
@settings(max_examples=20)
def test_reading_in_pieces_is_reading_at_once(cuts: list[int]) -> None:
    made, seen, item_B = decoder(), images(), torch.tensor([0, 1, 1, 2])
    ids_BT = torch.randint(3, VOCABULARY, (4, sum(cuts)), generator=torch.Generator().manual_seed(0))
    whole_BTD = made(ids_BT, seen, item_B)
    state, pieces = made.start(seen, item_B), []
    for piece in ids_BT.split(cuts, dim=1):
        out, state = made.advance(piece, state)
        pieces.append(out)
    assert torch.allclose(torch.cat(pieces, 1), whole_BTD, atol=1e-12)


def test_no_token_sees_a_later_one_nor_a_masked_cell() -> None:
    made, seen, item_B = decoder(), images(), torch.tensor([0, 1])
    ids_BT = torch.randint(3, VOCABULARY, (2, 6))
    before = made(ids_BT, seen, item_B)
    changed = ids_BT.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % VOCABULARY
    assert torch.equal(made(changed, seen, item_B)[:, :4], before[:, :4])
    other = Features(seen.pooled_BD, seen.tokens_BTD.masked_fill(~seen.mask_BT[..., None], 9.0), seen.mask_BT)
    assert torch.allclose(made(ids_BT, other, item_B), before, atol=1e-12)
    assert not torch.allclose(made(ids_BT, seen, torch.tensor([1, 1]))[0], before[0], atol=1e-3)


def test_the_loss_asks_for_targets_and_their_end_only() -> None:
    made, seen = decoder(), images()
    prompts, targets = [[1, 7, 8, 2], [1, 2]], [[1, 5, 2], [1, 9, 10, 11, 2]]
    batch = sequence_batch([torch.tensor(p) for p in prompts], [torch.tensor(t) for t in targets], [2, 0], MAX_LENGTH)
    assert [batch.next_BT[row][batch.target_mask_BT[row]].tolist() for row in range(2)] == [[5, 2], [9, 10, 11, 2]]
    expected = 0.0
    for prompt, target, item in zip(prompts, targets, (2, 0), strict=True):
        whole = torch.tensor([prompt + target[1:]])
        log_p: Tensor = made.logits(made(whole, seen, torch.tensor([item]))).log_softmax(-1)[0].detach()
        places = range(len(prompt) - 1, whole.shape[1] - 1)
        expected -= sum(float(log_p[place, whole[0, place + 1]]) for place in places)
    assert made.loss(batch, seen).item() == pytest.approx(expected, rel=1e-5)


def test_a_fresh_decoder_knows_nothing_and_learns_from_every_part() -> None:
    torch.manual_seed(0)
    made = Config(width=16, depth=1, heads=2).build(TextSpec(VOCABULARY, 16), 8)
    seen = images()
    single = Features(seen.pooled_BD.float(), seen.tokens_BTD.float(), seen.mask_BT)
    batch = sequence_batch([torch.tensor([1, 2])], [torch.tensor([1, 5, 6, 2])], [0], MAX_LENGTH)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = made.loss(batch, single) / 3
        loss.backward()
        optimizer.step()
    assert loss < 0.1  # one sentence is learned by heart
    writing = [parameter for name, parameter in made.named_parameters() if not name.startswith("itm_head")]
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in writing)
    made.itm_loss(ITMBatch.of([torch.tensor([1, 5, 6, 2])], [0], [True]), single).backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in made.parameters())


@given(
    texts=st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), min_size=1, max_size=5),
    longest=st.integers(2, MAX_LENGTH),
)
def test_any_prompts_and_targets_make_sequences(texts: list[tuple[str, str]], longest: int) -> None:
    tokenizer = Tokenizer.train(["a red bus"])
    prompts, targets = ([tokenizer.prepare(pair[side]) for pair in texts] for side in (0, 1))
    made = sequence_batch(prompts, targets, list(range(len(texts))), longest)
    assert made.ids_BT.shape == made.next_BT.shape == made.target_mask_BT.shape
    assert made.ids_BT.shape[1] <= longest
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        whole = [*prompt.tolist(), *target[1:].tolist()][: longest + 1]
        assert made.ids_BT[row, : len(whole) - 1].tolist() == whole[:-1]
        assert made.next_BT[row][made.target_mask_BT[row]].tolist() == whole[len(prompt) :]


def test_more_tokens_than_there_are_positions_are_an_error() -> None:
    with pytest.raises(ValueError, match="128"):
        decoder()(torch.zeros(1, MAX_LENGTH + 1, dtype=torch.long), images(), torch.tensor([0]))


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_asked_for_some_places_the_decoder_gives_what_it_gives_for_all(asked: list[list[bool]]) -> None:
    made, seen, target_mask_BT = decoder(), images(), torch.tensor(asked)
    item_B = torch.arange(len(asked)) % 3
    ids_BT = torch.randint(3, VOCABULARY, target_mask_BT.shape, generator=torch.Generator().manual_seed(0))
    at_BS, real_BS = places(target_mask_BT)
    assert [row[real].tolist() for row, real in zip(at_BS, real_BS, strict=True)] == [
        [place for place, wanted in enumerate(row) if wanted] for row in asked
    ]
    some_BSD, _ = made.advance(ids_BT, made.start(seen, item_B), at_BS)
    assert torch.allclose(some_BSD[real_BS], made(ids_BT, seen, item_B)[target_mask_BT], atol=1e-12)
