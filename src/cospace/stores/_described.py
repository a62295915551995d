"""What every store says of itself, and how it is let go of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self


class Described:
    """An open index whose version has facts: ``fingerprint``, ``width`` and ``precision``; it closes with its block."""

    @property
    @abstractmethod
    def _facts(self) -> Mapping[str, Any]:
        """Of the version that is open."""

    @property
    def fingerprint(self) -> str:
        """Of the run that made the vectors."""
        return str(self._facts["fingerprint"])

    @property
    def width(self) -> int:
        """Of a vector."""
        return int(self._facts["width"])

    @property
    def precision(self) -> str:
        """Of the stored vectors, such as ``float32``; see :meth:`create` of each store."""
        return str(self._facts["precision"])

    @abstractmethod
    def close(self) -> None:
        """Let another process write."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
