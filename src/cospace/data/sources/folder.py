"""A folder of files (images, sounds): with captions, in folders named by class, beside a table, or neither.

What lies there is looked at first (``_survey.py``); what it means depends on what is asked for. Where pairs are asked
for, these are tried in turn:

1. a table called ``metadata`` that names files here (Hugging Face's form), in the folder or in the parts of a split;
2. captions in text or json files beside at least half of the files;
3. folders named by class;
4. the one table that names files here, whatever it is called;
5. captions beside fewer files, or no captions at all.

Where items are asked for, as by an index, every file is one, with its caption or class where it has one. Whatever else
lies there is left alone and counted. ``form`` decides where this is not what was meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...arrays import each
from ...columns import column_of
from ...config import Config as BaseConfig
from ...filenames import suffix_of, unescaped
from ...reading import decode_text, whole
from ...types import LeftAlone, UserError
from ..keys import among
from . import AS_FOUND, ReadOptions, Rows, file_kinds, table, tar
from ._columns import Table, captions_in_json
from ._layout import Layout, are_classes
from ._packed import SUFFIXES as PACKED
from ._records import Records
from ._survey import CAPTIONS, File, Survey, survey

_BOX = re.compile(r"\s*\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*")
"""A line of a YOLO label: a class number and the numbers of a box or an outline."""


class Config(BaseConfig):
    """A folder, searched to any depth. Every line of a text file beside a file is a caption of it, unless blank."""

    offers: ClassVar[str] = (
        f"a folder of {file_kinds()} (captions in .txt files beside them, a table that names them, or folders named by "
        "class)"
    )
    last_resort: ClassVar[bool] = True
    """Any folder will do, so that a source that knows a folder's own form goes first."""

    path: Path
    options: ReadOptions = AS_FOUND

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Any folder."""
        return Path(spec).is_dir()

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Config:
        return cls(path=Path(spec), options=options)

    def read(self) -> Rows:
        """List the files and read the captions. Raises :class:`UserError` where the folder's meaning is open."""
        if self.options.form == "shards":
            return tar.Config.from_spec(str(self.path), self.options).read()
        found = survey(self.path, self.options.exclude)
        seen = found.describe()
        if self.options.pairs and self.options.form is None:
            found = self._for_training(found)
        rows = self._rows(found)
        rows.watched = None if rows.watched is None else column_of(chain(found.watched, rows.watched))
        rows.understood = f"{seen}; read as {rows.understood}"
        rows.left_alone = column_of(chain(found.left_alone, rows.left_alone))
        return rows

    def _rows(self, found: Survey) -> Rows:
        form, options = self.options.form, self.options
        if form == "table" or (form is None and not found.items and found.tables):
            return self._of_table(found, dict.fromkeys(found.tables))
        if not found.items:
            there = found.describe() or "nothing"
            raise UserError(
                f"{self.path} holds no {file_kinds()} ({there}); give a folder of them, tar shards or a table"
            )
        if form is None and options.pairs:
            chosen = self._table_for(found)
            if chosen:
                return self._of_table(found, chosen)
        options.only(str(self.path), "exclude", "form")
        return self._of_files(found)

    def _table_for(self, found: Survey) -> dict[File, Table | None]:
        """The tables that hold the pairs; none where the files or the folders say what belongs together."""
        open_meaning = not _has_meaning(found)
        asked = [file for file in found.tables if open_meaning or _is_metadata(file)]
        naming: dict[File, Table | None] = {}
        for file in (*asked, *_caption_tables(found)):
            opened = self._naming_items(file)
            if opened is not None:
                naming[file] = opened
        return {file: opened for file, opened in naming.items() if _is_metadata(file)} or naming

    def _naming_items(self, file: File) -> Table | None:
        """A table whose first rows name files that are here; one that cannot be read names none."""
        try:
            opened = table.Config.from_spec(str(file.path), self.options).table()
        except UserError:
            return None
        return opened if opened.found_files() else None

    def _of_table(self, found: Survey, tables: Mapping[File, Table | None]) -> Rows:
        """The pairs of a table; of several, of the one for training if they are the parts of a split."""
        if not tables:
            raise UserError(f"{self.path} holds no table; leave --as table out")
        chosen = [file for file in tables if "train" in Path(file.name).with_suffix("").as_posix().casefold()]
        if len(tables) > 1 and len(chosen) != 1:
            names = " or ".join(str(self.path / file.name) for file in list(tables)[:3])
            raise UserError(
                f"{self.path} holds {len(tables)} tables; name the one you mean ({names}), or read the files alone: "
                "--as files"
            )
        file = chosen[0] if len(tables) > 1 else next(iter(tables))
        rows = (tables[file] or table.Config.from_spec(str(file.path), self.options).table()).rows()
        reason = f"not named in {file.name}"
        others = (LeftAlone(one.name, reason) for one in self._unnamed(found, rows) if one != file)
        rows.left_alone = column_of(chain(rows.left_alone, others, self._other_tables(found, file)))
        rows.understood = f"the table {file.name}: {rows.understood}"
        return rows

    def _unnamed(self, found: Survey, rows: Rows) -> Iterator[File]:
        """The files that no row names, and those with captions."""
        named = (item for column in rows.items.values() for item in column if isinstance(item, Path))
        is_named = among(map(os.path.abspath, (file.path for file in found.items)), map(os.path.abspath, named))
        for one, is_one in zip(found.items, each(is_named), strict=True):
            if not is_one:
                yield one
        yield from found.captions

    def _other_tables(self, found: Survey, used: File | None = None) -> list[LeftAlone]:
        others = [file for file in (*found.tables, *found.shards) if file != used]
        return [LeftAlone(file.name, "a table or tar, which is read where it is named") for file in others]

    def _for_training(self, found: Survey) -> Survey:
        """Of a data set in parts the part for training; the others are for ``--val`` and ``eval``."""
        parts = found.splits()
        train = [name for name in parts if name.casefold() in ("train", "training")]
        if parts and len(train) != 1:
            names = " or ".join(str(self.path / folder) for folder in parts.values())
            raise UserError(f"{self.path} holds the parts {', '.join(parts)} of a data set; name one: {names}")
        if not parts:
            return found
        others = ", ".join(str(self.path / folder) for name, folder in parts.items() if name != train[0])
        return found.within(parts[train[0]], f"of another part of the data set; to read it, name it: {others}")

    def _of_files(self, found: Survey) -> Rows:
        """Every file with its captions, its class, or neither."""
        layout = Layout(str(self.path), self.options.pairs, lambda name, _: self.path / unescaped(name))
        for file, modality in found.items.with_modality():
            layout.add(file.stem, modality, file.name)
        left = _add_captions(layout, found)
        rows = layout.rows()
        without = (LeftAlone(name, reason) for _, _, name, reason in left)
        rows.left_alone = column_of(chain(self._other_tables(found), without, layout.unused_captions()))
        rows.understood, rows.watched = layout.meaning, []
        return rows


def _add_captions(layout: Layout, found: Survey) -> Records:
    """Read the files with captions, and give those that have none for a file: by suffix and place, name and reason."""
    known, left = Records(), Records()
    order = (*CAPTIONS, ".json")
    for place, (file, stem) in enumerate(_with_stems(found)):
        known.add(stem, order.index(file.suffix), place, file.name)
    for stem, records in groupby(known, key=itemgetter(0)):
        captions: list[str] = []
        for _, rank, place, name in records:
            try:
                new = _captions(File(name, found.folder)) if not captions else []
            except OSError as error:
                left.add(rank, place, name, f"it cannot be read: {error.strerror}")
                continue
            if new:
                captions = new
                layout.add_captions(stem, name, captions)
            else:
                left.add(rank, place, name, "it holds no caption, or another file has them")
    return left


def _with_stems(found: Survey) -> Iterator[tuple[File, str]]:
    """Files with captions, each with the stem of what it is about: ``a`` for both ``a.txt`` and ``a.jpg.txt``."""
    is_name = among((file.stem for file in found.captions), (file.name for file in found.items))
    for file, named in zip(found.captions, each(is_name), strict=True):
        yield file, file.stem[: len(file.stem) - len(suffix_of(file.stem))] if named else file.stem


def _is_metadata(file: File) -> bool:
    """Whether a table is called as Hugging Face's imagefolder wants it."""
    packed = file.suffix in PACKED
    return (Path(file.path.stem).stem if packed else file.path.stem).casefold() == "metadata"


def _has_meaning(found: Survey) -> bool:
    """Whether the files say by themselves what belongs together: by captions beside half of them, or by folders."""
    captioned = np.count_nonzero(among((file.stem for file in found.captions), found.stems()))
    return int(captioned) * 2 >= len(found.items) or are_classes(file.name for file in found.items)


def _caption_tables(found: Survey) -> list[File]:
    """Text files that are tables: Kaggle's Flickr8k has ``captions.txt`` with a header ``image,caption``."""

    def loose() -> Iterator[File]:
        return (file for file in found.captions if file.suffix == ".txt" and "/" not in file.name)

    has_item = among((file.stem for file in loose()), (file.stem for file in found.items))
    return [file for file, belongs in zip(loose(), each(has_item), strict=True) if not belongs]


LARGEST_CAPTION = 1 << 24
"""Bytes of a file with captions beside an item."""


def _captions(file: File) -> list[str]:
    """The captions in a file beside an item; an empty text file has one, which is empty, and a label of boxes none."""
    data = whole(file.path, LARGEST_CAPTION)
    if file.suffix == ".json":  # Google Takeout's titles are the names of files
        names = {file.path.stem.casefold(), Path(file.path.stem).stem.casefold()}
        return [text for text in captions_in_json(data) if text.casefold() not in names]
    text = decode_text(data)
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    return [] if lines and all(map(_BOX.fullmatch, lines)) else lines or [""]
