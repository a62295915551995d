"""What the built-in sets share: they are chosen by name, and have no columns to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ...config import Config
from . import AS_FOUND, ReadOptions


class BuiltIn(Config):
    """The configuration of a set that is drawn, not read; a field ``split`` says which part of it."""

    by_name: ClassVar[bool] = True
    """A name may be a folder's as well; then nobody but the person knows which is meant."""
    specs: ClassVar[Mapping[str, Any]]
    """The split that each name stands for."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        return spec in cls.specs

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Self:
        options.only(spec)
        return cls.model_validate({"split": cls.specs[spec]})
