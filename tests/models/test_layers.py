"""Layers whose gradients are written by hand, beside autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from cospace.models.encoders.vit import patches_of
from cospace.models.layers import SelfAttention, SquaredReLU, attend, heads_of, merged, squared_relu, unit


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("with_length", [False, True])
def test_unit_is_normalize(with_length: bool) -> None:
    vectors, length = drawn(2, 3, 5, 4).requires_grad_(), drawn(3, 1, 1).abs().requires_grad_()
    plain = normalize(vectors, dim=-1) * (length if with_length else 1)
    made = unit(vectors, length if with_length else None)
    torch.testing.assert_close(made, plain)
    arrived, over = drawn(2, 3, 5, 4).flip(0), [vectors, length] if with_length else [vectors]
    for mine, theirs in zip(
        torch.autograd.grad(made, over, arrived), torch.autograd.grad(plain, over, arrived), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    assert gradcheck(unit, (vectors, length) if with_length else (vectors,))


def test_unit_of_nothing_is_nothing() -> None:
    zeros = torch.zeros(2, 4, requires_grad=True)
    made = unit(zeros)
    made.sum().backward()
    assert made.eq(0).all()
    assert zeros.grad is not None
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unit_keeps_its_format_and_its_lengths(dtype: torch.dtype) -> None:
    vectors, length = drawn(6, 3, 8, dtype=dtype).requires_grad_(), torch.full((3, 1), 8.0, requires_grad=True)
    made = unit(vectors, length)
    made.float().square().sum().backward()
    assert made.dtype == dtype
    assert length.grad is not None
    torch.testing.assert_close(made.norm(dim=-1).float(), torch.full((6, 3), 8.0), rtol=0.02, atol=0)
    torch.testing.assert_close(length.grad, torch.full((3, 1), 2 * 8.0 * 6), rtol=0.02, atol=0)


def test_squared_relu_is_a_relu_squared() -> None:
    inputs = drawn(5, 7).requires_grad_()
    made, plain = SquaredReLU.apply(inputs), inputs.relu().square()
    torch.testing.assert_close(made, plain)
    arrived = drawn(7, 5).T
    torch.testing.assert_close(torch.autograd.grad(made, inputs, arrived), torch.autograd.grad(plain, inputs, arrived))
    assert gradcheck(SquaredReLU.apply, (inputs,))


def test_squared_relu_without_gradients_is_the_same() -> None:
    inputs = drawn(5, 7)
    expected = inputs.relu().square()
    with torch.no_grad():
        torch.testing.assert_close(squared_relu(inputs.clone()), expected)
    learned = inputs.clone().requires_grad_()
    torch.testing.assert_close(squared_relu(learned), expected)
    torch.testing.assert_close(learned.detach(), inputs)  # untouched where a gradient may be asked for


def plainly(qkv_BTD: torch.Tensor, scale_H11: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    query, key, value = (heads_of(part, len(scale_H11)) for part in qkv_BTD.chunk(3, dim=-1))
    return merged(attend(query, normalize(key, dim=-1), value, scale_H11, visible))


@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_is_attention_on_its_own_parts(masked: bool) -> None:
    qkv, scale = drawn(2, 5, 18).requires_grad_(), drawn(3, 1, 1).abs().requires_grad_()
    lengths = torch.tensor([5, 3])
    visible = (torch.arange(5) < lengths[:, None])[:, None, None] if masked else None
    made, plain = SelfAttention.apply(qkv, scale, visible), plainly(qkv, scale, visible)
    torch.testing.assert_close(made, plain)
    arrived = drawn(2, 5, 6).flip(1)
    for mine, theirs in zip(
        torch.autograd.grad(made, (qkv, scale), arrived), torch.autograd.grad(plain, (qkv, scale), arrived), strict=True
    ):
        torch.testing.assert_close(mine, theirs)
    assert gradcheck(lambda qkv, scale: SelfAttention.apply(qkv, scale, visible), (qkv, scale))


def test_self_attention_in_bfloat16_is_close() -> None:
    exact = drawn(4, 20, 96, dtype=torch.float32).requires_grad_()
    rough = exact.detach().bfloat16().requires_grad_()
    scale = torch.full((2, 1, 1), 4.0)
    made, plain = SelfAttention.apply(rough, scale.bfloat16(), None), plainly(exact, scale, None)
    torch.testing.assert_close(made.float(), plain, rtol=0, atol=0.05)
    arrived = drawn(4, 20, 32, dtype=torch.float32)
    (mine,), (theirs,) = (
        torch.autograd.grad(made, rough, arrived.bfloat16()),
        torch.autograd.grad(plain, exact, arrived),
    )
    assert torch.nn.functional.cosine_similarity(mine.float().flatten(), theirs.flatten(), dim=0) > 0.999


@pytest.mark.parametrize(("side", "patch"), [(8, 4), (6, 2), (5, 5)])
def test_patches_are_what_a_strided_convolution_sees(side: int, patch: int) -> None:
    images_BCSS, weight = torch.randn(3, 3, side, side), torch.randn(7, 3, patch, patch)
    expected = torch.nn.functional.conv2d(images_BCSS, weight, stride=patch).flatten(2).mT
    found = torch.nn.functional.linear(patches_of(images_BCSS, patch), weight.flatten(1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
