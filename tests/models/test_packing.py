"""Texts end to end give what padded ones give, whatever their lengths and their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cospace.modalities.text.tokenizer import TokenBatch
from cospace.models import packing
from cospace.models.encoders import bert, clip_text, transformer
from cospace.models.packing import runs_of
from cospace.types import TextSpec

SPEC = TextSpec(50, 16)
TOWERS: dict[str, nn.Module] = {}


def tower(name: str) -> nn.Module:
    """One of the towers that pack, with weights that are nowhere zero."""
    if name not in TOWERS:
        torch.manual_seed(0)
        made = {"transformer": transformer, "bert": bert, "clip_text": clip_text}[name].Config.tiny().build(SPEC)  # type: ignore[attr-defined]
        for parameter in made.parameters():
            if not bool(parameter.any()):
                nn.init.normal_(parameter, std=0.2)
        TOWERS[name] = made.eval()
    return TOWERS[name]


def batch(lengths: Sequence[int]) -> TokenBatch:
    mask_BT = torch.arange(max(lengths) + 2)[None] < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(len(lengths))
    return TokenBatch(torch.randint(1, 50, mask_BT.shape, generator=generator) * mask_BT, mask_BT)


@pytest.mark.parametrize("name", ["transformer", "bert", "clip_text"])
@given(lengths=st.lists(st.integers(2, 14), min_size=1, max_size=9))
def test_packed_texts_have_the_vectors_of_padded_ones(name: str, lengths: list[int]) -> None:
    texts = batch(lengths)
    padded = tower(name)(texts)
    with torch.no_grad():
        packed = tower(name)(texts)
    # Sums in another order: a few units in the last place of float32.
    torch.testing.assert_close(packed.pooled_BD, padded.pooled_BD.detach(), rtol=1e-4, atol=1e-5)
    real = texts.mask_BT
    torch.testing.assert_close(packed.tokens_BTD[real], padded.tokens_BTD.detach()[real], rtol=1e-4, atol=1e-5)


@given(lengths=st.lists(st.integers(1, 14), min_size=1, max_size=9))
def test_unpacking_undoes_packing(lengths: list[int]) -> None:
    texts = batch(lengths)
    tokens_BTD = torch.randn(*texts.mask_BT.shape, 3) * texts.mask_BT[..., None]
    with torch.no_grad():
        runs = runs_of(texts.mask_BT, torch.float32)
    assert runs is not None
    assert runs.pack(tokens_BTD).shape == (1, sum(lengths), 3)
    assert [length for count, length in runs.shapes for _ in range(count)] == sorted(lengths)
    torch.testing.assert_close(runs.unpack(runs.pack(tokens_BTD)), tokens_BTD, rtol=0, atol=0)


def test_no_arithmetic_is_spent_on_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    forward = nn.Linear.forward

    def counted(self: nn.Linear, inputs: Tensor) -> Tensor:
        seen.append(inputs.shape[:-1].numel())
        return forward(self, inputs)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    with torch.no_grad():
        tower("transformer")(batch([3, 9, 5]))
    assert set(seen) == {3 + 9 + 5}
    seen.clear()
    tower("transformer")(batch([3, 9, 5]))
    assert set(seen) == {3 * 11}, "while it learns, shapes repeat"


def test_padding_is_kept_where_a_new_shape_costs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    mask_BT = batch([3, 9, 5]).mask_BT
    with torch.no_grad():
        assert packing.runs_of(mask_BT, torch.bfloat16) is None
        assert packing.runs_of(mask_BT[:, :3], torch.float32) is None, "no padding"
        assert packing.runs_of(mask_BT.to("meta"), torch.float32) is None, "an accelerator"
    assert packing.runs_of(mask_BT, torch.float32) is None, "learning"
