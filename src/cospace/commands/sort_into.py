"""Files sorted into a folder for each class, as links or copies; the files themselves stay where they are.

Nothing is overwritten: a name that is taken by another file gets eight digits of the item's id. The same command again
finds what is there already and adds the rest, so that one that was stopped goes on. A marker in the folder says by
which classes and which model it was sorted; other ones are refused, since a file would then lie in two of its folders.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from .. import files
from ..data.contents import digest
from ..evaluation.classes import Classes, read_classes
from ..filenames import unescaped
from ..modalities import modality
from ..reading import read_object
from ..runs.run import Run
from ..types import UserError
from .classify import Best, Classification

MARKER = "sorted.json"
"""In the folder: what it was sorted by."""

_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
_LONGEST = 120
"""Characters of a folder's or a file's name that come from a class or an item."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """What was done: new links, new copies, and what was there already."""

    folder: Path
    links: int
    copies: int
    unchanged: int

    def sentence(self) -> str:
        """``12 links, 3 copies, 0 there already``."""
        return f"{self.folder}: {self.links:,} links, {self.copies:,} copies, {self.unchanged:,} there already"


def sorting_key(
    run: Run, classes: Classes, templates: Sequence[str] | None = None, rest: str | None = None
) -> dict[str, object]:
    """What a folder is sorted by: the model, and the classes with all their words."""
    listed = read_classes(classes, least=1 if rest else 2)
    words = [[one.name, list(one.synonyms), list(one.prompts)] for one in listed]
    said = {"model": run.space.fingerprint, "classes": [one.shown for one in listed], "rest": rest}
    return {**said, "words": digest([json.dumps([words, list(templates or ())]).encode()])}


def check_folder(folder: Path, key: dict[str, object]) -> None:
    """Refuse, before any work, a folder that holds other things, or was sorted by other classes or another model."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder to sort into")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MARKER).is_file():
        raise UserError(f"{folder} is not empty and was not sorted by this command; name another folder")
    if read_object(folder / MARKER) != key:
        raise UserError(f"{folder} was sorted by other classes, or by another model; name another folder, or remove it")


def sort_into(folder: str | Path, classified: Classification, key: dict[str, object], copy: bool = False) -> Sorted:
    """Every classified item in the folder of its class; what has no file of its own (in a tar) is copied always."""
    folder = Path(folder)
    check_folder(folder, key)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / MARKER, key)
    named = folder_names(classified.names)
    done = {"link": 0, "copy": 0, "": 0}
    for row in classified.rows:
        place = folder / named[row.name]
        place.mkdir(exist_ok=True)
        done[_put(place, row, copy)] += 1
    return Sorted(folder, done["link"], done["copy"], done[""])


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A class's folder: its name without what file systems refuse; two that become alike get a number."""
    found: dict[str, str] = {}
    taken = {MARKER.casefold()}
    for name in names:
        plain = _UNSAFE.sub("_", name).strip(" .")[:_LONGEST] or "_"
        chosen, number = plain, 2
        while chosen.casefold() in taken:
            chosen, number = f"{plain}-{number}", number + 1
        taken.add(chosen.casefold())
        found[name] = chosen
    return found


def _put(place: Path, row: Best, copy: bool) -> str:
    """Link or copy one item; what was done, or an empty text where it was there."""
    source = Path(unescaped(row.item.path)) if isinstance(row.raw, Path) else None
    data, suffix = (None, source.suffix) if source is not None else _exported(row)
    wanted = _file_name(row, suffix)
    stem = wanted.removesuffix(suffix)
    for name in (wanted, f"{stem}-{digest([row.item.id.encode()])[:8]}{suffix}"):
        target = place / name
        if _is_it(target, source, data, copy):
            return ""
        if not os.path.lexists(target):
            return _make(target, source, data, copy)
    raise UserError(f"{target} is there, and is another file; name another folder to sort into")


def _exported(row: Best) -> tuple[bytes, str]:
    """An item without a file as bytes, with the suffix for them."""
    data, suffix = modality(row.item.modality).export(row.raw)
    return data, f".{suffix}"


def _file_name(row: Best, suffix: str) -> str:
    """The file's own name, or what the item is called."""
    called = PurePath(unescaped(row.item.path if isinstance(row.raw, Path) else row.item.id)).name
    stem = _UNSAFE.sub("_", called.removesuffix(suffix)).strip(" ") or "item"
    return f"{stem[:_LONGEST]}{suffix}"


def _is_it(target: Path, source: Path | None, data: bytes | None, copy: bool) -> bool:
    """Whether what lies there is this item: a link to its file, or a copy of it."""
    if target.is_symlink():
        return source is not None and not copy and os.readlink(target) == str(source)
    if not target.is_file():
        return False
    if source is not None:
        return copy and filecmp.cmp(target, source, shallow=False)
    return data is not None and target.stat().st_size == len(data) and files.digest(target) == _digest_of(data)


def _digest_of(data: bytes) -> str:
    import hashlib

    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _make(target: Path, source: Path | None, data: bytes | None, copy: bool) -> str:
    if source is None:
        files.atomic_write(target, data or b"")
        return "copy"
    if copy:
        files.atomic_write(target, lambda path: _copied(source, path))
        return "copy"
    target.symlink_to(source)
    return "link"


def _copied(source: Path, target: Path) -> None:
    import shutil

    shutil.copyfile(source, target)
