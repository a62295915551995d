"""Tables of text as they lie on a disk: packed or not, read as a whole while they are small, otherwise in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...reading import decode_text, opened, text_pieces
from ...types import UserError
from ._delimited import check_line
from ._packed import is_packed, refuse_stand_in, unpacked

SMALL = 1 << 24
"""Bytes of a file that is read as a whole."""

PIECE = 1 << 22
"""Bytes that are read at a time of others."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text on a disk. Bytes that are not UTF-8 become lone surrogates, so that only their own row is set aside."""

    path: Path
    beginning: str
    """All of a small or packed file; of others the first piece."""
    is_whole: bool
    skipped: int = 0
    """Letters at the beginning that are no part of the table."""

    @classmethod
    def at(cls, path: Path) -> TextFile:
        """The text of a file. Raises :class:`UserError` for one that is no text, or unpacks to what no table has."""
        try:
            with opened(path) as file:
                beginning = file.read(SMALL + 1)
                if len(beginning) > SMALL and not is_packed(beginning):
                    refuse_stand_in(beginning[:512], path)
                    file.seek(0)
                    return cls(path, next(text_pieces(file, PIECE)), is_whole=False)
        except ValueError as error:
            raise UserError(f"{str(path)!r} cannot be read: {error}") from error
        return cls(path, decode_text(unpacked(path)), is_whole=True)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces())

    def pieces(self) -> Iterator[str]:
        """All of it, piece by piece."""
        if self.is_whole:
            yield self.beginning[self.skipped :]
            return
        with opened(self.path) as file:
            pieces = text_pieces(file, PIECE)
            yield next(pieces)[self.skipped :]
            yield from pieces

    def lines(self) -> Iterator[str]:
        """Its lines, without their LF."""
        left = ""
        for piece in self.pieces():
            *whole, left = (left + piece).split("\n")
            check_line(len(left))
            yield from whole
        yield left
