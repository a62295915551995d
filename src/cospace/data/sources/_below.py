"""Files of a modality below a folder, by what a table may call them without folder and suffix: a stem, a number.

Tables of Open Images, COCO and many others hold ids (``000018acd19b4ad3``, ``397133``) whose files lie in folders such
as ``images/`` or ``train2017/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...types import Fault
from . import modality_of_file

MOST_FOLDERS = 1000
"""Folders below a table's own that are looked through."""
_COCO = re.compile(r"coco_[a-z]+\d{4}_0*(\d+)")
_DIGITS = 18
"""Of a number that is compared without its zeros; longer ones are names."""
_FOR_IDS = re.compile(r"(id|key|number|num|no|nr|name|file|stem|image|photo|picture)s?$")
"""What the name of a column of ids ends with."""
_SEVERAL = 10
"""Rows of a table that share a file at most, on average, if a column is to be taken for ids."""


class Below:
    """The files below a folder, listed when they are first asked for; hidden folders are left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, dict[str, list[Path]]] | None = None
        self.folders: list[Path] = []
        """Those that were looked through."""

    def find(self, text: str, modality: str) -> Path | Fault | None:
        """The one file of a modality that is called so; why not, where there are several; None where there is none."""
        if "/" in text or "\\" in text or modality_of_file(text) is not None:  # a path, whose folder is known
            return None
        known = self._of(modality)
        for key in _keys(text):
            found = known.get(key, [])
            if len(found) == 1:
                return found[0]
            if found:
                names = " and ".join(path.relative_to(self.folder).as_posix() for path in found[:2])
                more = f" and {len(found) - 2:,} more" if len(found) > 2 else ""
                advice = "write the folder and the suffix, or name the folder with --images"
                return Fault("ambiguous", f"{text} may be any of {names}{more}; {advice}")
        return None

    def are_ids(self, column: str, values: Sequence[Any], modality: str) -> bool:
        """Whether most of a column's values call files here, and not always the same few, as classes would.

        Any column of numbers may hold the number of some file, so that is asked only where the column is called for it;
        elsewhere whole stems count that are more than numbers.
        """
        texts = [str(value).strip() for value in values if isinstance(value, str | int) and value not in (None, "")]
        different = list(dict.fromkeys(texts))
        if not texts or any(" " in text for text in different) or len(different) * _SEVERAL < len(texts):
            return False
        if not _FOR_IDS.search(column.strip().casefold()):
            different = [text for text in different if not text.removesuffix(".0").isdigit()]
        found = sum(self.find(text, modality) is not None for text in different)
        return found * 2 > len(dict.fromkeys(texts))

    def _of(self, modality: str) -> dict[str, list[Path]]:
        if self._files is None:
            self._files = _listed(self.folder, self.folders)
        return self._files.get(modality, {})


def _listed(folder: Path, seen: list[Path]) -> dict[str, dict[str, list[Path]]]:
    """Modality to what a file may be found by to the files; ``seen`` gets the folders."""
    known: dict[str, dict[str, list[Path]]] = {}
    for number, (root, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith(("@", "#", ".")))
        seen.append(Path(root))
        for path in (Path(root, name) for name in sorted(names) if not name.startswith(".")):
            modality = modality_of_file(path)
            for key in _keys(path.stem) if modality is not None else ():
                known.setdefault(modality or "", {}).setdefault(key, []).append(path)
        if number > MOST_FOLDERS:
            break
    return known


def _keys(text: str) -> list[str]:
    """What a file may be found by, the most exact first."""
    folded = text.strip().casefold()
    match = _COCO.fullmatch(folded)
    number = match[1] if match else folded.removesuffix(".0")  # as pandas writes numbers where some are missing
    plain = number.isascii() and number.isdigit() and len(number) <= _DIGITS
    return [folded, f"number {int(number)}"] if plain else [folded]
