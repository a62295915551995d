"""What the built-in sets share: they are chosen by name, and have no columns to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ...config import Config
from ...types import UserError


class BuiltIn(Config):
    """The configuration of a set that is drawn, not read; a field ``split`` says which part of it."""

    specs: ClassVar[Mapping[str, Any]]
    """The split that each name stands for."""

    @classmethod
    def accepts(cls, spec: str) -> bool:
        return spec in cls.specs

    @classmethod
    def from_spec(cls, spec: str, columns: Mapping[str, str] | None = None, separator: str | None = None) -> Self:
        if columns or separator:
            raise UserError(f"{spec} is a built-in set without columns; leave out the names of columns and separators")
        return cls.model_validate({"split": cls.specs[spec]})
