"""From files in folders, on a disk or in a tar, to rows. One set of rules for both:

1. A file that shares its name with a caption file (``a/1.jpg`` and ``a/1.txt``) is paired with its captions; so are
   files of several modalities that share a name. Once there is one such file, files without captions and captions
   without files are problems.
2. Otherwise, where files of different modalities share names (``a/1.jpg`` and ``a/1.wav``), these are the pairs, and
   files without a partner are problems.
3. Otherwise, if every file lies in some folder and these are at least two, the folder a file lies in is its class: the
   caption is the folder's name with spaces for underscores, and the extra ``label`` is that name.
4. Otherwise the files have no captions: rows for an index, not for training.

By rules 2 to 4 a text file is no caption, so that a ``README.txt`` does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ...modalities import typed_modality
from ...types import Problem, UserError
from . import Rows, file_kinds


@dataclass(slots=True)
class Layout:
    """Files and captions by stem: a file's path without its suffix, which is what makes partners."""

    name: str
    """Of the folder or archive, for messages."""
    files: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Stem to modality to file name to raw item; more than one name for a stem and a modality is a duplicate."""
    captions: dict[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, stem: str, modality: str, name: str, item: Any) -> None:
        """``name`` is the whole path, unique within the layout."""
        self.files.setdefault(stem, {}).setdefault(modality, {})[name] = item

    def rows(self) -> Rows:
        """Rows by the rules above, in the order of the names. Raises :class:`UserError` when there is no file."""
        if not self.files:
            raise UserError(f"{self.name} holds no {file_kinds()}; give a folder of them, tar shards or a table")
        modalities = sorted({modality for found in self.files.values() for modality in found})
        if self.files.keys() & self.captions.keys():
            return self._captioned(modalities)
        if any(len(found) > 1 for found in self.files.values()):
            return self._partnered(modalities)
        return self._single(modalities)

    def _single(self, modalities: list[str]) -> Rows:
        """A row for each file; its class where folders name classes."""
        files = {
            name: (modality, item)
            for found in self.files.values()
            for modality, named in found.items()
            for name, item in named.items()
        }
        files = dict(sorted(files.items()))
        items: dict[str, list[Any]] = {
            one: [item if modality == one else None for modality, item in files.values()] for one in modalities
        }
        rows = Rows(list(files), items, problems=self.problems, least=1)
        parents = [PurePosixPath(name).parent for name in files]
        if len(set(parents)) > 1 and all(parent.name for parent in parents):
            labels = [parent.name for parent in parents]
            rows.items[typed_modality()] = [label.replace("_", " ") for label in labels]
            rows.extras["label"] = labels
        return rows

    def _partnered(self, modalities: list[str]) -> Rows:
        """A row for each name that files of several modalities share."""
        rows = Rows([], {one: [] for one in modalities}, problems=self.problems, least=2)
        for stem, found in sorted(self.files.items()):
            if self._is_unique(stem, found):
                if len(found) == 1:
                    name = next(iter(next(iter(found.values()))))
                    self.problems.append(Problem(stem, "missing partner", f"{name} has no file of that name beside it"))
                else:
                    self._add_row(rows, stem, found, None)
        return rows

    def _captioned(self, modalities: list[str]) -> Rows:
        columns: dict[str, list[Any]] = {one: [] for one in [*modalities, typed_modality()]}
        rows = Rows([], columns, problems=self.problems, least=2 if len(modalities) > 1 else None)
        for stem in sorted(self.captions.keys() - self.files.keys()):
            self.problems.append(Problem(stem, "missing file", "the caption has no file beside it"))
        for stem, found in sorted(self.files.items()):
            unique = self._is_unique(stem, found)
            if unique and stem not in self.captions:
                name = next(iter(next(iter(found.values()))))
                self.problems.append(Problem(stem, "missing caption", f"{name} has no caption beside it"))
            for number, caption in enumerate(self.captions.get(stem, []) if unique else [], start=1):
                self._add_row(rows, f"{stem}#{number}", found, caption)
        return rows

    def _is_unique(self, stem: str, found: dict[str, dict[str, Any]]) -> bool:
        twice = next((sorted(named) for named in found.values() if len(named) > 1), None)
        if twice is not None:
            reason = f"{' and '.join(twice)} share one name, so it is not certain which of them is meant"
            self.problems.append(Problem(stem, "duplicate name", reason))
        return twice is None

    def _add_row(self, rows: Rows, name: str, found: dict[str, dict[str, Any]], caption: str | None) -> None:
        rows.ids.append(name)
        for modality, column in rows.items.items():
            item = next(iter(found[modality].values())) if modality in found else None
            column.append(caption if modality == typed_modality() else item)
