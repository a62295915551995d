"""From what a table writes in a column of files to files: as people, spreadsheets and other systems write paths."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from ...types import Fault
from . import modality_of_file
from ._below import MOST_FOLDERS, Below

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_NUMBERED = re.compile(r"(.+)#\d+")
_SAMPLE = 50
"""Paths that decide which folder a table's paths are relative to."""
_GLANCE = 10_000
"""Rows among which these are looked for."""
MOST_FOUND = 1 << 17
"""Texts whose files are remembered."""


class Locator:
    """Finds the files that the paths of a table name, relative to the folder that fits them."""

    def __init__(self, below: Below, modality: str, texts: Iterable[str], fixed: bool = False) -> None:
        """``texts``: what the table writes, of which the first different ones are looked at.

        ``fixed``: whether paths are relative to the folder of ``below`` and no other.
        """
        self._below, self._modality = below, modality
        sample = [] if fixed else _first_different(texts)
        self.base = below.folder if fixed else _fitting(below.folder, sample)
        self.elsewhere: list[str] = []
        """Absolute paths that are none on this machine, whose ends were found here."""
        self.searched: list[Path] = []
        """What is not where the table says: that place, and the folder of what was found nowhere."""
        self.called: list[Path] = []
        """Files that were found by their stems or numbers alone, in whatever folder."""
        self._known: dict[tuple[Path, bool], dict[str, str | None]] = {}
        self._found: dict[str, Path | Fault | None] = {}

    def find(self, text: str) -> Path | Fault | None:
        """The file; where there is none, the path as it was written, or why it cannot be one; nothing of no text.

        The same text gives the same object, up to very many different ones.
        """
        if text not in self._found:
            if len(self._found) > MOST_FOUND:
                self._found.clear()
            self._found[text] = self._find(text.strip()) if text.strip() else None
        return self._found[text]

    def _find(self, written: str) -> Path | Fault:
        if _ADDRESS.match(written) and not written.lower().startswith("file://"):
            return Fault("address", f"{written} is an address, not a file here; download it and name the file")
        exact = self.base / written
        if _exists(exact):
            return exact
        found = self._otherwise(written)
        self.searched += [exact, exact.parent] if found is None else [exact]
        return exact if found is None else found

    def _otherwise(self, written: str) -> Path | Fault | None:
        for way in _spellings(written):
            path = self.base / way
            if _exists(path):
                return path
            found = self._in_other_case(path)
            if found is not None:
                return found
        return self._elsewhere(written) or self._without_suffix(self.base / written) or self._in_any_folder(written)

    def _in_any_folder(self, written: str) -> Path | Fault | None:
        found = self._below.find(without_number(written), self._modality)
        if isinstance(found, Path):
            self.called.append(found)
        return found

    def _elsewhere(self, written: str) -> Path | None:
        """The file here whose path ends like an absolute one of another machine, by as much of it as possible."""
        parts = PureWindowsPath(written).parts  # which also knows what a POSIX path is made of
        if len(parts) < 2 or not (written.startswith(("/", "\\")) or PureWindowsPath(written).drive):
            return None
        ways = (self.base.joinpath(*parts[start:]) for start in range(1, len(parts)))
        found = next((way for way in ways if _exists(way) and way.is_file()), None)
        if found is not None:
            self.elsewhere.append(written)
        return found

    def _without_suffix(self, path: Path) -> Path | None:
        """The one file of the modality that is called so but for its suffix."""
        name = self._names(path.parent, suffixes=False).get(path.name.casefold())
        return path.parent / name if name is not None else None

    def _in_other_case(self, path: Path) -> Path | None:
        """The one file of that path in capitals or small letters, if each of its folders is one."""
        here = Path(path.anchor)
        for part in path.parts[1:] if path.anchor else path.parts:
            if not _exists(here / part):
                name = self._names(here).get(part.casefold()) if here.is_dir() else None
                if name is None:
                    return None
                part = name
            here /= part
        return here

    def _names(self, folder: Path, suffixes: bool = True) -> dict[str, str | None]:
        """The names in a folder without regard to case; None for one that two files share. Each is listed once.

        Without ``suffixes``, the names of files of the modality, each by what is before its suffix.
        """
        if (folder, suffixes) not in self._known:
            names: dict[str, str | None] = {}
            for name in _listed(folder):
                if suffixes or modality_of_file(name) == self._modality:
                    folded = (name if suffixes else name.rpartition(".")[0]).casefold()
                    names[folded] = None if folded in names else name
            self._known[folder, suffixes] = names
        return self._known[folder, suffixes]


def _first_different(texts: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for text in islice(texts, _GLANCE):
        found[without_number(text.strip())] = None
        if len(found) == _SAMPLE:
            break
    return list(found)


def without_number(text: str) -> str:
    """``a.jpg`` of ``a.jpg#2``, as Flickr8k numbers the captions of an image."""
    match = _NUMBERED.fullmatch(text)
    return match[1] if match and modality_of_file(match[1]) is not None else text


def _exists(path: Path) -> bool:
    """Whether something lies there; a name that is too long, or has a zero byte in it, names nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError):  # one that is not there, may not be read, or has a zero byte in its name
        return []


def _spellings(text: str) -> Iterator[str]:
    """The path as written, then as Windows, a browser, a Mac or another keyboard would have written it."""
    seen = set()
    for way in (text, text.removeprefix("file://"), without_number(text), text.partition("?")[0]):
        for other in (way, way.replace("\\", "/"), unquote(way), unquote(way.replace("\\", "/"))):
            for form in (other, unicodedata.normalize("NFC", other), unicodedata.normalize("NFD", other)):
                if form and form not in seen:
                    seen.add(form)
                    yield form


def _fitting(folder: Path, sample: Sequence[str]) -> Path:
    """The table's own folder, or else the one below it in which most of the named files lie."""
    if not sample or any(_exists(folder / way) for text in sample[:3] for way in _spellings(text)):
        return folder
    best, most = folder, 0
    for number, (root, folders, _) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        there = sum(_exists(Path(root, text)) for text in sample)
        if there > most:
            best, most = Path(root), there
        if number > MOST_FOLDERS or most == len(sample):
            break
    return best
