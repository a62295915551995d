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

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from ...filenames import folder_of
from ...modalities import modality, text_modality
from ...types import LeftAlone, Problem, UserError
from . import Rows, RowsWriter, file_kinds
from ._records import Records
from ._survey import SPLITS

_PLAIN = frozenset(
    {
        "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "audio", "audios", "sounds", "wav",
        "wavs", "data",
    }
)  # fmt: skip
"""Names of folders that say what lies in them, not what it shows."""


class _Group(NamedTuple):
    """What shares a stem."""

    stem: str
    files: dict[str, dict[str, Any]]
    """Modality to file name to raw item; more than one name for a modality is a duplicate."""
    captions: list[str] | None
    caption_file: str
    """The name of the file that holds the captions."""

    @property
    def names(self) -> list[str]:
        return [name for named in self.files.values() for name in named]


class Layout:
    """Files and captions by stem: a file's path without its suffix, which is what makes partners."""

    def __init__(self, name: str, pairs: bool, item: Callable[[str, Any], Any]) -> None:
        """``name``: of the folder or archive, for messages; ``pairs``: whether these are asked for, not items.

        ``item`` makes a raw item of a file's name and of what was added with it, which is plain.
        """
        self.name, self.pairs, self._item = name, pairs, item
        self._records = Records()  # stem, whether a caption, when it was added, and the rest
        self.uses_captions = False
        """Whether the rows have the captions."""
        self.meaning = ""
        """By which rule the files became rows, for people."""
        self.problems: list[Problem] = []

    def add(self, stem: str, modality: str, name: str, item: Any = None) -> None:
        """``name`` is the whole path, unique within the layout."""
        self._records.add(stem, False, len(self._records), modality, name, item)

    def add_captions(self, stem: str, name: str, captions: list[str]) -> None:
        """What the file ``name`` says of all files with this stem; the last one counts."""
        self._records.add(stem, True, len(self._records), "", name, captions)

    def _groups(self) -> Iterator[_Group]:
        """Whatever shares a stem, in the order of stems."""
        for stem, records in groupby(self._records, key=itemgetter(0)):
            group = _Group(stem, {}, None, "")
            for _, is_caption, _, one, name, value in records:
                if is_caption:
                    group = group._replace(captions=value, caption_file=name)
                else:
                    group.files.setdefault(one, {})[name] = value
            yield group

    def _made(self, group: _Group) -> dict[str, dict[str, Any]]:
        """The files of a group with their items."""
        return {
            one: {name: self._item(name, value) for name, value in named.items()} for one, named in group.files.items()
        }

    def unused_captions(self) -> list[LeftAlone]:
        """Files with captions that no row has and no problem names, known once there are rows."""
        if self.uses_captions and self.pairs:
            return []
        lost = (group for group in self._groups() if group.captions is not None)
        names = sorted(group.caption_file for group in lost if not (self.uses_captions and group.files))
        return [LeftAlone(name, "a text file that belongs to no file") for name in names]

    def rows(self) -> Rows:
        """Rows by the rules above, in the order of the names. Raises :class:`UserError` when there is no file."""
        found, stems, captioned, partners = set[str](), 0, 0, False
        for group in self._groups():
            found |= group.files.keys()
            stems += bool(group.files)
            captioned += bool(group.files) and group.captions is not None
            partners = partners or len(group.files) > 1
        if not stems:
            raise UserError(f"{self.name} holds no {file_kinds()}; give a folder of them, tar shards or a table")
        modalities = sorted(found)
        what = " and ".join(modality(name).plural for name in modalities)
        classes = are_classes(name for group in self._groups() for name in group.names)
        if not self.pairs or (not captioned and not partners):
            self.uses_captions = not self.pairs and captioned > 0
            return self._items(modalities, what, classes)
        if captioned * 2 >= stems or not (partners or classes):
            self.uses_captions, self.meaning = True, f"{what} with captions beside them"
            return self._captioned(modalities)
        if partners:
            self.meaning = f"{what} that share names"
            return self._partnered(modalities)
        return self._items(modalities, what, classes)

    def _items(self, modalities: list[str], what: str, classes: bool) -> Rows:
        """A row for each file, or for each of its captions; its class where folders name classes."""
        rows, labels = RowsWriter([*modalities, text_modality()], ("label",) if classes else (), modalities), set[str]()
        by_name = Records()
        for group in self._groups():
            captions = group.captions or [] if self.uses_captions else []
            called = [group.stem] if len(group.names) == 1 else []
            for one, named in group.files.items():
                for name, value in named.items():
                    by_name.add(name, one, called, captions, value)
        for name, one, called, captions, value in by_name:
            item, label = self._item(name, value), folder_of(name) if classes else ""
            labels.add(label)
            base = called[0] if called else name
            for number, caption in enumerate(captions or [label.replace("_", " ") or None], start=1):
                row = f"{base}#{number}" if captions else name
                rows.add(row, {one: item, text_modality(): caption}, {"label": label}, {one: name})
        beside = "with captions beside them" if self.uses_captions else "without captions"
        self.meaning = f"{what} in folders named by class ({len(labels):,})" if classes else f"{what} {beside}"
        made = rows.finish(self.problems, least=1)
        if not any(made.items.get(text_modality(), ())):
            made.items = {one: column for one, column in made.items.items() if one != text_modality()}
        return made

    def _partnered(self, modalities: list[str]) -> Rows:
        """A row for each name that files of several modalities share."""
        rows = RowsWriter(modalities, names=modalities)
        for group in self._groups():
            if group.files and self._is_unique(group):
                if len(group.files) == 1:
                    reason = f"{group.names[0]} has no file of that name beside it"
                    self.problems.append(Problem(group.stem, "missing partner", reason))
                else:
                    _add_row(rows, group.stem, self._made(group), None)
        return rows.finish(self.problems, least=2)

    def _captioned(self, modalities: list[str]) -> Rows:
        rows = RowsWriter([*modalities, text_modality()], names=modalities)
        for group in self._groups():
            if not group.files:
                self.problems.append(Problem(group.stem, "missing file", "the caption has no file beside it"))
        for group in self._groups():
            unique = bool(group.files) and self._is_unique(group)
            if unique and group.captions is None:
                reason = f"{group.names[0]} has no caption beside it"
                self.problems.append(Problem(group.stem, "missing caption", reason))
            files = self._made(group) if unique else {}
            for number, caption in enumerate(group.captions or [] if unique else [], start=1):
                _add_row(rows, f"{group.stem}#{number}", files, caption)
        return rows.finish(self.problems, least=2 if len(modalities) > 1 else None)

    def _is_unique(self, group: _Group) -> bool:
        twice = next((sorted(named) for named in group.files.values() if len(named) > 1), None)
        if twice is not None:
            reason = f"{' and '.join(twice)} share one name, so it is not certain which of them is meant"
            self.problems.append(Problem(group.stem, "duplicate name", reason))
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
