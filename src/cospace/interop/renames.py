"""Tables that rename weights, read in both directions: which of their tensors make up one of ours, and how.

A table is a list of :class:`Rule`; ``{n}`` in its names stands for the number of a block. Reading demands that every
tensor of both sides is accounted for, so nothing is ever half loaded.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..types import UserError

Form = Literal["same", "transposed", "stacked", "segment", "only"]
"""How theirs becomes ours: as it is, a matrix turned over, several put on top of each other, and BERT's positions with
the embedding of the first kind of segment added to each, or the only entry of a first axis."""

SEGMENTS = 2
"""Kinds of segments that BERT's table has."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``ours`` is made of ``theirs`` in this ``form``; with ``cut``, rows beyond the last of ours are left out."""

    ours: str
    theirs: tuple[str, ...]
    form: Form = "same"
    cut: bool = False

    def numbered(self, number: int) -> Rule:
        """The same for block ``number``."""
        place = str(number)
        names = tuple(name.replace("{n}", place) for name in self.theirs)
        return replace(self, ours=self.ours.replace("{n}", place), theirs=names)

    def read(self, tensors: Sequence[Tensor]) -> Tensor:
        """Ours of theirs."""
        if self.form == "stacked":
            return torch.cat(list(tensors))
        if self.form == "segment":
            return tensors[0].float() + tensors[1][0].float()
        if self.form == "only":
            return tensors[0][0]
        return tensors[0].mT if self.form == "transposed" else tensors[0]

    def write(self, tensor: Tensor) -> Sequence[Tensor]:
        """Theirs of ours."""
        if self.form == "stacked":
            return tensor.chunk(len(self.theirs))
        if self.form == "segment":
            return [tensor, tensor.new_zeros(SEGMENTS, tensor.shape[1])]
        if self.form == "only":
            return [tensor[None]]
        return [tensor.mT if self.form == "transposed" else tensor]


def same(ours: str, theirs: str) -> list[Rule]:
    """One tensor under another name."""
    return [Rule(ours, (theirs,))]


def affine(ours: str, theirs: str) -> list[Rule]:
    """Weight and bias of a linear map, a convolution or a norm."""
    return [Rule(f"{ours}.{part}", (f"{theirs}.{part}",)) for part in ("weight", "bias")]


def convolved(ours: str, layer: str, norm: str) -> list[Rule]:
    """A convolution without a bias and the batch norm behind it, with its statistics and the count of its batches."""
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [
        *same(f"{ours}.0.weight", f"{layer}.weight"),
        *(Rule(f"{ours}.1.{part}", (f"{norm}.{part}",)) for part in parts),
    ]


def stacked(ours: str, *theirs: str) -> list[Rule]:
    """Weights and biases of several linear maps that ours computes in one product."""
    return [
        Rule(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs), "stacked") for part in ("weight", "bias")
    ]


def in_blocks(depth: int, rules: Iterable[Rule]) -> list[Rule]:
    """The rules of one block for all of them; a rule without ``{n}`` stays one."""
    rules = list(rules)
    once = [rule for rule in rules if "{n}" not in rule.ours]
    return once + [rule.numbered(number) for number in range(depth) for rule in rules if "{n}" in rule.ours]


def load_renamed(
    module: nn.Module,
    rules: Sequence[Rule],
    tensors: Mapping[str, Tensor],
    source: str,
    ignored: Sequence[str] = (),
    own: Mapping[str, Tensor] | None = None,
) -> None:
    """Fill ``module`` with ``tensors``; what is missing, left over or of another shape is one sentence that names it.

    ``ignored`` holds patterns of their names that carry no weights of ours, ``own`` weights of ours that they lack.
    """
    expected = module.state_dict()
    made: dict[str, Tensor] = dict(own or {})
    unruled = expected.keys() - {rule.ours for rule in rules} - made.keys()
    assert not unruled, f"no rule for {sorted(unruled)}"
    for rule in rules:
        for name in rule.theirs:
            if name not in tensors:
                raise UserError(f"{source} lacks {name}; it is not the architecture that its settings say, or was cut")
        value = rule.read([tensors[name] for name in rule.theirs])
        value = value[: len(expected[rule.ours])] if rule.cut else value
        if value.shape != expected[rule.ours].shape:
            wanted, given = (tuple(shape) for shape in (expected[rule.ours].shape, value.shape))
            raise UserError(f"{source}: {' + '.join(rule.theirs)} has shape {given}, its settings ask for {wanted}")
        made[rule.ours] = value.to(expected[rule.ours].dtype)
    known = {name for rule in rules for name in rule.theirs}
    for name in tensors:
        if name not in known and not any(fnmatch.fnmatchcase(name, pattern) for pattern in ignored):
            raise UserError(f"{source} holds {name}, which this architecture has no place for")
    module.load_state_dict(made)


def renamed(module: nn.Module, rules: Sequence[Rule]) -> dict[str, Tensor]:
    """The weights of ``module`` under their names."""
    state = module.state_dict()
    return {
        name: tensor.detach().clone().contiguous()
        for rule in rules
        for name, tensor in zip(rule.theirs, rule.write(state[rule.ours]), strict=True)
    }
