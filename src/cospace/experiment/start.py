"""What a run starts from: encoders that know nothing, or an earlier run's, some of them locked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from ..evaluation.generation import normal_answer
from ..fusion.prior import Prior
from ..fusion.teller import Teller
from ..pairs import Pairs
from ..runtime import device
from ..space import Space
from ..tokens import BEGIN_ID, END_ID, Tokenizer
from ..training.adapters import add_adapters
from .adopting import whole
from .model import Model
from .prepare import preparers
from .settings import Experiment

KEPT = 20
"""First positions of a text that are left as they are when it may become longer."""


@dataclass(frozen=True, slots=True)
class Start:
    """The modules of a run before its first step; ``tokenizer`` is what a decoder reads and writes with.

    ``paces`` are the shares of the learning rate for parameters that have learned something already.
    """

    space: Space
    tokenizer: Tokenizer
    teller: Teller | None
    paces: Mapping[nn.Parameter, float] = field(default_factory=dict)


def stretch(space: Space, length: int) -> None:
    """Let a text tower read up to ``length`` tokens: learned positions are interpolated in a straight line.

    The first :data:`KEPT` stay as they are, since most texts have no more and these have learned most (Zhang et al.
    2024, Long-CLIP, section 3.1).
    """
    encoder, tokenizer = space.encoders["text"], cast("Tokenizer", space.preparers["text"])
    own = tokenizer.length
    if length == own:
        return
    known_TD = cast("nn.Embedding", encoder.positions).weight.detach()
    kept = min(KEPT, own - 2)
    tail_TD = nn.functional.interpolate(known_TD[kept:].T[None], size=length - kept, mode="linear", align_corners=True)
    longer = nn.Embedding(length, known_TD.shape[1])
    longer.weight.data.copy_(torch.cat([known_TD[:kept], tail_TD[0].T]))
    encoder.positions = longer
    if hasattr(encoder, "length"):
        encoder.length = length  # type: ignore[assignment]
    tokenizer.length = length


def start(settings: Experiment, train: Pairs, source: Model | None) -> Start:
    """Fresh modules, or those of the run to start from beside fresh ones; locked encoders do not learn."""
    torch.manual_seed(settings.training.seed)
    if source is None:
        prepare = preparers(train, settings)
        parts = settings.encoder_parts()
        space = Space.build(parts, {name: prepare[name] for name in parts}, settings.width).to(device())
        return Start(space, prepare["text"], _teller(settings, train, space, prepare["text"], None))
    if "text" in source.space.modalities:
        stretch(source.space, settings.data.length)
    if whole(settings, source.space):
        space, begun = source.space, [*source.space.parameters()]
    else:
        space = beside(source.space, settings, preparers(train, settings))
        begun = [p for name in source.space.modalities for p in space.encoders[name].parameters()]
    tokenizer = _tokenizer(source) or preparers(train, settings)["text"]
    space.to(device())
    lock(space, settings.locked, set(begun))
    paces = _paces(space, begun, settings)
    return Start(space, tokenizer, _teller(settings, train, space, tokenizer, source), paces)


def _paces(space: Space, begun: Iterable[nn.Parameter], settings: Experiment) -> dict[nn.Parameter, float]:
    """How fast what has begun to learn goes on; adapters take the place of towers that would."""
    optim = settings.training.optim
    paces = dict.fromkeys(begun, optim.begun_rate)
    for encoder in space.encoders.values():
        depth = len(getattr(encoder, "blocks", ()))
        for name, parameter in encoder.named_parameters():
            if parameter in paces:
                paces[parameter] *= optim.layer_decay ** below_the_last(name, depth)
        if settings.lora and all(p in paces and p.requires_grad for p in encoder.parameters()):
            paces |= dict.fromkeys(add_adapters(encoder, settings.lora), optim.adapter_rate)
    return paces


def below_the_last(name: str, depth: int) -> int:
    """How many of ``depth`` blocks stand between a parameter and the end of its encoder."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block is not None:
        return depth - 1 - int(block[1])
    return depth if name.split(".")[0] in ("embed", "positions", "positions_TD", "first", "norm_in") else 0


def beside(space: Space, settings: Experiment, prepare: Mapping[str, Any]) -> Space:
    """The encoders of a space with fresh ones for what it lacks, all of them led into a new space."""
    parts = settings.encoder_parts()
    encoders: dict[str, nn.Module] = {}
    preparation: dict[str, Any] = {}
    for name, part in parts.items():
        known = name in space.modalities
        preparation[name] = space.preparers[name] if known else prepare[name]
        encoders[name] = space.encoders[name] if known else part.build(preparation[name].spec)  # type: ignore[attr-defined]
    return Space(encoders, parts, preparation, settings.width)


def lock(space: Space, locked: str, begun: Set[nn.Parameter]) -> None:
    """Everything learns but what the modality of this name, or ``all``, brought along."""
    for name in space.modalities:
        for parameter in (*space.encoders[name].parameters(), *space.projections[name].parameters()):
            parameter.requires_grad_(not (locked in ("all", name) and parameter in begun))


def _tokenizer(source: Model) -> Tokenizer | None:
    """What a decoder can write with: that of an earlier one, or of a space that was trained here."""
    if source.teller is not None:
        return source.teller.tokenizer
    own = source.space.preparers.get("text")
    return own if isinstance(own, Tokenizer) and own.encode([""]) == [[BEGIN_ID, END_ID]] else None


def _teller(
    settings: Experiment, train: Pairs, space: Space, tokenizer: Tokenizer, source: Model | None
) -> Teller | None:
    if not settings.lessons:
        return None
    teller = Teller.build(settings.decoder, tokenizer, space, settings.lessons)
    if source is not None and source.teller is not None:
        teller.decoder.load_state_dict(source.teller.decoder.state_dict())
    teller.decoder.to(device())
    asked = zip(train.items["question"], train.items["answer"], strict=True) if "answer" in settings.lessons else ()
    teller.prior = Prior.of(
        train.items["text"] if "caption" in settings.lessons else (),
        ((normal_answer(question), answer) for question, answer in asked),
    )
    return teller
