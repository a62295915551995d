"""From files in folders, on a disk or in a tar, to rows. One set of rules for both.

Where pairs are asked for:

1. A file that shares its name with a caption file (``a/1.jpg`` and ``a/1.txt``) is paired with its captions; so are
   files of several modalities that share a name. Where at least half of the names have captions, or there is no other
   rule, files without captions and captions without files are problems.
2. Otherwise, where files of different modalities share names (``a/1.jpg`` and ``a/1.wav``), these are the pairs, and
   files without a partner are problems.
3. Otherwise, if every file lies in some folder and these are at least two, the folder a file lies in is its class: the
   caption is the folder's name with spaces for underscores, and the extra ``label`` is that name. Folders called
   ``train``, ``images`` and the like are no classes.
4. Otherwise the files have no captions: rows for an index, not for training.

By rules 2 to 4 a text file is no caption, so that a ``README.txt`` does no harm. Where items are asked for, every file
is a row, with its captions, else its class, else neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...filenames import folder_of
from ...modalities import modality, text_modality
from ...types import LeftAlone, Problem, UserError
from . import Rows, RowsWriter, file_kinds
from ._survey import SPLITS

_PLAIN = frozenset(
    {
        "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "audio", "audios", "sounds", "wav",
        "wavs", "data",
    }
)  # fmt: skip
"""Names of folders that say what lies in them, not what it shows."""


@dataclass(slots=True)
class Layout:
    """Files and captions by stem: a file's path without its suffix, which is what makes partners."""

    name: str
    """Of the folder or archive, for messages."""
    pairs: bool = True
    """Whether pairs are asked for, not items."""
    files: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Stem to modality to file name to raw item; more than one name for a stem and a modality is a duplicate."""
    captions: dict[str, list[str]] = field(default_factory=dict)
    caption_files: dict[str, str] = field(default_factory=dict)
    """Stem to the name of the file that holds the captions."""
    uses_captions: bool = False
    """Whether the rows have the captions."""
    meaning: str = ""
    """By which rule the files became rows, for people."""
    problems: list[Problem] = field(default_factory=list)

    def add(self, stem: str, modality: str, name: str, item: Any) -> None:
        """``name`` is the whole path, unique within the layout."""
        self.files.setdefault(stem, {}).setdefault(modality, {})[name] = item

    def add_captions(self, stem: str, name: str, captions: list[str]) -> None:
        """What the file ``name`` says of all files with this stem."""
        self.captions[stem], self.caption_files[stem] = captions, name

    def unused_captions(self) -> list[LeftAlone]:
        """Files with captions that no row has and no problem names, known once there are rows."""
        lost = self.captions.keys() - (self.files if self.uses_captions else ())
        if self.uses_captions and self.pairs:
            return []
        names = sorted(self.caption_files[stem] for stem in lost)
        return [LeftAlone(name, "a text file that belongs to no file") for name in names]

    def rows(self) -> Rows:
        """Rows by the rules above, in the order of the names. Raises :class:`UserError` when there is no file."""
        if not self.files:
            raise UserError(f"{self.name} holds no {file_kinds()}; give a folder of them, tar shards or a table")
        modalities = sorted({modality for found in self.files.values() for modality in found})
        captioned = len(self.files.keys() & self.captions.keys())
        what = " and ".join(modality(name).plural for name in modalities)
        partners = any(len(found) > 1 for found in self.files.values())
        classes = are_classes([name for found in self.files.values() for named in found.values() for name in named])
        if not self.pairs or (not captioned and not partners):
            return self._items(modalities, what, classes)
        if captioned * 2 >= len(self.files) or not (partners or classes):
            self.uses_captions, self.meaning = True, f"{what} with captions beside them"
            return self._captioned(modalities)
        if partners:
            self.meaning = f"{what} that share names"
            return self._partnered(modalities)
        return self._items(modalities, what, classes)

    def _items(self, modalities: list[str], what: str, classes: bool) -> Rows:
        """A row for each file, or for each of its captions; its class where folders name classes."""
        self.uses_captions = not self.pairs and bool(self.files.keys() & self.captions.keys())
        rows, labels = RowsWriter([*modalities, text_modality()], ("label",) if classes else (), modalities), set[str]()
        files = sorted(
            (name, stem, modality, item)
            for stem, found in self.files.items()
            for modality, named in found.items()
            for name, item in named.items()
        )  # names are unique, so items are never compared
        for name, stem, one, item in files:
            label = folder_of(name) if classes else ""
            labels.add(label)
            captions: list[str | None] = list(self.captions.get(stem, [])) if self.uses_captions else []
            alone = sum(map(len, self.files[stem].values())) == 1
            for number, caption in enumerate(captions or [label.replace("_", " ") or None], start=1):
                called = name if not captions else f"{stem if alone else name}#{number}"
                rows.add(called, {one: item, text_modality(): caption}, {"label": label}, {one: name})
        named = "with captions beside them" if self.uses_captions else "without captions"
        self.meaning = f"{what} in folders named by class ({len(labels):,})" if classes else f"{what} {named}"
        made = rows.finish(self.problems, least=1)
        if not any(made.items.get(text_modality(), ())):
            made.items = {one: column for one, column in made.items.items() if one != text_modality()}
        return made

    def _partnered(self, modalities: list[str]) -> Rows:
        """A row for each name that files of several modalities share."""
        rows = RowsWriter(modalities, names=modalities)
        for stem, found in sorted(self.files.items()):
            if self._is_unique(stem, found):
                if len(found) == 1:
                    name = next(iter(next(iter(found.values()))))
                    self.problems.append(Problem(stem, "missing partner", f"{name} has no file of that name beside it"))
                else:
                    _add_row(rows, stem, found, None)
        return rows.finish(self.problems, least=2)

    def _captioned(self, modalities: list[str]) -> Rows:
        rows = RowsWriter([*modalities, text_modality()], names=modalities)
        for stem in sorted(self.captions.keys() - self.files.keys()):
            self.problems.append(Problem(stem, "missing file", "the caption has no file beside it"))
        for stem, found in sorted(self.files.items()):
            unique = self._is_unique(stem, found)
            if unique and stem not in self.captions:
                name = next(iter(next(iter(found.values()))))
                self.problems.append(Problem(stem, "missing caption", f"{name} has no caption beside it"))
            for number, caption in enumerate(self.captions.get(stem, []) if unique else [], start=1):
                _add_row(rows, f"{stem}#{number}", found, caption)
        return rows.finish(self.problems, least=2 if len(modalities) > 1 else None)

    def _is_unique(self, stem: str, found: dict[str, dict[str, Any]]) -> bool:
        twice = next((sorted(named) for named in found.values() if len(named) > 1), None)
        if twice is not None:
            reason = f"{' and '.join(twice)} share one name, so it is not certain which of them is meant"
            self.problems.append(Problem(stem, "duplicate name", reason))
        return twice is None


def _add_row(rows: RowsWriter, name: str, found: Mapping[str, Mapping[str, Any]], caption: str | None) -> None:
    """A row of the one file of each modality, and a caption."""
    files = {one: next(iter(named.items())) for one, named in found.items()}
    items = {one: item for one, (_, item) in files.items()} | {text_modality(): caption}
    rows.add(name, items, names={one: called for one, (called, _) in files.items()})


def are_classes(names: Iterable[str]) -> bool:
    """Whether the folders that files lie in are classes: every file lies in one, they differ, and are called for it."""
    folders = {folder_of(name) for name in names}
    return len(folders) > 1 and "" not in folders and not all(name.casefold() in _PLAIN | SPLITS for name in folders)
