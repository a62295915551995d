"""Where an index lives: in a folder, in LanceDB, or on a PostgreSQL server. Each keeps vectors, previews and model."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, Protocol, cast, runtime_checkable
from zipfile import BadZipFile

from .. import files, locks
from ..reading import read_bytes, read_object
from ..types import StorageError, UserError
from . import Index, Progress, _lance_blobs, lance, postgres, saved, silent
from ._lance_tables import PREFIX, REMOTE, SUFFIX
from ._lance_versions import TABLE
from ._server import MAKING, Server
from ._versions import check_newest
from .ann import Ann
from .lexicon import Lexicon
from .local import LocalIndex, check_settings
from .thumbnails import LocalThumbnails, Thumbnails

CALIBRATION = "relevance.json"
"""What was calibrated on the captions of an index, beside it."""

CONTENT = {
    locks.LOCK,
    "model",
    "vectors",
    "feedback.jsonl",
    "shelf.jsonl",
    "lexicon.npz",
    CALIBRATION,
    saved.FOLDER,
} | {f"thumbnails.sqlite{suffix}" for suffix in ("", "-wal", "-shm")}
"""What may lie in the folder of an index."""


@runtime_checkable
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

    def reserved(self) -> AbstractContextManager[None]:
        """A block in which no other process makes an index here; :class:`UserError` at once where one does."""

    def lexicon(self, store: Index, progress: Progress = silent) -> Lexicon:
        """The words of the version that ``store`` is open at, kept beside the index, or on this machine."""

    def forget_lexicon(self, store: Index) -> None:
        """Remove the words that are kept, since some of them are nobody's any more; they are made anew when needed."""

    def calibration(self) -> dict[str, Any]:
        """What :meth:`calibrate` has kept; empty where nothing was."""

    def calibrate(self, found: Mapping[str, Any]) -> None:
        """Keep what was calibrated on the captions of this index."""

    def saved(self) -> saved.SavedFiles:
        """What people saved beside it."""


def location_of(target: str | Path, ann: str | None = None) -> IndexLocation:
    """The place that ``target`` names: ``postgresql://...``, ``lance:...``, ``s3://...`` or a folder.

    A folder that holds an index in LanceDB is one without the ``lance:`` too. ``ann`` chooses the kind of vector index
    (see :mod:`.ann`) that is built when the index is next brought up to date; it is remembered there.
    """
    text = str(target)
    if text.startswith(("postgresql://", "postgres://")):
        return ServerLocation(text, ann)
    if text.startswith((PREFIX, *REMOTE)) or (Path(target) / f"{TABLE}{SUFFIX}").is_dir():
        return LanceLocation(text, ann)
    if ann is not None:
        raise UserError(f"the index in a folder has one kind of vector index; leave out {ann!r}, or use lance:{target}")
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

    def reserved(self) -> AbstractContextManager[None]:
        return _reserved(self.path, self.there)

    def remove(self) -> None:
        for name in sorted(CONTENT - {"feedback.jsonl", "shelf.jsonl", saved.FOLDER}):
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

    def lexicon(self, store: Index, progress: Progress = silent) -> Lexicon:
        return _kept(self.path / "lexicon.npz", store, progress)

    def forget_lexicon(self, store: Index) -> None:
        (self.path / "lexicon.npz").unlink(missing_ok=True)

    def calibration(self) -> dict[str, Any]:
        path = self.path / CALIBRATION
        return read_object(path) if path.is_file() else {}

    def calibrate(self, found: Mapping[str, Any]) -> None:
        files.write_json(self.path / CALIBRATION, dict(found))

    def saved(self) -> saved.SavedFiles:
        return saved.LocalSaved(self.path / saved.FOLDER)


class ServerLocation:
    """An index in a schema of a PostgreSQL server; its model is read once into a folder of this machine."""

    def __init__(self, url: str, ann: str | None = None) -> None:
        self.url = url
        self._ann = None if ann is None else Ann.parse(ann, postgres.ANN_KINDS)

    @property
    def name(self) -> str:
        return postgres.shown(self.url)

    def there(self) -> bool:
        return postgres.exists(self.url)

    def open(self, fingerprint: str | None = None, thorough: bool = False) -> Index:
        return self._chosen(postgres.PostgresIndex.open(self.url, fingerprint))

    def create(self, model: Path, fingerprint: str, width: int, precision: str) -> Index:
        postgres.write_model(self.url, model)  # first: what is created is an index, and complete
        return self._chosen(postgres.PostgresIndex.create(self.url, fingerprint, width, precision))

    def _chosen(self, store: postgres.PostgresIndex) -> Index:
        if self._ann is not None:
            store.choose_ann(str(self._ann))
        return store

    def remove(self) -> None:
        postgres.remove(self.url)

    def model(self) -> Path:
        if not self.there():
            raise StorageError(f"{self.name} holds no index; make one with: cospace index RUN FILES --out ADDRESS")
        with postgres.PostgresIndex.open(self.url) as store:
            fingerprint = store.fingerprint
        return _model_on_this_machine(fingerprint, partial(postgres.read_model, self.url))

    def reserved(self) -> AbstractContextManager[None]:
        return Server(self.url).locked(MAKING)

    def thumbnails(self) -> Thumbnails:
        return postgres.PostgresThumbnails(self.url)

    def lexicon(self, store: Index, progress: Progress = silent) -> Lexicon:
        return _kept(_cached_lexicon(self.name, store), store, progress)

    def forget_lexicon(self, store: Index) -> None:
        _cached_lexicon(self.name, store).unlink(missing_ok=True)

    def calibration(self) -> dict[str, Any]:
        return postgres.read_facts(self.url, CALIBRATION)

    def calibrate(self, found: Mapping[str, Any]) -> None:
        postgres.write_facts(self.url, CALIBRATION, found)

    def saved(self) -> saved.SavedFiles:
        return saved.PostgresSaved(self.url)


class LanceLocation:
    """An index in LanceDB, in a folder or on object storage; its model is read once into a folder of this machine."""

    def __init__(self, target: str, ann: str | None = None) -> None:
        self.target = target
        self._ann = None if ann is None else Ann.parse(ann, lance.ANN_KINDS)
        self.path = lance.folder(target)
        """Its folder; none on object storage."""

    @property
    def name(self) -> str:
        return lance.shown(self.target)

    def there(self) -> bool:
        return lance.exists(self.target)

    def open(self, fingerprint: str | None = None, thorough: bool = False) -> Index:
        return self._chosen(lance.LanceIndex.open(self.target, fingerprint))

    def create(self, model: Path, fingerprint: str, width: int, precision: str) -> Index:
        if self.path is not None and self.path.exists() and not lance.is_blank(self.path):
            raise UserError(f"{self.path} is not empty and holds no index in LanceDB; choose another --out")
        lance.check_settings(width, precision)
        _lance_blobs.write_model(self.target, model)  # first: what is created is an index, and complete
        return self._chosen(lance.LanceIndex.create(self.target, fingerprint, width, precision))

    def _chosen(self, store: lance.LanceIndex) -> Index:
        if self._ann is not None:
            store.choose_ann(str(self._ann))
        return store

    def remove(self) -> None:
        lance.remove(self.target)

    def model(self) -> Path:
        store = lance.LanceIndex.open(self.target)
        return _model_on_this_machine(store.fingerprint, partial(_lance_blobs.read_model, self.target))

    def reserved(self) -> AbstractContextManager[None]:
        if self.path is None:
            return nullcontext()  # object storage has no locks: who is second is refused by the records
        return _reserved(self.path, self.there, lance.MAKING)

    def thumbnails(self) -> Thumbnails:
        return _lance_blobs.LanceThumbnails(self.target)

    def lexicon(self, store: Index, progress: Progress = silent) -> Lexicon:
        return _kept(_cached_lexicon(self.name, store), store, progress)

    def forget_lexicon(self, store: Index) -> None:
        _cached_lexicon(self.name, store).unlink(missing_ok=True)

    def calibration(self) -> dict[str, Any]:
        return _lance_blobs.read_facts(self.target, CALIBRATION)

    def calibrate(self, found: Mapping[str, Any]) -> None:
        _lance_blobs.write_facts(self.target, CALIBRATION, found)

    def saved(self) -> saved.SavedFiles:
        return _lance_blobs.LanceSaved(self.target)


@contextmanager
def _reserved(folder: Path, there: Callable[[], bool], name: str = locks.LOCK) -> Iterator[None]:
    """A lock in a folder, which is gone again where no index came to be."""
    before = (folder / name).exists()
    with locks.Lock(folder, name):
        try:
            yield
        finally:
            if not before and not there():
                with suppress(OSError):  # something else lies there, or the folder is gone
                    (folder / name).unlink()
                    folder.rmdir()


def _model_on_this_machine(fingerprint: str, read: Callable[[Path], None]) -> Path:
    """The copy of a model on this machine, read where it is missing or damaged."""
    folder = cached_models() / fingerprint
    files.settle(folder)
    if folder.is_dir():
        try:
            files.verify(folder)
        except UserError:
            shutil.rmtree(folder)
    if not folder.is_dir():
        read(folder)
    return folder


def _cached_lexicon(name: str, store: Index) -> Path:
    """Where this machine keeps the words of an index that is elsewhere."""
    called = hashlib.sha256(f"{name} {store.fingerprint}".encode()).hexdigest()[:32]
    return files.cache_folder() / "lexicons" / f"{called}.npz"


def _kept(path: Path, store: Index, progress: Progress) -> Lexicon:
    """The words of a version from a file; where it holds others, from the captions, and written if that is allowed."""
    with suppress(UserError, ValueError, KeyError, BadZipFile):  # damaged: it is made again
        if (kept := Lexicon.load(path, store.version)) is not None:
            return kept
    made = Lexicon.of(store, progress)
    with suppress(OSError, StorageError):  # a read-only index is served all the same
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save(path)
    return made


def cached_models() -> Path:
    """Where this machine keeps the models of indexes on servers, by fingerprint."""
    return files.cache_folder() / "models"
