"""What people name that no source reads: what it is, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from ..modalities import all_modalities
from .sources import modality_of_file

_ARCHIVES = {".zip", ".rar", ".7z"}
_SHEETS = {".xlsx", ".xls", ".xlsm", ".ods", ".numbers"}
_DATA = {
    ".arrow", ".feather", ".orc", ".avro", ".h5", ".hdf5", ".npy", ".npz", ".pkl", ".pickle", ".db", ".sqlite",
    ".sqlite3", ".lmdb", ".tfrecord", ".rds", ".mat",
}  # fmt: skip


def meant(spec: str) -> str | None:
    """What ``spec`` is, and what to name instead, after its name in a sentence; nothing where it is unknown."""
    if spec.startswith(("http://", "https://", "s3://", "gs://", "gcs://", "az://", "abfs://")):
        return (
            "is an address; download it and name the file or folder (`cospace train` alone streams tar shards and "
            "parquet files from object storage)"
        )
    if spec.startswith("file://"):
        return f"is a path written as an address; name the path: {spec.removeprefix('file://')}"
    path = Path(spec)
    if not path.exists():
        if spec.startswith("~"):
            return "does not exist; a shell replaces ~ only where it stands without quotes"
        return "is a pattern, which is not read; name the folder" if set(spec) & set("*?") else None
    return _of_file(path) if path.is_file() else None


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        return "is an archive that is not read as it is; unpack it and name the folder"
    if suffix in _SHEETS:
        return "is a spreadsheet; save it as CSV and name that"
    if suffix in _DATA:
        return "is not read; save it as a table, .parquet or .csv, and name that"
    if suffix == ".txt":
        return "is a text that does not begin like a table of files, such as image,caption; save it as .csv or .tsv"
    nouns = {one.name: one.noun for one in all_modalities()}
    name = modality_of_file(path)
    return None if name is None else f"is one {nouns[name]}; name the folder that it lies in: {path.parent}"
