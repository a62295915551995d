"""Columns from Arrow data: parquet files and whatever else pyarrow opens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...columns import ColumnWriter
from ...reading import MALFORMED, opened
from ...types import UserError
from ._packed import refuse_stand_in

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, Sequence[Any]]

_TOGETHER = 1024
"""Rows that are taken out of Arrow data at a time: they may be large, such as the bytes of images."""


def read_parquet(paths: Sequence[Path]) -> Columns:
    """The columns of parquet files of one schema, in order. Raises :class:`UserError` that names a broken file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: dict[str, ColumnWriter] | None = None
    for path in paths:
        try:
            # A file object, since pyarrow given a path also reads columns from the names of the folders above it.
            with opened(path) as file:
                refuse_stand_in(file.read(512), path)
                parquet = pq.ParquetFile(file)
                writers = _agreeing(writers, parquet.schema_arrow.names, path, paths[0])
                names = class_names(parquet.schema_arrow.metadata or {})
                for group in range(parquet.num_row_groups):  # one reader of all groups keeps what it has read
                    for batch in parquet.iter_batches(_TOGETHER, row_groups=[group]):
                        add_rows(writers, batch, names)
        except (pa.ArrowException, *MALFORMED) as error:
            raise UserError(f"{path} is not a whole parquet file: {error}") from error
    return {name: writer.finish() for name, writer in (writers or {}).items()}


def merge(tables: Sequence[pa.Table], paths: Sequence[Path]) -> Columns:
    """The columns of tables read from ``paths``, which must agree on their columns."""
    writers: dict[str, ColumnWriter] | None = None
    for table, path in zip(tables, paths, strict=True):
        writers = _agreeing(writers, table.column_names, path, paths[0])
        for batch in table.to_batches(_TOGETHER):
            add_rows(writers, batch, class_names(table.schema.metadata or {}))
    return {name: writer.finish() for name, writer in (writers or {}).items()}


def _agreeing(
    writers: dict[str, ColumnWriter] | None, names: Sequence[str], path: Path, first: Path
) -> dict[str, ColumnWriter]:
    if writers is None:
        return {name: ColumnWriter() for name in names}
    if list(names) != list(writers):
        raise UserError(f"{path} has other columns ({', '.join(names)}) than {first}")
    return writers


def add_rows(writers: Mapping[str, ColumnWriter], batch: pa.RecordBatch, names: Mapping[str, Sequence[str]]) -> None:
    """Some rows, with class numbers replaced by the names they stand for."""
    for name, writer in writers.items():
        known = names.get(name)
        for value in batch.column(name).to_pylist():
            named = known is not None and isinstance(value, int) and 0 <= value < len(known)
            writer.append(known[value] if named and known is not None else value)


def plain_columns(table: pa.Table, names: Mapping[str, Sequence[str]]) -> Columns:
    """A table as columns, with class numbers replaced by the names they stand for."""
    writers = {name: ColumnWriter() for name in table.column_names}
    for batch in table.to_batches(_TOGETHER):
        add_rows(writers, batch, names)
    return {name: writer.finish() for name, writer in writers.items()}


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
