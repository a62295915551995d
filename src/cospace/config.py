"""Typed, frozen, complete configuration: parts found by name, overridden by dotted path, saved as plain data.

The folder is the registry: a file ``objectives/sigmoid.py`` that defines ``Config`` makes the name ``sigmoid`` work
wherever an objective is named. A dotted name (``mylab.losses.triplet``) works from outside the package, where the
person has named that module.
"""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from .trust import need_trust
from .types import UserError


class Config(BaseModel):
    """Base of every configuration: frozen, complete, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())


C = TypeVar("C", bound="Config")


class PartConfig(Config):
    """Configuration of one named component; the class that it builds stands in the same file."""


def names(folder: str) -> list[str]:
    """The components of a folder, by file name; files with a leading underscore are private."""
    package = importlib.import_module(f"cospace.{folder}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def lookup(folder: str, name: str) -> type[PartConfig]:
    """The ``Config`` class behind a name in a folder, or behind a dotted name outside the package.

    The latter is imported, which runs it, only where the person has named it: see :mod:`cospace.trust`.
    """
    path, called = name if "." in name else f"cospace.{folder}.{name}", _called(folder)
    if "." in name:
        need_trust(name, called)
    elif name not in names(folder):
        raise UserError(unknown(name, names(folder), f"{called} has no"))
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and path.startswith(error.name):
            raise UserError(f"cannot import {path!r} for {called}; check the dotted name") from error
        raise
    config = getattr(module, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise UserError(f"{path} defines no Config class, so it cannot be used in {called}")
    return cast("type[PartConfig]", config)


def _called(folder: str) -> str:
    """A folder of components as people know it: ``encoders`` for ``models.encoders``."""
    return folder.rpartition(".")[2]


_SHOWN, _COMPARED = 100, 2000
"""Names, and letters of a name, that a sentence shows; names that are compared to find the nearest."""


def unknown(key: str, known: Iterable[str], opening: str = "unknown") -> str:
    """One sentence for a name that does not exist, with the nearest known one first."""
    allowed = sorted(known)
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5) if len(allowed) <= _COMPARED else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = allowed if len(allowed) <= _SHOWN else [*allowed[:_SHOWN], f"{len(allowed) - _SHOWN:,} more"]
    return f"{opening} {key[:_SHOWN]!r}{hint} (known: {', '.join(name[:_SHOWN] for name in shown)})"


def part(folder: str, data: Any) -> PartConfig:
    """A component's configuration from ``"name"`` or ``{"name": ..., key: value}``; errors name the nearest key."""
    if isinstance(data, PartConfig):
        return data
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, Mapping) or "name" not in data:
        allowed = ", ".join(names(folder))
        raise UserError(f"cannot read {data!r} as one of {_called(folder)}; give one of these names: {allowed}")
    settings = dict(data)
    name = str(settings.pop("name"))
    return validate(lookup(folder, name), settings, where=f"{_called(folder)}.{name}")


def plain(config: PartConfig) -> dict[str, Any]:
    """The inverse of :func:`part`: the component's name and all of its settings as JSON data."""
    module = type(config).__module__
    name = module.rsplit(".", 1)[1] if module.startswith("cospace.") else module
    return {"name": name, **config.model_dump(mode="json")}


def validate(kind: type[C], settings: Mapping[str, Any], where: str) -> C:
    """Build ``kind``; every mistake in ``settings`` becomes one sentence that says where and what is allowed."""
    try:
        return kind(**settings)
    except ValidationError as error:
        first = [_sentence(kind, e, where) for e in error.errors()]
        raise UserError("; ".join(first)) from error


def _sentence(kind: type[Config], error: Any, where: str) -> str:
    path = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        *parents, leaf = map(str, error["loc"])
        for parent in parents:
            kind = cast("type[Config]", kind.model_fields[parent].annotation)
        return unknown(leaf, kind.model_fields, f"{'.'.join([where, *parents])} has no setting")
    return f"{where}.{path}: {error['msg'].lower()} (given: {error['input']!r})"


def override(data: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Apply ``dotted.path=value`` texts to plain data and return the changed copy.

    Values are read as JSON where they parse as JSON, otherwise as text. Setting a part's path to a name
    (``objective=sigmoid``) replaces the part and drops the old one's settings.
    """
    result = cast("dict[str, Any]", json.loads(json.dumps(data)))
    for assignment in assignments:
        path, found, text = assignment.partition("=")
        if not found or not path:
            raise UserError(f"cannot read the setting {assignment!r}; write it as path=value, e.g. training.steps=500")
        *parents, leaf = path.split(".")
        node = result
        for depth, key in enumerate(parents):
            if isinstance(node.get(key), str):
                node[key] = {"name": node[key]}
            if not isinstance(node.get(key), dict):
                branches = [k for k, v in node.items() if isinstance(v, dict | str)]
                raise UserError(unknown(".".join(parents[: depth + 1]), branches, "no settings under"))
            node = node[key]
        value = given_value(text)
        if isinstance(node.get(leaf), dict) and "name" in node[leaf] and isinstance(value, str):
            value = {"name": value}
        node[leaf] = value
    return result


def given_value(text: str) -> Any:
    """The value of a setting as it was typed: JSON where it parses as JSON, otherwise text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"True": True, "False": False, "None": None}.get(text, text)
