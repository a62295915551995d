"""Where an index lives: in a folder, or in a schema of a PostgreSQL server. Each keeps vectors, previews and model."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, Protocol, cast

from .. import files
from ..reading import read_bytes
from ..types import StorageError, UserError
from . import Index, postgres
from ._versions import check_newest
from .local import LocalIndex, check_settings
from .thumbnails import LocalThumbnails, Thumbnails

CONTENT = {"model", "vectors", "feedback.jsonl"} | {f"thumbnails.sqlite{suffix}" for suffix in ("", "-wal", "-shm")}
"""What may lie in the folder of an index."""


class IndexLocation(Protocol):
    """The place of one index, whether or not it is there yet."""

    @property
    def name(self) -> str:
        """As people type it, without a password."""

    def there(self) -> bool:
        """Whether an index is here."""

    def open(self, fingerprint: str | None = None, thorough: bool = False) -> Index:
        """The vectors; those of another run than ``fingerprint`` are refused."""

    def create(self, model: Path, fingerprint: str, width: int, precision: str) -> Index:
        """A new index with a copy of the model's folder."""

    def remove(self) -> None:
        """Take back what :meth:`create` has made: an index that nothing was stored in, or nothing shall be."""

    def model(self) -> Path:
        """A folder with the index's copy of the model, complete."""

    def thumbnails(self) -> Thumbnails:
        """The previews."""


def location_of(target: str | Path) -> IndexLocation:
    """The place that ``target`` names: ``postgresql://...`` or a folder."""
    text = str(target)
    if text.startswith(("postgresql://", "postgres://")):
        return ServerLocation(text)
    return FolderLocation(Path(target))


class FolderLocation:
    """An index in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return str(self.path)

    def there(self) -> bool:
        return any((self.path / "vectors" / "versions").glob("*.json"))

    def open(self, fingerprint: str | None = None, thorough: bool = False) -> Index:
        return LocalIndex.open(self.path / "vectors", fingerprint=fingerprint, thorough=thorough)

    def create(self, model: Path, fingerprint: str, width: int, precision: str) -> Index:
        check_settings(width, precision)
        files.settle(self.path / "model")
        if self.path.exists() and not {path.name for path in self.path.iterdir()} <= CONTENT:
            raise UserError(f"{self.path} is not empty and holds no index; choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        paths = [path for path in sorted(model.rglob("*")) if path.is_file() and path.name != files.MANIFEST]
        try:
            files.write_folder(self.path / "model", {str(path.relative_to(model)): read_bytes(path) for path in paths})
            return LocalIndex.create(self.path / "vectors", fingerprint, width, cast(Any, precision))
        except OSError:  # a full disk
            self.remove()
            raise

    def remove(self) -> None:
        for name in sorted(CONTENT - {"feedback.jsonl"}):
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something else lies there
            self.path.rmdir()

    def model(self) -> Path:
        files.settle(self.path / "model")
        if not (self.path / "model").is_dir() or not (self.path / "vectors").is_dir():
            made = f"cospace index RUN FILES --out {quote(self.name)}"
            raise StorageError(f"{self.path} is no index; make one with: {made}")
        check_newest(self.path / "vectors")
        return self.path / "model"

    def thumbnails(self) -> Thumbnails:
        return LocalThumbnails.open(self.path / "thumbnails.sqlite")


class ServerLocation:
    """An index in a schema of a PostgreSQL server; its model is read once into a folder of this machine."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def name(self) -> str:
        return postgres.shown(self.url)

    def there(self) -> bool:
        return postgres.exists(self.url)

    def open(self, fingerprint: str | None = None, thorough: bool = False) -> Index:
        return postgres.PostgresIndex.open(self.url, fingerprint)

    def create(self, model: Path, fingerprint: str, width: int, precision: str) -> Index:
        postgres.write_model(self.url, model)  # first: what is created is an index, and complete
        return postgres.PostgresIndex.create(self.url, fingerprint, width, precision)

    def remove(self) -> None:
        postgres.remove(self.url)

    def model(self) -> Path:
        if not self.there():
            raise StorageError(f"{self.name} holds no index; make one with: cospace index RUN FILES --out ADDRESS")
        with postgres.PostgresIndex.open(self.url) as store:
            folder = cached_models() / store.fingerprint
        files.settle(folder)
        if folder.is_dir():
            try:
                files.verify(folder)
            except UserError:
                shutil.rmtree(folder)
        if not folder.is_dir():
            postgres.read_model(self.url, folder)
        return folder

    def thumbnails(self) -> Thumbnails:
        return postgres.PostgresThumbnails(self.url)


def cached_models() -> Path:
    """Where this machine keeps the models of indexes on servers, by fingerprint."""
    return files.cache_folder() / "models"
