"""What was read from a source, kept for the next run: it opens the same pairs without reading, hashing or joining them.

A manifest is a folder in the cache: columns as Arrow data, keys and matches as NumPy arrays, the rest as JSON, sealed
with the hash of each file. It is found by what was asked for, and holds good while nothing that was read has changed:
every file and folder it depends on has the size, the times and the number on the disk that it had, and the code that
read them is the same. One that is damaged, or of another state, is made anew. What is read within a second has none.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import ArrayWriter, blocks
from ..columns import Column, column_of, read_column, write_column
from ..files import MANIFEST, as_json, atomic_write, cache_folder, digest, verify, write_folder
from ..locks import Lock
from ..matches import Matches
from ..reading import MALFORMED, read_object
from ..types import LeftAlone, Problem, UserError
from .contents import digest as digest_of
from .known_files import SETTLED, now, state_of
from .sources import ReadOptions
from .sources.tar import Member

LEAST = 1.0
"""Seconds: what takes less to read is read again."""

LARGEST = 64 << 30
"""Bytes that all manifests may have; the oldest go first."""

_CLASSES = (Member, LeftAlone, Problem)
"""What a column may hold that is stored by its fields. No other class is made of what a file says."""

_VALUE, _LEAST_FILE = 64, 2048
"""Bytes of a value of a short column, and of the file of an empty one, about."""

_GONE = (-1, -1, -1, -1)
"""The state of what is not there."""

_TEXTS = ("name", "fingerprint", "understood")
_COLUMNS = ("ids", "places", "problems", "left_alone")
_BY_NAME = ("items", "contents", "extras", "names")


class Manifest:
    """The manifest of one source, as it is asked for. Make it before anything of the source is read."""

    def __init__(self, source: str, spec: str, options: ReadOptions) -> None:
        """``source`` names what reads ``spec``."""
        self._since, self._began = now(), time.monotonic()
        asked = json.dumps([source, spec, os.getcwd(), asdict(options)], default=str, sort_keys=True)
        self._folder = cache_folder() / "pairs" / digest_of([asked.encode("utf-8", "surrogatepass")])

    def read(self) -> dict[str, Any] | None:
        """The pairs' fields, if they were read before and nothing has changed since."""
        try:
            if not (self._folder / MANIFEST).is_file():
                return None
            number = self._folder.stat().st_ino
            said = read_object(self._folder / "pairs.json")
            if said["code"] != _code() or not self._holds(said):
                return None
            verify(self._folder)
            fields = _Reader(self._folder, said).fields()
            if self._folder.stat().st_ino != number:  # another process has put its own there meanwhile
                return None
            os.utime(self._folder)
        except (OSError, UserError, *MALFORMED):
            return None
        return fields

    def _holds(self, said: Mapping[str, Any]) -> bool:
        """Whether everything that was read is as it was."""
        paths = read_column(self._folder / "watched.arrow", said["watched"], ())
        state_W4 = np.load(self._folder / "watched.npy", mmap_mode="c", allow_pickle=False)
        states = (tuple(row) for some in blocks(len(state_W4)) for row in state_W4[some].tolist())
        return all(_state(path) == before for path, before in zip(paths, states, strict=True))

    def keep(self, fields: Mapping[str, Any], watched: Iterable[Path | str] | None) -> None:
        """Keep the pairs' fields; ``watched`` is what they depend on, nothing where that is not known.

        Nothing is kept of what was read quickly, of what changed while it was read or so shortly before that it may
        have changed again since, nor where there is no room.
        """
        if watched is None or time.monotonic() - self._began < LEAST:
            return
        lock = Lock(self._folder.parent)
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            if not lock.attempt():  # one run at a time writes; the others go on
                return
            states = self._states(watched)
            if states is not None:
                writer = _Writer(fields, *states)
                if _make_room(self._folder, writer.size()):
                    write_folder(self._folder, writer.files())
        except (OSError, ValueError, UserError):  # a manifest saves time, and nothing else depends on it
            return
        finally:
            lock.release()

    def _states(self, watched: Iterable[Path | str]) -> tuple[Sequence[str], np.ndarray] | None:
        """Each path and its state ``(W, 4)``; nothing where one may have changed since it was read."""
        writer = ArrayWriter(np.int64)
        settled = True

        def seen() -> Iterator[str]:
            nonlocal settled
            for path in _different(watched):
                state = _state(path)
                settled = settled and max(state[1], state[2]) < (self._since - SETTLED) * 1e9
                writer.append(np.array(state))
                yield path

        paths = column_of(seen())
        return (paths, writer.finish().reshape(-1, 4)) if settled else None


def _different(watched: Iterable[Path | str], most: int = 1 << 17) -> Iterator[str]:
    """Paths without those that were named shortly before."""
    known = set[str]()
    for path in (os.fspath(one) for one in watched):
        if path not in known:
            known.add(path)
            yield path
        if len(known) > most:
            known.clear()


def _state(path: str) -> tuple[int, int, int, int]:
    try:
        return state_of(os.stat(path))
    except (OSError, ValueError):
        return _GONE


@cache
def _code() -> str:
    """A hash of the code that reads, and of what it depends on."""
    package = Path(__file__).parents[1]
    parts = ("arrays.py", "filenames.py", "reading.py", "types.py", "columns", "data", "matches", "modalities")
    files = sorted(path for part in parts for path in (package / part, *(package / part).rglob("*.py")))
    import pyarrow as pa

    hashes = [digest(path) for path in files if path.is_file()]
    return digest_of(text.encode() for text in (*hashes, pa.__version__, unicodedata.unidata_version))


def _make_room(folder: Path, size: int) -> bool:
    """Whether there is room for so many bytes, after the oldest manifests have gone if there was none."""
    others = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
    for path in others:
        if "." in path.name:  # half-written by one that was killed, since nobody else is writing now
            shutil.rmtree(path, ignore_errors=True)
    others = [path for path in others if path.exists()]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in others}
    for path in sorted(others, key=lambda path: path.stat().st_mtime):
        if size + sum(sizes.values()) > LARGEST:
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]
    return size + sum(sizes.values()) <= LARGEST and size < shutil.disk_usage(folder.parent).free // 2


class _Writer:
    """The files of a manifest. Columns and arrays that stand in several places are written once."""

    def __init__(self, fields: Mapping[str, Any], paths: Sequence[str], state_W4: np.ndarray) -> None:
        self._columns, self._arrays = dict[int, Any](), dict[int, np.ndarray]()
        self._classes = dict[str, list[str]]()
        matches: Matches = fields["matches"]
        self._paths, self._state_W4 = paths, state_W4
        self._said: dict[str, Any] = {
            "code": _code(),
            "watched": len(paths),
            **{name: fields[name] for name in _TEXTS},
            **{name: self._column(fields[name]) for name in _COLUMNS},
            **{name: [[one, self._column(c)] for one, c in fields[name].items()] for name in _BY_NAME},
            "keys": [[one, self._array(array)] for one, array in fields["keys"].items()],
            "codes": [[one, self._array(array)] for one, array in matches.codes.items()],
            "components": [[one, self._array(array)] for one, array in matches.component_of_code.items()],
            "pairs": [[*pair, self._array(array)] for pair, array in matches.pairs.items()],
        }

    def _column(self, column: Sequence[Any]) -> list[Any]:
        self._columns[id(column)] = column
        return [list(self._columns).index(id(column)), len(column)]

    def _array(self, array: np.ndarray) -> int:
        self._arrays[id(array)] = array
        return list(self._arrays).index(id(array))

    def size(self) -> int:
        """About how many bytes the files will have."""
        columns = (self._paths, *self._all())
        guesses = (one.nbytes if isinstance(one, Column) else _LEAST_FILE + _VALUE * len(one) for one in columns)
        return sum(guesses) + sum(array.nbytes for array in (self._state_W4, *self._arrays.values()))

    def _all(self) -> Iterator[Sequence[Any]]:
        return iter(self._columns.values())

    def files(self) -> dict[str, bytes | Callable[[Path], None]]:
        """What :func:`~cospace.files.write_folder` writes; the classes are known once the columns are written."""
        made: dict[str, bytes | Callable[[Path], None]] = {
            "watched.arrow": lambda path: self._write(self._paths, path),
            "watched.npy": lambda path: np.save(path, self._state_W4, allow_pickle=False),
        }
        for number, column in enumerate(self._all()):
            made[f"{number}.arrow"] = lambda path, column=column: self._write(column, path)  # type: ignore[misc]
        for number, array in enumerate(self._arrays.values()):
            made[f"{number}.npy"] = lambda path, array=array: np.save(path, array, allow_pickle=False)  # type: ignore[misc]
        made["pairs.json"] = lambda path: atomic_write(path, as_json({**self._said, "classes": self._classes}))
        return made

    def _write(self, column: Sequence[Any], path: Path) -> None:
        classes = write_column(column, path)
        if not set(classes) <= set(_CLASSES):
            raise ValueError("a column holds objects that are not made of what a file says")
        self._classes[path.name] = [one.__name__ for one in classes]


class _Reader:
    """The fields of pairs from a manifest whose hashes are right."""

    def __init__(self, folder: Path, said: Mapping[str, Any]) -> None:
        self._folder, self._said = folder, said
        self._columns = dict[int, Sequence[Any]]()

    def fields(self) -> dict[str, Any]:
        """As they were kept."""
        said = self._said
        pairs = {(left, right): self._array(number) for left, right, number in said["pairs"]}
        matches = Matches(self._arrays("codes"), pairs, self._arrays("components"))
        columns = {name: self._column(*said[name]) for name in _COLUMNS}
        by_name = {name: {one: self._column(*c) for one, c in said[name]} for name in _BY_NAME}
        texts = {name: said[name] for name in _TEXTS}
        return {**texts, **columns, **by_name, "keys": self._arrays("keys"), "matches": matches}

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        return {one: self._array(number) for one, number in self._said[name]}

    def _array(self, number: int) -> np.ndarray:
        made = np.load(self._folder / f"{number}.npy", mmap_mode="c", allow_pickle=False)
        return np.asarray(made)

    def _column(self, number: int, length: int) -> Sequence[Any]:
        if number not in self._columns:
            name = f"{number}.arrow"
            known = {one.__name__: one for one in _CLASSES}
            classes = [known[one] for one in self._said["classes"][name]]
            self._columns[number] = read_column(self._folder / name, length, classes)
        return self._columns[number]
