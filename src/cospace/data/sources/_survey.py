"""What lies in a folder: every file by its kind, before anyone decides what the folder means.

Nothing is skipped in silence: a file is an item, a caption, a table, a shard, or left alone with a reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ...arrays import each
from ...columns import ColumnWriter, column_of
from ...filenames import escaped, suffix_of, unescaped
from ...reading import opened
from ...types import LeftAlone
from ..keys import among
from . import file_modalities, modality_of_file
from ._packed import unpacked_suffix
from ._records import Records

TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})
SHARDS = (".tar", ".tar.gz", ".tgz")
CAPTIONS = (".txt", ".caption")
"""Suffixes of files with captions, beside a file of the same name; the first of several speaks."""
SPLITS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "heldout", "held_out"}
)
"""Names of folders that are parts of a data set, not classes."""

_SYSTEM = frozenset(
    {
        "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__macosx", "thumbs.db",
        "desktop.ini", "ehthumbs.db", "found.000", ".ds_store",
    }
)  # fmt: skip
_UNREAD = frozenset(
    {
        ".jp2", ".jpx", ".j2c", ".j2k", ".jpf", ".jxl", ".svg", ".psd", ".psb", ".eps", ".ai",
        ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".tga", ".exr", ".hdr", ".ico",
    }
)  # fmt: skip
"""Pictures that people have and cospace does not read; some begin like a TIFF and are none."""
_BEGINNING = 64
"""Bytes that are read to recognise a file whose suffix says nothing."""


class File(NamedTuple):
    """A file in a folder: its path within, as text (see :func:`~cospace.filenames.escaped`), and the folder."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / unescaped(self.name)

    @property
    def suffix(self) -> str:
        return suffix_of(self.name).lower()

    @property
    def stem(self) -> str:
        """The path without the last suffix, which is what makes partners."""
        return self.name[: len(self.name) - len(suffix_of(self.name))]

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0] or "."


class Files:
    """Files of a folder, each with the name of its modality if it has one; in the order of their names or of adding."""

    def __init__(self, folder: Path, by_name: bool = False) -> None:
        self._folder, self._by_name, self._records = folder, by_name, Records()

    def add(self, name: str, modality: str = "") -> None:
        """Add a file by its path within the folder, as text."""
        self._records.add(*([] if self._by_name else [len(self)]), name, modality)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[File]:
        return (file for file, _ in self.with_modality())

    def with_modality(self) -> Iterator[tuple[File, str]]:
        """The files with what was added to each."""
        for *_, name, modality in self._records:
            yield File(name, self._folder), modality


class Survey:
    """The files of a folder and all below it, by kind, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.items = Files(folder, by_name=True)
        """Files of a modality, with its name."""
        self.captions = Files(folder)
        """Text files, and json files that share their name with an item."""
        self.tables, self.shards = list[File](), list[File]()
        self.left_alone: Sequence[LeftAlone] = []
        self.watched: Sequence[str] = []
        """All folders and files that were seen."""

    def stems(self) -> Iterator[str]:
        """What partners of the items may be called."""
        return (stem for file in self.items for stem in (file.stem, file.name))

    def splits(self) -> dict[str, str]:
        """The parts of a data set (train, test), each with the folder that holds it; nothing where there are none."""
        folders = {file.parent for file in self.items}
        if not folders:
            return {}
        common = PurePosixPath(os.path.commonpath([f"/{folder}" for folder in folders])).relative_to("/")
        prefix = "" if str(common) == "." else f"{common}/"
        within = {f"{folder}/"[len(prefix) :] if folder != "." else "" for folder in folders}
        below = {folder.partition("/")[0] for folder in within} - {""}
        if "" in within or len(below) < 2 or not all(name.casefold() in SPLITS for name in below):
            return {}
        return {name: prefix + name for name in sorted(below)}

    def within(self, part: str, others: str) -> Survey:
        """What lies in one folder; the rest is left alone, for the reason ``others``."""
        inside, outside = Survey(self.folder), Files(self.folder, by_name=True)
        inside.watched = self.watched
        for file, modality in self.items.with_modality():
            (inside.items if file.name.startswith(f"{part}/") else outside).add(file.name, modality)
        for file in self.captions:
            (inside.captions if file.name.startswith(f"{part}/") else outside).add(file.name)
        for mine, files in ((inside.tables, self.tables), (inside.shards, self.shards)):
            mine += [file for file in files if file.name.startswith(f"{part}/")]
            for file in files:
                if not file.name.startswith(f"{part}/"):
                    outside.add(file.name)
        inside.left_alone = column_of(chain(self.left_alone, (LeftAlone(file.name, others) for file in outside)))
        return inside

    def describe(self) -> str:
        """``200 images, 1 sound, 1 table (export.csv), 3 other files``."""
        plural = {one.name: (one.noun, one.plural) for one in file_modalities()}
        counts = Counter(name for _, name in self.items.with_modality())
        parts = [_count(number, *plural[name]) for name, number in sorted(counts.items())]
        parts += [_count(len(self.captions), "text file", "text files")] if len(self.captions) else []
        for files, one, several in ((self.tables, "table", "tables"), (self.shards, "tar file", "tar files")):
            if files:
                some = ", ".join(file.name for file in files[:2]) + (", ..." if len(files) > 2 else "")
                parts.append(f"{_count(len(files), one, several)} ({some})")
        if self.left_alone:
            parts.append(_count(len(self.left_alone), "other file", "other files"))
        return ", ".join(parts)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def survey(folder: Path, exclude: Sequence[str] = ()) -> Survey:
    """Look through a folder; no file is opened but those whose names say nothing."""
    found, json_files, left, watched = Survey(folder), Files(folder), ColumnWriter(), ColumnWriter()
    above = f"{folder}{os.sep}"
    for file, reason in _walk(folder, exclude, watched):
        watched.append(f"{above}{unescaped(file.name)}")
        reason = reason or _reason_by_suffix(file)
        if reason:
            left.append(LeftAlone(file.name, reason))
        elif (modality := modality_of_file(file.name)) is not None:
            found.items.add(file.name, modality)
        elif unpacked_suffix(file.name) in TABLES:
            found.tables.append(file)
        elif _is_shard(file):
            found.shards.append(file)
        elif file.suffix in CAPTIONS:
            found.captions.add(file.name)
        elif file.suffix == ".json":
            json_files.add(file.name)
        elif (modality := _recognised(file.path)) is not None:
            found.items.add(file.name, modality)
        else:
            left.append(LeftAlone(file.name, "of no kind that is read"))
    known = among((file.stem for file in json_files), found.stems()) if len(json_files) else np.zeros(0, bool)
    for file, belongs in zip(json_files, each(known), strict=True):
        if belongs:
            found.captions.add(file.name)
        else:
            left.append(LeftAlone(file.name, "a json file that belongs to no file"))
    found.left_alone, found.watched = left.finish(), watched.finish()
    return found


def _reason_by_suffix(file: File) -> str:
    """Why a file is left alone by what it is called; nothing where it is not."""
    if file.suffix in _UNREAD and modality_of_file(file.name) is None:
        return f"{file.suffix} is not read; save it as JPEG or PNG"
    if file.suffix != ".json" and unpacked_suffix(file.name) == ".json":
        return "a packed json file, which is read where it is named"
    return ""


def holds_items(folder: Path, shards: bool = False) -> bool:
    """Whether a file of some modality lies in a folder or below it; with ``shards`` whether a tar does."""
    unclear = []
    for file in (file for file, reason in _walk(folder, ()) if not reason):
        if modality_of_file(file.name) is not None or (shards and _is_shard(file)):
            return True
        if _says_nothing(file):
            unclear.append(file)
    return any(_recognised(file.path) is not None for file in unclear)


def _is_shard(file: File) -> bool:
    return file.name.lower().endswith(SHARDS)


def _says_nothing(file: File) -> bool:
    """Whether a file's name leaves open what it is."""
    known = {*TABLES, *CAPTIONS, *_UNREAD, ".json"}
    return not (_is_shard(file) or unpacked_suffix(file.name) in known or file.suffix in known)


def _walk(folder: Path, exclude: Sequence[str], seen: ColumnWriter | None = None) -> Iterator[tuple[File, str]]:
    """Every file below a folder in the order of names, and why it is left alone, if so; ``seen`` gets the folders.

    Symbolic links to folders are not followed, for they may lead in circles; they, and folders that cannot be read, are
    named.
    """
    closed, pending = list[OSError](), [""]
    while pending:
        prefix = pending.pop()
        if seen is not None:
            seen.append(f"{folder}{os.sep}{prefix}")
        folders, links, names = list[str](), list[str](), Records()
        try:
            with os.scandir(folder / prefix) as entries:
                for entry in entries:
                    if not _is_folder(entry):
                        names.add(entry.name, _is_regular(entry))
                    else:
                        (links if entry.is_symlink() else folders).append(entry.name)
        except OSError as error:
            closed.append(error)
            continue
        reason_above = left_alone_by_name(prefix.rstrip("/"), exclude)
        for name in sorted(links):
            reason = reason_above or left_alone_by_name(prefix + name, exclude)
            yield File(escaped(prefix + name), folder), reason or "a link to a folder; name that one too"
        for name, is_regular in names:
            reason = reason_above or left_alone_by_name(prefix + name, exclude)
            yield File(escaped(prefix + name), folder), reason or ("" if is_regular else "no regular file")
        pending += [f"{prefix}{name}/" for name in sorted(folders, reverse=True)]
    for one in closed:
        name = Path(one.filename).relative_to(folder).as_posix()
        yield File(escaped(name), folder), f"a folder that cannot be read: {one.strerror}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a link to one; most systems say so without asking for each file."""
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def left_alone_by_name(name: str, exclude: Sequence[str]) -> str:
    """Why a file or folder is left alone by its name within the folder; nothing where it is not."""
    parts = name.split("/")
    if any(part.casefold() in _SYSTEM for part in parts):
        return "made by the system"
    if any(part.startswith(".") for part in parts):
        return "hidden"
    ways = {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)} | set(parts) if exclude else set()
    if any(fnmatchcase(way, pattern.rstrip("/")) for pattern in exclude for way in ways):
        return "excluded"
    return ""


def _recognised(path: Path) -> str | None:
    """The modality of a file by its first bytes; none where it cannot be read."""
    try:
        with opened(path) as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return None
    return next((one.name for one in file_modalities() if one.recognises(beginning)), None)
