"""What lies in a folder: every file by its kind, before anyone decides what the folder means.

Nothing is skipped in silence: a file is an item, a caption, a table, a shard, or left alone with a reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ...filenames import escaped, suffix_of
from ...reading import opened
from ...types import LeftAlone
from . import file_modalities, modality_of_file
from ._packed import unpacked_suffix

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
    """A file in a folder: its path within, as text (see :func:`~cospace.files.escaped`), and where it lies."""

    name: str
    path: Path

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


@dataclass(slots=True)
class Survey:
    """The files of a folder and all below it, by kind, in the order of their names."""

    folder: Path
    items: list[tuple[File, str]] = field(default_factory=list)
    """Files of a modality, with its name."""
    captions: list[File] = field(default_factory=list)
    """Text files, and json files that share their name with an item."""
    tables: list[File] = field(default_factory=list)
    shards: list[File] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)

    def splits(self) -> dict[str, str]:
        """The parts of a data set (train, test), each with the folder that holds it; nothing where there are none."""
        if not self.items:
            return {}
        common = PurePosixPath(os.path.commonpath([f"/{file.parent}" for file, _ in self.items])).relative_to("/")
        prefix = "" if str(common) == "." else f"{common}/"
        below = {
            file.name[len(prefix) :].partition("/")[0] for file, _ in self.items if "/" in file.name[len(prefix) :]
        }
        loose = any("/" not in file.name[len(prefix) :] for file, _ in self.items)
        if loose or len(below) < 2 or not all(name.casefold() in SPLITS for name in below):
            return {}
        return {name: prefix + name for name in sorted(below)}

    def within(self, part: str, others: str) -> Survey:
        """What lies in one folder; the rest is left alone, for the reason ``others``."""
        inside = Survey(self.folder, left_alone=list(self.left_alone))
        inside.items = [(file, name) for file, name in self.items if file.name.startswith(f"{part}/")]
        outside = [file for file, _ in self.items if not file.name.startswith(f"{part}/")]
        for mine, all_files in (
            (inside.captions, self.captions),
            (inside.tables, self.tables),
            (inside.shards, self.shards),
        ):
            for file in all_files:
                (mine if file.name.startswith(f"{part}/") else outside).append(file)
        inside.left_alone += [LeftAlone(file.name, others) for file in sorted(outside)]
        return inside

    def describe(self) -> str:
        """``200 images, 1 sound, 1 table (export.csv), 3 other files``."""
        plural = {one.name: (one.noun, one.plural) for one in file_modalities()}
        parts = [
            _count(number, *plural[name]) for name, number in sorted(Counter(name for _, name in self.items).items())
        ]
        for files, one, several in (
            (self.captions, "text file", "text files"),
            (self.tables, "table", "tables"),
            (self.shards, "tar file", "tar files"),
        ):
            if files:
                some = ", ".join(file.name for file in files[:2]) + (", ..." if len(files) > 2 else "")
                parts.append(_count(len(files), one, several) + ("" if files is self.captions else f" ({some})"))
        if self.left_alone:
            parts.append(_count(len(self.left_alone), "other file", "other files"))
        return ", ".join(parts)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def survey(folder: Path, exclude: Sequence[str] = ()) -> Survey:
    """Look through a folder; no file is opened but those whose names say nothing."""
    found = Survey(folder)
    json_files = []
    for file, reason in _walk(folder, exclude):
        if reason:
            found.left_alone.append(LeftAlone(file.name, reason))
        elif (modality := modality_of_file(file.name)) is not None:
            found.items.append((file, modality))
        elif unpacked_suffix(file.name) in TABLES:
            found.tables.append(file)
        elif _is_shard(file):
            found.shards.append(file)
        elif file.suffix in CAPTIONS:
            found.captions.append(file)
        elif file.suffix == ".json":
            json_files.append(file)
        elif unpacked_suffix(file.name) == ".json":
            found.left_alone.append(LeftAlone(file.name, "a packed json file, which is read where it is named"))
        elif file.suffix in _UNREAD:
            found.left_alone.append(LeftAlone(file.name, f"{file.suffix} is not read; save it as JPEG or PNG"))
        elif (modality := _recognised(file.path)) is not None:
            found.items.append((file, modality))
        else:
            found.left_alone.append(LeftAlone(file.name, "of no kind that is read"))
    found.items.sort()
    stems = {stem for file, _ in found.items for stem in (file.stem, file.name)}
    for file in json_files:
        if file.stem in stems:
            found.captions.append(file)
        else:
            found.left_alone.append(LeftAlone(file.name, "a json file that belongs to no file"))
    return found


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


def _walk(folder: Path, exclude: Sequence[str]) -> Iterator[tuple[File, str]]:
    """Every file below a folder in the order of names, and why it is left alone, if so.

    Symbolic links to folders are not followed, for they may lead in circles; they, and folders that cannot be read, are
    named.
    """
    closed: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=closed.append):
        folders.sort()
        above = Path(root).relative_to(folder).as_posix()
        prefix = "" if above == "." else f"{above}/"
        reason_above = left_alone_by_name(prefix.rstrip("/"), exclude)
        for name in (name for name in folders if Path(root, name).is_symlink()):
            reason = reason_above or left_alone_by_name(prefix + name, exclude)
            yield File(escaped(prefix + name), Path(root, name)), reason or "a link to a folder; name that one too"
        regular = _regular_files(root)
        for name in sorted(names):
            reason = reason_above or left_alone_by_name(prefix + name, exclude)
            yield (
                File(escaped(prefix + name), Path(root, name)),
                reason or ("" if name in regular else "no regular file"),
            )
    for error in closed:
        name = Path(error.filename).relative_to(folder).as_posix()
        yield File(escaped(name), Path(error.filename)), f"a folder that cannot be read: {error.strerror}"


def _regular_files(folder: str) -> frozenset[str]:
    """The names of the files of a folder, and of links to files; most systems say so without asking each file."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if _is_regular(entry))
    except OSError:
        return frozenset()


def _is_regular(entry: os.DirEntry[str]) -> bool:
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
