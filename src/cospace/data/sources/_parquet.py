"""Columns from Arrow data: parquet files and whatever else pyarrow opens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...reading import MALFORMED, opened
from ...types import UserError
from ._packed import refuse_stand_in

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, list[Any]]


def read_parquet(paths: Sequence[Path]) -> Columns:
    """The columns of parquet files of one schema, in order. Raises :class:`UserError` that names a broken file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        try:
            # A file object, since pyarrow given a path also reads columns from the names of the folders above it.
            with opened(path) as file:
                refuse_stand_in(file.read(512), path)
                tables.append(pq.ParquetFile(file).read())
        except (pa.ArrowException, *MALFORMED) as error:
            raise UserError(f"{path} is not a whole parquet file: {error}") from error
    return merge(tables, paths)


def merge(tables: Sequence[pa.Table], paths: Sequence[Path]) -> Columns:
    """The columns of tables read from ``paths``, which must agree on their columns."""
    for table, path in zip(tables, paths, strict=True):
        if table.column_names != tables[0].column_names:
            raise UserError(f"{path} has other columns ({', '.join(table.column_names)}) than {paths[0]}")
    parts = [plain_columns(table, class_names(table.schema.metadata or {})) for table in tables]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]} if parts else {}


def plain_columns(table: pa.Table, names: Mapping[str, Sequence[str]]) -> Columns:
    """A table as Python lists, with class numbers replaced by the names they stand for."""
    columns: Columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for column in names.keys() & columns.keys():
        known = names[column]
        columns[column] = [known[v] if isinstance(v, int) and 0 <= v < len(known) else v for v in columns[column]]
    return columns


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of numbered classes, by column, from the note that Hugging Face's library leaves in a schema."""
    try:
        note = json.loads(metadata.get(b"huggingface", b"{}"))
        return features_with_names(note.get("info", {}).get("features", {}))
    except MALFORMED:  # a note that somebody else left, without which the numbers stay numbers
        return {}


def features_with_names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The columns whose description, as plain data, lists the names of classes."""
    return {
        column: f["names"] for column, f in features.items() if isinstance(f, dict) and isinstance(f.get("names"), list)
    }
