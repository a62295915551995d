"""The configuration of a run that starts from a pretrained model: what that has decided, and what contradicts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ..config import part, plain, unknown
from ..data.pairs import Pairs
from ..modalities import is_text, modality, text_modality
from ..models.space import Space
from ..types import UserError
from .run import Run
from .settings import RunConfig, facts_of
from .towers import FROZEN_BELOW, JoinedTowers

START_FROM = "name the one to start from with: cospace train PAIRS --out RUN --from MODEL"
"""What to do where a setting is about a pretrained model and there is none; also where the command is another."""


def config_from_source(config: RunConfig, source: Run | None, overrides: Iterable[str], train: Pairs) -> RunConfig:
    """A fitted configuration with what the model that it starts from decides, or one sentence for a contradiction."""
    if source is None:
        if config.locked not in ("none", "auto"):
            raise UserError(f"locked={config.locked} freezes what a pretrained model has; {START_FROM}")
        return config.model_copy(update={"locked": "none"})
    space, overrides, whole = source.space, list(overrides), is_whole(config, source)
    _refuse_decided(overrides, source, whole)
    _check_locked(config, source, train)
    config = config.model_copy(update={"locked": _locked(config, source, train)})
    taken = {name: plain(encoder) for name, encoder in space.configs.items()}
    changes: dict[str, Any] = {
        "encoders": {**config.encoders, **taken},
        "data": config.data.model_copy(update=_data_settings(config, space, overrides)),
    }
    if whole:
        objective = _objective(config.objective, source, overrides)
        changes |= {"encoders": taken, "embed_dim": space.width, "objective": objective}
    if source.generator is not None:
        changes["decoder"] = source.generator.decoder.config
    return config.model_copy(update=changes)


def is_whole(config: RunConfig, source: Run) -> bool:
    """Whether a model has all towers that are wanted in one space, so that nothing but further steps is to come."""
    return not isinstance(source, JoinedTowers) and config.encoders.keys() <= set(source.space.modalities)


def _locked(config: RunConfig, source: Run, train: Pairs) -> str:
    """What is frozen; where that was left open, towers whose publisher saw more than there is here."""
    if config.locked != "auto":
        return config.locked
    published = isinstance(source, JoinedTowers) or "published" in source.facts
    if is_whole(config, source) or not published:
        return "none"
    if config.lora_rank:
        frozen = [name for name, encoder in source.space.encoders.items() if not _has_linear_maps(encoder)]
    else:
        counts = facts_of(train).counts
        frozen = [name for name in source.space.modalities if counts.get(name, 0) < FROZEN_BELOW]
    return ",".join(frozen) or "none"


def _has_linear_maps(encoder: nn.Module) -> bool:
    """Whether there is something for low-rank adapters to adapt."""
    return any(type(module) is nn.Linear for module in encoder.modules())


def _refuse_decided(overrides: Iterable[str], source: Run, whole: bool) -> None:
    """Settings that belong to a tower cannot be chosen by a run that starts from one."""
    decided = ["embed_dim"] if whole else []
    for name in source.space.modalities:
        decided += [f"encoders.{name}", *(f"data.{name}.{setting}" for setting in modality(name).decided)]
    for text in overrides:
        path = text.partition("=")[0]
        if any(path == known or path.startswith(known + ".") for known in decided):
            raise UserError(f"{path} is decided by the model in {source.path}; leave it out, or leave out --from")


def _check_locked(config: RunConfig, source: Run, train: Pairs) -> None:
    space, known = source.space, ["none", "all", "auto", *source.space.modalities]
    wanted = config.locked.split(",")
    for name in wanted:
        if name not in known:
            raise UserError(unknown(name, known, "there is nothing to lock called"))
    lacking = [name for name in space.modalities if name not in train.items]
    present = [name for name in space.modalities if name in train.items]
    if lacking and len(present) < 2 and not {"all", *present} & set(wanted):
        raise UserError(
            f"{train.name} has no {lacking[0]} to hold the space together while the other towers learn; add locked=all"
        )
    if config.locked == "all" and is_whole(config, source) and not config.decoder_tasks:
        raise UserError(
            "locked=all leaves nothing to learn but a decoder; add tasks=caption, or questions with answers"
        )


def _data_settings(config: RunConfig, space: Space, overrides: Sequence[str]) -> dict[str, Any]:
    """By modality, settings that agree with what a pretrained tower reads."""
    found = {}
    for name in space.modalities:
        fixed_size = not getattr(space.configs[name], "any_size", True)
        settings = modality(name).settings_of(space.processors[name], config.data.of(name), fixed_size)
        if is_text(name):
            settings = settings.model_copy(update={"max_length": _length(space, overrides)})
        found[name] = settings
    return found


def _length(space: Space, overrides: Iterable[str]) -> int:
    """Longest text in tokens: the space's own, unless a longer one is asked for and its positions can be stretched."""
    name = text_modality()
    setting = f"data.{name}.max_length="
    own = int(space.processors[name].spec.length)
    asked = [int(text.partition("=")[2]) for text in overrides if text.startswith(setting)]
    if not asked or asked[-1] == own:
        return own
    stretchable = isinstance(getattr(space.encoders[name], "positions", None), nn.Embedding)
    if asked[-1] < own or not stretchable:
        raise UserError(f"{setting}{asked[-1]}: texts of this space have up to {own} tokens, and that can only grow")
    return asked[-1]


def _objective(
    objective: dict[str, Any], source: Run, overrides: Sequence[str], path: str = "objective"
) -> dict[str, Any]:
    """The loss goes on from the scale and bias that the model's logits have; SigLIP's goes on being a sigmoid."""
    known = source.logit_scale()
    if known is None:
        return objective
    if "of" in objective:
        return {**objective, "of": _objective(objective["of"], source, overrides, f"{path}.of")}
    chosen = [text.partition("=")[0] for text in overrides]
    if source.facts.get("published", {}).get("family") == "SigLIP" and path not in chosen:
        objective = plain(part("objectives", "sigmoid"))
    learned = {"init_logit_scale": known.scale, "init_logit_bias": known.bias}
    update = {key: learned[key] for key in learned if key in objective and f"{path}.{key}" not in chosen}
    if "max_logit_scale" in objective:
        update["max_logit_scale"] = max(objective["max_logit_scale"], known.scale)
    return {**objective, **update}
