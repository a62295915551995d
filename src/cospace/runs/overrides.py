"""What a person's own settings, ``dotted.path=value``, change of a recipe: more than one place, where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..config import given_value, override
from ..objectives import is_made_of
from ..trust import MODULE
from ..types import UserError

LENGTHS = ("steps", "minutes")
"""Settings of a training that say how long it is; one of them does."""

NAMES_OBJECTIVE = ("objective", "objective.name")
"""Paths of settings that say which objective it is."""


def overridden(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A recipe's data with overrides applied. Raises :class:`UserError` where they contradict each other."""
    return _of_one_length(data, _with_what_it_is_made_of(_with_distillation(overrides, data), data))


def _of_one_length(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A recipe with overrides applied, of which steps or minutes say how long a run is; a person's word is the last."""
    without = {key: value for key, value in data["training"].items() if key not in LENGTHS}
    changed, given = override(data, overrides), override({**data, "training": without}, overrides)
    training = changed["training"]
    by_hand = [name for name in LENGTHS if isinstance(training, dict) and given["training"].get(name) is not None]
    both = by_hand if by_hand else [name for name in LENGTHS if isinstance(training, dict) and training.get(name)]
    if len(both) > 1:
        raise UserError(
            f"training.steps={training['steps']} and training.minutes={training['minutes']} (--minutes) both say how "
            "long to train; give one of them"
        )
    if by_hand:
        changed["training"] = {key: value for key, value in training.items() if key in by_hand or key not in LENGTHS}
    return changed


def _with_distillation(overrides: Sequence[str], data: Mapping[str, Any]) -> list[str]:
    """A teacher is learned from by ``objective=distillation`` beside the objective that is named, or the recipe's."""
    named = [place for place, text in enumerate(overrides) if text.partition("=")[0] in NAMES_OBJECTIVE]
    known = [overrides[place] for place in named] or [json.dumps(data.get("objective"))]
    if not any(text.startswith("teacher=") for text in overrides) or any("distillation" in text for text in known):
        return list(overrides)
    at = named[-1] + 1 if named else 0
    return [*overrides[:at], "objective=distillation", *overrides[at:]]


def _with_what_it_is_made_of(overrides: Iterable[str], data: dict[str, Any]) -> list[str]:
    """``objective=matryoshka``, which is made of another objective, as one that is made of what there was before."""
    made: list[str] = []
    for text in overrides:
        path, _, name = text.partition("=")
        if path in NAMES_OBJECTIVE and is_made_of(name):
            before = override(data, made).get("objective", "softmax")
            before = {"name": before} if isinstance(before, str) else before
            of = before["of"] if before["name"] == name and "of" in before else before
            text = f"objective={json.dumps({'name': name, 'of': of})}"
        made.append(text)
    return made


def named_modules(overrides: Iterable[str]) -> tuple[str, ...]:
    """The modules that a person's own settings name as encoders or as the objective; naming them is consent."""
    found = []
    for assignment in overrides:
        path, _, text = assignment.partition("=")
        node: Any = given_value(text)
        for key in reversed(path.split(".")):
            node = {key: node}
        encoders = node.get("encoders")
        objective = node.get("objective")
        inner = objective.get("of") if isinstance(objective, Mapping) else None
        parts = [objective, inner, *(encoders.values() if isinstance(encoders, Mapping) else ())]
        names_ = [part.get("name") if isinstance(part, Mapping) else part for part in parts]
        found += [name for name in names_ if isinstance(name, str) and "." in name and MODULE.fullmatch(name)]
    return tuple(found)
