"""Layers whose gradients are written by hand, beside autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from cospace.layers import SquaredReLU, unit


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
