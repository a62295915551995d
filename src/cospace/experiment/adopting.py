"""The settings of a run that starts from a space: what that space has decided, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..config import part, plain, unknown
from ..pairs import Pairs
from ..space import Space
from ..types import UserError
from .model import Model
from .publishing import judgement
from .settings import DataConfig, Experiment

DECIDED = {"image": ("encoders.image", "data.size"), "text": ("encoders.text", "data.vocabulary")}
"""Settings that belong to a tower, and so cannot be chosen by a run that starts from one."""


def adopted(settings: Experiment, source: Model | None, overrides: Iterable[str], train: Pairs) -> Experiment:
    """A fitted experiment with what the space that it starts from decides, or one sentence for a contradiction."""
    if source is None:
        if settings.locked != "nothing":
            raise UserError(
                f"locked={settings.locked} keeps what an earlier run has learned; name that run with --from"
            )
        return settings
    space, overrides = source.space, list(overrides)
    _refuse_decided(overrides, source, [*space.modalities, *(["width"] if whole(settings, space) else [])])
    _check_locked(settings, space, train)
    taken = {name: plain(config) for name, config in space.configs.items()}
    changes: dict[str, Any] = {
        "encoders": {**settings.encoders, **taken},
        "data": _data(settings.data, space, overrides),
    }
    if whole(settings, space):
        objective = _objective(settings.objective, source, overrides)
        changes |= {"encoders": taken, "width": space.width, "objective": objective}
    if source.teller is not None:
        changes["decoder"] = source.teller.decoder.config
    return settings.model_copy(update=changes)


def whole(settings: Experiment, space: Space) -> bool:
    """Whether a space has all towers that are wanted, so that nothing but further steps is to come."""
    return settings.encoders.keys() <= set(space.modalities)


def _refuse_decided(overrides: Iterable[str], source: Model, taken: Iterable[str]) -> None:
    decided = [path for name in taken for path in DECIDED.get(name, (name,))]
    for text in overrides:
        path = text.partition("=")[0]
        if any(path == known or path.startswith(known + ".") for known in [*decided]):
            raise UserError(f"{path} is decided by the space of {source.run}; leave it out, or leave out --from")


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


def _data(data: DataConfig, space: Space, overrides: Sequence[str]) -> DataConfig:
    """Pictures of the size that a tower was built for, texts of the length that one reads."""
    update: dict[str, Any] = {}
    if "text" in space.modalities:
        update["length"] = _length(space, overrides)
    if "image" in space.modalities:
        update["size"] = space.preparers["image"].spec.size
        if not getattr(space.configs["image"], "any_size", True):
            update["coarse"] = 0.0
    return data.model_copy(update=update)


def _length(space: Space, overrides: Iterable[str]) -> int:
    """Longest text in tokens: the space's own, unless a longer one is asked for and its positions can be stretched."""
    own = int(space.preparers["text"].spec.length)
    asked = [int(text.partition("=")[2]) for text in overrides if text.startswith("data.length=")]
    if not asked or asked[-1] == own:
        return own
    stretchable = isinstance(getattr(space.encoders["text"], "positions", None), nn.Embedding)
    if asked[-1] < own or not stretchable:
        raise UserError(f"data.length={asked[-1]}: texts of this space have up to {own} tokens, and that can only grow")
    return asked[-1]


def _objective(objective: dict[str, Any], source: Model, overrides: Sequence[str]) -> dict[str, Any]:
    """The loss goes on from the scale and bias that the space's logits have; SigLIP's goes on being a sigmoid."""
    known = judgement(source)
    if known is None:
        return objective
    chosen = [text.partition("=")[0] for text in overrides]
    if source.facts.get("published", {}).get("family") == "SigLIP" and "objective" not in chosen:
        objective = plain(part("objectives", "sigmoid"))
    learned = {"scale": known.scale, "bias": known.bias}
    update = {key: learned[key] for key in learned if key in objective and f"objective.{key}" not in chosen}
    if "max_scale" in objective:
        update["max_scale"] = max(objective["max_scale"], known.scale)
    return {**objective, **update}
