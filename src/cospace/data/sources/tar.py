"""Tar shards as the webdataset tools write them: members that share a name make a sample. Nothing is unpacked.

``0001.jpg`` and ``0001.txt`` (or ``0001.json`` with a ``caption`` or ``text``) are a pair. Shards of images in
class folders work as well. Members of every other kind, such as ``.pkl``, are passed over unread.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import ClassVar

from ...columns import ColumnWriter, column_of
from ...config import Config as BaseConfig
from ...filenames import escaped
from ...reading import decode_text, opened
from ...types import LeftAlone, Problem, UserError
from ..contents import digest
from . import AS_FOUND, ReadOptions, Rows, modality_of_suffix
from ._archive import entries
from ._columns import captions_in_json
from ._layout import Layout
from ._survey import holds_items, left_alone_by_name, survey

LARGEST, LARGEST_CAPTION = 1 << 30, 1 << 24
"""Bytes of a member, and of one with captions. A sparse archive may have any size."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a shard, read when needed; small enough to send to a worker."""

    path: str
    offset: int
    size: int

    def load(self) -> bytes:
        """The member's bytes. Raises ``OSError`` when the shard is gone or has become shorter, or it is too large."""
        if self.size > LARGEST:
            raise OSError(f"a member of {self.path} has {self.size:,} bytes; at most {LARGEST:,} are read")
        with opened(self.path) as shard:
            data = os.pread(shard.fileno(), self.size, self.offset)
        if len(data) != self.size:
            raise OSError(f"{self.path} has become shorter since it was listed")
        return data

    def key(self) -> str:
        """A hash of the bytes: the same image in two shards has one key."""
        return digest([self.load()])


class Config(BaseConfig):
    """One shard, a folder of shards, or a pattern such as ``shards-{0000..0009}.tar`` or ``shards-*.tar``."""

    offers: ClassVar[str] = "tar shards (a .tar, a folder of them, or a pattern like shards-{0000..0009}.tar)"

    spec: str
    options: ReadOptions = AS_FOUND

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By suffix, whether or not the file exists; a folder if shards lie directly in it and no other items."""
        if Path(spec).is_dir():
            return any(Path(spec).glob("*.tar")) and not holds_items(Path(spec))
        return spec.endswith((".tar", ".tar.gz", ".tgz"))

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Config:
        options.only(spec, "exclude", "form")
        return cls(spec=spec, options=options)

    def read(self) -> Rows:
        """List the samples of all shards. Raises :class:`UserError` for a shard that is missing or damaged."""
        shards = shards_of(self.spec)
        if not shards:
            raise UserError(f"{self.spec} holds no tar shards; leave --as shards out")
        above = os.path.commonpath([shard.parent for shard in shards])
        layout = Layout(self.spec, self.options.pairs, lambda _, place: Member(str(shards[place[0]]), *place[1:]))
        left = ColumnWriter()
        for number, shard in enumerate(shards):
            prefix = escaped(f"{os.path.relpath(shard, above)}/") if len(shards) > 1 else ""
            left.extend(_add_shard(layout, number, shard, prefix, self.options.exclude))
        rows = layout.rows()
        beside, seen = _beside(Path(self.spec), shards, self.options.exclude)
        rows.left_alone = column_of(chain(left.finish(), layout.unused_captions(), beside))
        found = set("*?[") & set(self.spec)  # by a pattern, which another file may fit
        rows.watched = column_of(chain(shards, {shard.parent for shard in shards} if found else (), seen))
        rows.understood = f"{len(shards):,} tar {'file' if len(shards) == 1 else 'files'}; read as {layout.meaning}"
        return rows


def _beside(folder: Path, shards: Sequence[Path], exclude: Sequence[str]) -> tuple[Sequence[LeftAlone], Sequence[str]]:
    """What else lies in a folder of shards, such as img2dataset's statistics; and all files and folders seen there."""
    if not folder.is_dir():
        return [], []
    found = survey(folder, exclude)
    known = set(shards)
    files = chain(found.items, found.captions, found.tables, found.shards)
    others = (LeftAlone(file.name, "beside the shards, not in them") for file in files if file.path not in known)
    return column_of(chain(found.left_alone, others)), found.watched


def shards_of(spec: str) -> list[Path]:
    if Path(spec).is_dir():
        return sorted(Path(spec).glob("*.tar"))
    found = []
    for name in expand(spec):
        matches = [name] if Path(name).exists() else sorted(glob.glob(name))
        if not matches:
            raise UserError(f"{name} does not exist; check the name or the pattern of the shards")
        found += [Path(match) for match in matches]
    return found


def expand(pattern: str) -> list[str]:
    """The names a brace pattern stands for: ``{08..11}`` counts and keeps the width, ``{a,b}`` lists."""
    choices = []
    for part in re.split(r"(\{[^{}]*\})", pattern):
        span = re.fullmatch(r"\{(\d+)\.\.(\d+)\}", part)
        if span:
            first, last = span.groups()
            choices.append([str(i).zfill(len(first)) for i in range(int(first), int(last) + 1)])
        elif part.startswith("{") and "," in part:
            choices.append(part[1:-1].split(","))
        else:
            choices.append([part])
    return ["".join(parts) for parts in product(*choices)]


def _add_shard(layout: Layout, number: int, shard: Path, prefix: str, exclude: Sequence[str]) -> list[LeftAlone]:
    """Put the members of the shard of this number where they belong; those that belong nowhere are returned.

    One shard's members are in memory at a time.
    """
    members, twice = _list(shard)
    partners = {prefix + name for name in members if name.lower().endswith((".txt", ".json"))}
    notes: dict[str, tuple[str, Member]] = {}
    left, captioned = list[LeftAlone](), set[str]()
    for name, member in members.items():
        reason = left_alone_by_name(name, exclude)
        stem, suffix = _stem(prefix + name, partners)
        modality = modality_of_suffix(suffix)
        if reason:
            left.append(LeftAlone(prefix + name, reason))
        elif modality is not None:
            layout.add(stem, modality, prefix + name, [number, member.offset, member.size])
        elif suffix in (".txt", ".json") and member.size > LARGEST_CAPTION:
            left.append(LeftAlone(prefix + name, "too large for a caption"))
        elif suffix == ".txt":
            layout.add_captions(stem, prefix + name, [_caption(member.load())])
            captioned.add(stem)
        elif suffix == ".json":
            notes[stem] = (prefix + name, member)
        else:
            left.append(LeftAlone(prefix + name, "of no kind that is read"))
    for stem, (name, member) in notes.items():
        captions = [] if stem in captioned else captions_in_json(member.load())
        if captions:
            layout.add_captions(stem, name, captions)
        else:
            left.append(LeftAlone(name, "it holds no caption, or another file has it"))
    reason = f"a name occurs more than once in {shard.name}, so what belongs together is not certain"
    layout.problems += [Problem(prefix + stem, "duplicate name", reason) for stem in twice]
    return left


def _stem(name: str, partners: AbstractSet[str]) -> tuple[str, str]:
    """Stem and suffix of a member: up to the last dot where a caption has that name, else as webdataset cuts it.

    ``img.v2.jpg`` belongs to ``img.v2.txt``, and ``0001.seg.png`` to the sample ``0001``. Without captions every
    member stands for itself.
    """
    last = _split(name, first=False)
    if not partners or name in partners or any(last[0] + suffix in partners for suffix in (".txt", ".json")):
        return last
    return _split(name)


def _list(shard: Path) -> tuple[dict[str, Member], list[str]]:
    """The members by name, and the stems of samples that are left out since a name in them is not unique."""
    members: dict[str, Member] = {}
    twice = set()
    try:
        for entry in entries(shard):
            name = escaped(entry.name.removeprefix("./"))
            if name in members:
                twice.add(_split(name)[0])
            members[name] = Member(str(shard), entry.offset, entry.size)
    except OSError as error:
        raise UserError(f"{shard} cannot be read: {error}") from error
    return {name: member for name, member in members.items() if _split(name)[0] not in twice}, sorted(twice)


def _split(name: str, first: bool = True) -> tuple[str, str]:
    """Stem and suffix of a path: cut at the file's *first* dot, as the webdataset tools do it, or at the last."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".") if first else file.rpartition(".")
    return folder + slash + stem, (dot + suffix).lower()


def _caption(data: bytes) -> str:
    """The whole text but for one line end at its end, which editors add and people do not see."""
    text = decode_text(data)
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
