"""What can be set: the recipes with what they are for, and every setting with its meaning."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from ..config import Config, lookup, override, part, plain, unknown
from ..modalities import all_modalities
from ..runs.overrides import named_modules
from ..runs.settings import ENCODERS, RunConfig, all_recipes, recipe_data, resolve
from ..trust import trusting
from ..types import UserError


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe: its name, what it is for in one line, and what was measured with it."""

    name: str
    summary: str
    result: str

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def list_recipes() -> list[Recipe]:
    """Every recipe, from the header of its file."""
    found = []
    for name in all_recipes():
        text = inspect.getdoc(importlib.import_module(f"cospace.recipes.{name.replace('-', '_')}")) or ""
        summary, _, result = text.partition("\n\n")
        found.append(Recipe(name, _plain(summary), _plain(result)))
    return found


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted path, type, value and meaning, and where the value comes from.

    ``origin`` is ``recipe``, ``default``, ``given`` (an override) or ``from the data`` (filled in when a run starts).
    """

    path: str
    type: str
    value: Any
    meaning: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def list_settings(recipe: str, overrides: Sequence[str], prefixes: Sequence[str]) -> list[Setting]:
    """Every setting of a recipe with overrides applied, or those below one of some prefixes."""
    with trusting(named_modules(overrides)):
        return _listed(recipe, overrides, prefixes)


def _listed(recipe: str, overrides: Sequence[str], prefixes: Sequence[str]) -> list[Setting]:
    config = resolve(recipe, overrides)
    chosen = _chosen(recipe, overrides)
    found = [
        Setting(path, kind, value, meaning, chosen.get(path) or _undecided(value, meaning))
        for path, kind, value, meaning in _settings(config)
    ]
    for prefix in prefixes:
        if not any(_is_below(setting.path, prefix) for setting in found):
            raise UserError(unknown(prefix, _near(prefix, [setting.path for setting in found]), "no setting under"))
    return [s for s in found if not prefixes or any(_is_below(s.path, prefix) for prefix in prefixes)]


def is_setting(text: str, recipe: str) -> bool:
    """Whether a text is the path of a setting, to which somebody forgot to give a value."""
    return any(setting.path == text for setting in list_settings(recipe, (), ()))


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip(".") + ".")


def _near(wanted: str, paths: Sequence[str]) -> set[str]:
    """Where a prefix may have been meant to lead: names beside it, and branches elsewhere that end like it."""
    branches = {".".join(path.split(".")[:count]) for path in paths for count in range(1, path.count(".") + 2)}
    parent = wanted.rpartition(".")[0]
    while parent and parent not in branches:
        parent = parent.rpartition(".")[0]
    return {name for name in branches if name.rpartition(".")[0] == parent or name.endswith(f".{wanted}")}


def _chosen(recipe: str, overrides: Sequence[str]) -> dict[str, str]:
    """Who decides each setting that is decided: the recipe, or an override, which may replace a whole part."""
    origins = dict.fromkeys(_leaves(recipe_data(recipe)), "recipe")
    for assignment in overrides:
        path = assignment.partition("=")[0]
        value = override({}, [f"value={assignment.partition('=')[2]}"])["value"]
        origins = {known: origin for known, origin in origins.items() if not _is_below(known, path)}
        origins |= dict.fromkeys(_leaves({path: value}), "given")
    return origins


def _undecided(value: Any, meaning: str) -> str:
    return "from the data" if value is None and "from the data" in meaning else "default"


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Paths of all values in plain data; a part that is named within its settings is one of them."""
    for key, value in data.items():
        path = f"{prefix}{key}"
        yield path
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.")


def _settings(config: RunConfig) -> Iterator[tuple[str, str, Any, str]]:
    """Path, type, value and meaning of everything, parts included."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if name == "recipe":
            continue
        if name == "objective":
            yield from _part("objective", "objectives", value)
        elif name == "encoders":
            for one in all_modalities():
                data = value.get(one.name) or plain(part(ENCODERS, one.default_encoder))
                yield from _part(f"encoders.{one.name}", ENCODERS, data)
        elif isinstance(value, Config):
            yield from _branch(name, value)
        else:
            yield name, type_name(field), value, meanings(type(config)).get(name, "")


def _part(path: str, folder: str, data: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, str]]:
    kind = lookup(folder, str(data["name"]))
    module = inspect.getdoc(inspect.getmodule(kind)) or ""
    yield path, folder.rpartition(".")[2].removesuffix("s"), data["name"], _plain(module.partition("\n\n")[0])
    for name, field in kind.model_fields.items():
        yield f"{path}.{name}", type_name(field), data[name], meanings(kind).get(name, "")


def _branch(path: str, config: Config) -> Iterator[tuple[str, str, Any, str]]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _branch(f"{path}.{name}", value)
        else:
            shown = json.loads(config.model_dump_json(include={name}))[name]
            yield f"{path}.{name}", type_name(field), shown, meanings(type(config)).get(name, "")


def type_name(field: FieldInfo) -> str:
    """The type of a setting as people read it: ``int``, ``float``, ``muon or adamw``."""
    return _named(field.annotation)


def _named(annotation: Any) -> str:
    parts = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
    if get_origin(annotation) in (list, tuple):
        return f"list of {_named(parts[0])}"
    if all(isinstance(part, str) for part in parts) and parts:
        return " or ".join(parts)
    if parts and not isinstance(annotation, type):
        return " or ".join(dict.fromkeys(map(_named, parts)))
    return getattr(annotation, "__name__", str(annotation))


@cache
def meanings(kind: type[Config]) -> dict[str, str]:
    """What each field of a configuration means: the string below it, in the classes that it derives from too."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Config) and base.__module__.startswith("cospace"):
            found |= dict(_documented(base))
    return found


def _documented(kind: type) -> Iterable[tuple[str, str]]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # made at run time
        return
    (node,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(node, ast.ClassDef)
    for statement, following in zip(node.body, node.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, _plain(text)


def _plain(text: str) -> str:
    """A docstring's sentences on one line, without the marks of its markup."""
    return " ".join(re.sub(r"(:\w+:)?``?~?([^`]+)``?", r"\2", text).split())
