"""A folder of files (images, sounds): captions in ``.txt`` files beside them, folders named by class, or neither."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from ...config import Config as BaseConfig
from ...types import UserError
from . import Rows, file_kinds, modality_of_file
from ._layout import Layout

_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".parquet"})
_FOREIGN = frozenset({".arrow", ".parquet", ".tar"})
_SAVED = frozenset({"dataset_dict.json", "dataset_info.json", "questions.json"})


class Config(BaseConfig):
    """A folder, searched to any depth; hidden files and files of other kinds are ignored.

    Every line of a ``.txt`` file that is not blank is a caption of the image beside it.
    """

    offers: ClassVar[str] = (
        f"a folder of {file_kinds()} (captions in .txt files beside them, or folders named by class)"
    )

    path: Path

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Any folder, unless its own files show it to be a data set in another form."""
        path = Path(spec)
        if not path.is_dir() or any(path.glob("data/*.parquet")):
            return False
        return not any(file.suffix in _FOREIGN or file.name in _SAVED for file in path.iterdir())

    @classmethod
    def from_spec(cls, spec: str, columns: Mapping[str, str] | None = None, separator: str | None = None) -> Config:
        if columns or separator:
            raise UserError(f"{spec} is a folder and has neither columns nor separators; leave the setting out")
        return cls(path=Path(spec))

    def read(self) -> Rows:
        """List the files and read the captions. Raises :class:`UserError` where the folder's meaning is open."""
        tables = sorted(p.name for p in self.path.iterdir() if p.suffix.lower() in _TABLES)
        if tables:
            raise UserError(f"{self.path} holds tables; name the one you mean, e.g. {self.path / tables[0]}")
        layout = Layout(str(self.path))
        for path in _files(self.path):
            name = path.relative_to(self.path).as_posix()
            stem = name[: -len(path.suffix)]
            modality = modality_of_file(path)
            if modality is not None:
                layout.add(stem, modality, name, path)
            elif path.suffix.lower() == ".txt":
                layout.captions[stem] = _captions(path)
        return layout.rows()


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, in the order of their names, which is the same on every machine."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith(".") and Path(name).suffix)


def _captions(path: Path) -> list[str]:
    """The lines of a file that are not blank; a file without any gives one empty caption, to be set aside."""
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()] or [""]
