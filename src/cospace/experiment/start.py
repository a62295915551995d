"""What a run starts from: encoders that know nothing, or an earlier run's, some of them locked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..config import plain, unknown
from ..evaluation.generation import normal_answer
from ..fusion.prior import Prior
from ..fusion.teller import Teller
from ..pairs import Pairs
from ..runtime import device
from ..space import Space
from ..tokens import Tokenizer
from ..types import UserError
from .model import Model
from .prepare import preparers
from .settings import Experiment

DECIDED = ("encoders", "width", "data.size", "data.vocabulary", "data.length")
"""Settings that belong to a space, and so cannot be chosen by a run that starts from one."""


@dataclass(frozen=True, slots=True)
class Start:
    """The modules of a run before its first step; ``tokenizer`` is what a decoder reads and writes with."""

    space: Space
    tokenizer: Tokenizer
    teller: Teller | None


def adopted(settings: Experiment, source: Model | None, overrides: Iterable[str], train: Pairs) -> Experiment:
    """A fitted experiment with what the space that it starts from decides, or one sentence for a contradiction."""
    if source is None:
        if settings.locked != "nothing":
            raise UserError(
                f"locked={settings.locked} keeps what an earlier run has learned; name that run with --from"
            )
        return settings
    for text in overrides:
        path = text.partition("=")[0]
        if any(path == decided or path.startswith(decided + ".") for decided in DECIDED):
            raise UserError(f"{path} is decided by the space of {source.run}; leave it out, or leave out --from")
    space = source.space
    _check_locked(settings, space, train)
    changes: dict[str, Any] = {
        "encoders": {name: plain(config) for name, config in space.configs.items()},
        "width": space.width,
        "data": settings.data.model_copy(update={"size": space.preparers["image"].spec.size}),
    }
    if source.teller is not None:
        changes["decoder"] = source.teller.decoder.config
    return settings.model_copy(update=changes)


def _check_locked(settings: Experiment, space: Space, train: Pairs) -> None:
    known = ["nothing", "all", *space.modalities]
    if settings.locked not in known:
        raise UserError(unknown(settings.locked, known, "there is nothing to lock called"))
    lacking = [name for name in space.modalities if name not in train.items]
    if lacking and settings.locked not in ("all", "image"):
        raise UserError(
            f"{train.name} has no {lacking[0]} to hold the space together while its pictures move; add locked=all"
        )
    if settings.locked == "all" and not settings.lessons:
        raise UserError("locked=all leaves nothing to learn but a decoder; add tell=caption, or questions with answers")


def start(settings: Experiment, train: Pairs, source: Model | None) -> Start:
    """Fresh modules, or those of the run to start from; locked encoders and projections do not learn."""
    torch.manual_seed(settings.training.seed)
    if source is None:
        prepare = preparers(train, settings)
        parts = settings.encoder_parts()
        space = Space.build(parts, {name: prepare[name] for name in parts}, settings.width)
        tokenizer = prepare["text"]
    else:
        space = source.space
        tokenizer = _tokenizer(source) or preparers(train, settings)["text"]
    lock(space, settings.locked)
    return Start(space.to(device()), tokenizer, _teller(settings, train, space, tokenizer, source))


def lock(space: Space, locked: str) -> None:
    """Everything learns but the modality of this name, or ``all``."""
    for name in space.modalities:
        parts: list[nn.Module] = [space.encoders[name], space.projections[name]]
        for part in parts:
            part.requires_grad_(locked not in ("all", name))


def _tokenizer(source: Model) -> Tokenizer | None:
    if source.teller is not None:
        return source.teller.tokenizer
    own = source.space.preparers.get("text")
    return own if isinstance(own, Tokenizer) else None


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
