"""Hugging Face data sets: by name through the optional ``datasets`` library, or as a folder on this machine.

Folders need nothing but pyarrow: what ``save_to_disk`` wrote (Arrow streams), or parquet files as on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...columns import column_of
from ...config import Config as BaseConfig
from ...filenames import as_utf8
from ...reading import read_json
from ...types import UserError
from . import AS_FOUND, ReadOptions, Rows
from ._columns import Table
from ._parquet import Columns, features_with_names, merge, plain_columns, read_parquet
from ._survey import SPLITS, holds_items

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX = "hf:"
_SHARD = re.compile(r"(?P<split>.+?)-\d+-of-\d+(-[0-9a-f]+)?")


class Config(BaseConfig):
    """``hf:NAME`` or ``hf:NAME:SPLIT`` on the hub, or a folder; without a split it is ``train``, or the only one."""

    offers: ClassVar[str] = "a Hugging Face data set (hf:NAME, hf:NAME:SPLIT, or a folder that the library saved)"

    path: str
    split: str | None = None
    options: ReadOptions = AS_FOUND

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By the prefix ``hf:``; a folder by the files that the library leaves, or by parquet files."""
        folder = Path(spec)
        if not folder.is_dir():
            return spec.startswith(_PREFIX)
        return _is_saved(folder) or (bool(_parquet_in(folder)) and not holds_items(folder, shards=True))

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Config:
        options.only(spec, "columns", "root", "form")
        name, _, split = spec.removeprefix(_PREFIX).partition(":") if spec.startswith(_PREFIX) else (spec, "", "")
        return cls(path=name, split=split or None, options=options)

    def read(self) -> Rows:
        """List the rows of the split. Raises :class:`UserError` when it cannot be found or read."""
        folder = Path(self.path)
        if not folder.is_dir():
            columns = self._from_hub()
        elif _is_saved(folder):
            columns = self._from_saved(folder)
        else:
            columns = read_parquet(self.of_split(_parquet_in(folder)))
        count = len(next(iter(columns.values()), []))
        ids = column_of(f"{folder.name}:{row}" for row in range(1, count + 1))
        return Table(self.path, folder, ids, columns, self.options).rows()

    def parquet_files(self) -> list[Path] | None:
        """The files of the split, where it is a folder of parquet files."""
        folder = Path(self.path)
        if not folder.is_dir() or _is_saved(folder):
            return None
        return self.of_split(_parquet_in(folder))

    def of_split(self, paths: Sequence[Path]) -> list[Path]:
        """Of parquet files those of the split, by their names; all of them where these name no splits."""
        found = _by_split(paths)
        if self.split is None and not {name.casefold() for name in found} & SPLITS and paths:
            return list(paths)
        return found[self._choose(list(found))]

    def _choose(self, splits: Sequence[str]) -> str:
        if not splits:
            raise UserError(f"hf:{self.path} holds no parquet files; write hf:OWNER/NAME, or hf:FOLDER of such files")
        wanted = self.split or ("train" if "train" in splits else splits[0])
        if wanted not in splits or (self.split is None and wanted != "train" and len(splits) > 1):
            raise UserError(f"{self.path} has the splits {', '.join(splits)}; name one as {_PREFIX}{self.path}:SPLIT")
        return wanted

    def _from_saved(self, folder: Path) -> Columns:
        if (folder / "dataset_dict.json").exists():
            folder = folder / self._choose(read_json(folder / "dataset_dict.json")["splits"])
        paths = [folder / file["filename"] for file in read_json(folder / "state.json")["_data_files"]]
        return merge([_open_stream(path) for path in paths], paths)

    def _from_hub(self) -> Columns:
        try:
            import datasets  # type: ignore[import-not-found,unused-ignore]
        except ImportError as error:
            raise UserError(
                f"{_PREFIX}{self.path} needs the datasets library: pip install cospace[hf], or give a folder"
            ) from error
        try:
            loaded = datasets.load_dataset(self.path, split=self.split or "train")
        except (OSError, ValueError) as error:  # no network, no such name, no such split
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            raise UserError(f"{_PREFIX}{self.path} cannot be loaded: {reason}") from error
        return plain_columns(loaded.data.table, features_with_names(loaded.features.to_dict()))


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists()


def _parquet_in(folder: Path) -> list[Path]:
    """Parquet files here, or else in ``data``."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def _by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Parquet files by split, as the hub names them (``train-00000-of-00002.parquet``)."""
    files: dict[str, list[Path]] = {}
    for path in paths:
        shard = _SHARD.fullmatch(path.stem)
        split = (
            shard["split"] if shard else "train" if path.stem.isdigit() else path.stem
        )  # img2dataset counts its files
        files.setdefault(split, []).append(path)
    return files


def _open_stream(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        with as_utf8(path) as name, pa.memory_map(name) as file, pa.ipc.open_stream(file) as stream:
            return stream.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
