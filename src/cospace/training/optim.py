"""Optimizers and schedules: AdamW, and Muon for the matrices with AdamW for the rest."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from .shards import local, own_part, sharded_like, whole


class OptimConfig(Config):
    """Which optimizer, its learning rates, weight decay and schedule; ``None`` is filled in from the data."""

    name: Literal["muon", "adamw"] = "muon"
    """``muon`` (Jordan 2024) for the weight matrices with AdamW for the rest, or ``adamw`` for everything."""
    lr: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    muon_lr: float = Field(default=0.02, gt=0)
    """Peak learning rate of Muon: a matrix's relative change per step."""
    logit_scale_lr_mult: float = Field(default=10.0, gt=0)
    """Multiplies ``lr`` for learned temperatures and biases, which short runs otherwise never move."""
    decoder_lr_mult: float = Field(default=3.0, gt=0)
    """Multiplies both learning rates for a decoder, which has fewer steps than it needs."""
    pretrained_lr_mult: float = Field(default=0.01, gt=0)
    """Multiplies ``lr`` for pretrained weights, which AdamW alone updates."""
    lora_lr_mult: float = Field(default=0.1, gt=0)
    """Multiplies ``lr`` for low-rank adapters of pretrained weights."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Multiplies a pretrained block's learning rate once more for every block above it."""
    muon_momentum: float = Field(default=0.95, ge=0, lt=1)
    """Momentum of Muon."""
    muon_fixed_norm: bool = True
    """Muon's matrices keep the norm that they start with, so that a step turns them by as much at the end as at the
    start; those that start at zero are free."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates of the first and second moment."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of matrices; norms, biases, embeddings and temperatures have none."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps of linear warm-up; from the data: a twentieth of the steps, 100 at most. Then linear decay to zero."""


COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""The quintic that drives all singular values towards one (Jordan et al. 2024)."""


def orthogonalise(matrices_LMN: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix of each of a stack, by ``steps`` Newton-Schulz iterations in its own dtype."""
    tall = matrices_LMN.shape[-2] > matrices_LMN.shape[-1]
    x = matrices_LMN.mT if tall else matrices_LMN
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    wide = x.shape[-1] >= 2 * x.shape[-2] and x.dtype != torch.bfloat16
    x = _iterate_gram(x, steps) if wide else _iterate(x, steps)
    result: Tensor = x.mT if tall else x
    return result


def _iterate(x_LMN: Tensor, steps: int) -> Tensor:
    """The iteration as it is written: ``x <- (a + b G + c G G) x`` with ``G = x x'``."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x_LMN @ x_LMN.mT
        x_LMN = a * x_LMN + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x_LMN
    return x_LMN


def _iterate_gram(x_LMN: Tensor, steps: int) -> Tensor:
    """The same, with the product of all factors formed on the small side and applied to ``x`` once.

    Every factor is a polynomial in the first Gram matrix, so the Gram matrix of the next iterate needs no ``x``. For
    the kernels of 3 x 3 convolutions, up to nine times as wide as high, that is a third of the work; bfloat16 has too
    few digits for it.
    """
    a, b, c = COEFFICIENTS
    gram = x_LMN @ x_LMN.mT
    product = None
    for step in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if step + 1 < steps:
            gram = factor @ gram @ factor
    return x_LMN if product is None else product @ x_LMN


class Optimizer:
    """Parameters in groups with settings of their own, and what an optimizer remembers of each parameter.

    Groups, state and the form they are saved in are those of ``torch.optim.Optimizer``, whose first use imports
    torch's compiler: a second that a short run has no use for.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: Mapping[str, Any]) -> None:
        given = list(params)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.param_groups: list[dict[str, Any]] = [
            {**defaults, **group, "params": list(group["params"])} for group in cast("list[dict[str, Any]]", groups)
        ]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, by the parameter's place among all groups, and the groups with places for parameters.

        What is sharded is gathered, so that all ranks have to ask.
        """
        places = {p: place for place, p in enumerate(self._parameters())}
        groups = [{**group, "params": [places[p] for p in group["params"]]} for group in self.param_groups]
        state = {places[p]: {key: whole(value) for key, value in entries.items()} for p, entries in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`, on the parameters' own devices."""
        parameters = self._parameters()
        for place, entries in saved["state"].items():
            p = parameters[place]
            self.state[p] = {key: _placed(p, value) for key, value in entries.items()}
        for group, of_saved in zip(self.param_groups, saved["param_groups"], strict=True):
            group.update({key: value for key, value in of_saved.items() if key != "params"})

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


def _placed(p: Tensor, value: Tensor) -> Tensor:
    """What was remembered of a parameter on its device; of a sharded one this rank's part."""
    if value.shape != p.shape:
        return value.to(p.device, copy=True)
    return sharded_like(p, own_part(p, value).to(p.device, copy=True))


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019) in torch's fused kernel, one call a group."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        """One update of all groups."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            states = [self._state(p) for p in moved]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                [local(p) for p in moved],
                [local(cast("Tensor", p.grad)) for p in moved],
                [local(state["exp_avg"]) for state in states],
                [local(state["exp_avg_sq"]) for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _state(self, p: Tensor) -> dict[str, Tensor]:
        state = self.state[p]
        if not state:
            zeros = torch.zeros_like(p)
            state |= {"step": torch.zeros((), device=p.device), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        return state


class Muon(Optimizer):
    """Momentum whose update of every matrix is made orthogonal (Jordan et al. 2024); convolutions as matrices.

    With ``fixed_norm`` every matrix is brought back to the norm it started with, unless that is zero (Jordan 2024 for
    convolutions): updates of one size add up to a growing matrix otherwise, which each of them turns less and less.

    torch has the same optimizer, but its Newton-Schulz iteration always runs in bfloat16, which is ten times slower
    than float32 on a CPU without matrix units, takes one matrix at a time and refuses convolutions.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype,
        fixed_norm: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": weight_decay, "fixed_norm": fixed_norm})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """One update; parameters of one shape are orthogonalised together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for same in shapes.values():
                self._step_together(same, group)

    def _step_together(self, params: list[Tensor], group: dict[str, Any]) -> None:
        updates = []
        for p in params:
            gradient = local(cast("Tensor", p.grad))
            buffer = local(self.state[p].setdefault("momentum", torch.zeros_like(p)))
            buffer.lerp_(gradient, 1 - group["momentum"])
            updates.append(whole(sharded_like(p, gradient.lerp(buffer, group["momentum"]))).flatten(1))
        stack = orthogonalise(torch.stack(updates).to(self.dtype)).float()
        shape_factor = math.sqrt(max(1.0, stack.shape[-2] / stack.shape[-1]))
        for p, update in zip(params, stack, strict=True):
            if group["fixed_norm"] and "norm" not in self.state[p]:
                self.state[p]["norm"] = whole(p.norm())
            own = local(p)
            own.mul_(1 - group["lr"] * group["decay"]).add_(
                own_part(p, update.view(p.shape)), alpha=-group["lr"] * shape_factor
            )
            if group["fixed_norm"]:
                norm = self.state[p]["norm"]
                own.mul_(torch.where(norm > 0, norm / whole(p.norm()), 1.0))


def optimizers(
    config: OptimConfig,
    space: nn.Module,
    objective: nn.Module,
    dtype: torch.dtype,
    decoder: nn.Module | None = None,
    lr_scales: Mapping[nn.Parameter, float] | None = None,
) -> list[Optimizer]:
    """The optimizers of a run. Decay touches matrices only, never norms, biases, embeddings or temperatures.

    AdamW updates the space's parameters that have a learning-rate multiplier.
    """
    lr_scales = lr_scales or {}
    adamw: list[dict[str, Any]] = []
    muon: list[dict[str, Any]] = []
    for module, factor in ((space, 1.0), (decoder, config.decoder_lr_mult)):
        if module is None:
            continue
        matrices, vectors = split(module)
        adamw += scaled_groups([p for p in (*matrices, *vectors) if p in lr_scales], lr_scales, config)
        matrices, vectors = ([p for p in part if p not in lr_scales] for part in (matrices, vectors))
        adamw.append({"params": vectors, "weight_decay": 0.0, "lr": config.lr * factor})
        if config.name == "adamw":
            adamw.append({"params": matrices, "weight_decay": config.weight_decay, "lr": config.lr * factor})
        else:
            muon.append({"params": matrices, "lr": config.muon_lr * factor})
    if scales := list(objective.parameters()):
        adamw.append({"params": scales, "weight_decay": 0.0, "lr": config.lr * config.logit_scale_lr_mult})
    made: list[Optimizer] = []
    if muon:
        made.append(
            Muon(muon, config.muon_lr, config.muon_momentum, config.weight_decay, dtype, config.muon_fixed_norm)
        )
    return [*made, AdamW(adamw, lr=config.lr, betas=config.betas)]


def scaled_groups(
    parameters: Iterable[nn.Parameter], lr_scales: Mapping[nn.Parameter, float], config: OptimConfig
) -> list[dict[str, Any]]:
    """AdamW's groups for parameters with a multiplier, one for each: matrices with weight decay, the rest without."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        weight_decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((lr_scales[parameter], weight_decay), []).append(parameter)
    return [
        {"params": group, "weight_decay": weight_decay, "lr": config.lr * lr_scale}
        for (lr_scale, weight_decay), group in groups.items()
    ]


def split(space: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of linear and convolutional maps inside the encoders, and everything else; one row is no matrix.

    Embedding tables, positions and the projections into the space stay with AdamW, whose update does not force all
    directions to the same size.
    """
    chosen = {
        id(module.weight)
        for path, module in space.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and len(module.weight) > 1 and "projections" not in path
    }
    trained = [p for p in space.parameters() if p.requires_grad]
    return [p for p in trained if id(p) in chosen], [p for p in trained if id(p) not in chosen]


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate at ``step`` (from 0): linear warmup, then a straight line down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))
