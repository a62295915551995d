"""Every byte this package keeps is written here: whole or not at all, and with a hash that is checked on reading.

A file appears under its name only when it is complete and on disk: written beside it, synced, renamed, and the folder
synced. A folder is written the same way and carries a manifest with the size and hash of each of its files, because
neither safetensors nor torch notices a flipped bit. What a killed writer leaves behind is named after its process
(``name.tmp-<pid>``) and is cleared by the next writer of the same name. One process writes a given path at a time;
where several might, they take a :class:`Lock` first. POSIX only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from .locks import LOCK
from .reading import MALFORMED, opened, understood, whole
from .types import StorageError, UserError

MANIFEST = "MANIFEST.json"

Content = bytes | Callable[[Path], None]
"""What to put into a file: its bytes, or a function that writes them to the path it is given."""

Stamp = dict[str, int | str]
"""Size and hash of a file, as a manifest stores them."""


def atomic_write(path: Path, content: Content) -> None:
    """Create or replace ``path``; after a crash at any moment it holds all of the old bytes or all of the new."""
    settle(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "tmp")
    try:
        _fill(temporary, content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented UTF-8 JSON, atomically; a NaN is refused because other readers would refuse it."""
    atomic_write(path, as_json(value))


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Like :func:`write_json`, with the hash of ``value`` inside, so that :func:`read_sealed` sees any change."""
    atomic_write(path, as_sealed(value))


def as_sealed(value: Mapping[str, Any]) -> bytes:
    """What :func:`write_sealed` writes."""
    return as_json({"digest": _seal_of(value), **value})


def read_sealed(path: Path) -> dict[str, Any]:
    """What :func:`write_sealed` wrote, or a sentence that says the file was changed."""
    try:
        content = whole(path)
    except MALFORMED as error:
        raise StorageError(f"{path} is damaged: {error}; restore it from a copy or make it again") from error
    return parse_sealed(content, path)


def parse_sealed(content: bytes, path: Path) -> dict[str, Any]:
    """The same of the content of a file that is called ``path``."""
    try:
        value = json.loads(content)
        expected = value.pop("digest")
        actual = _seal_of(value)
    except MALFORMED as error:
        raise StorageError(f"{path} is damaged: {error}; restore it from a copy or make it again") from error
    if actual != expected:
        raise StorageError(_damaged(path, f"hash {expected}", f"hash {actual}"))
    return dict(value)


def write_folder(final: Path, files: Mapping[str, Content]) -> None:
    """Write ``files`` (by relative name) as a folder with a manifest; ``final`` appears complete or not at all.

    An existing ``final`` is replaced. That takes two renames: if the process dies between them, the next
    :func:`settle` puts the old folder back.
    """
    settle(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(final, "tmp")
    temporary.mkdir()
    try:
        for name, content in files.items():
            path = temporary / _relative(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            _fill(path, content)
        seal(temporary)
        _publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write or renew the manifest of ``folder``, over ``names`` or over all files that are there.

    Leave out of ``names`` what is still being appended to. Everything covered is synced before the manifest is.
    """
    covered = sorted(_content_of(folder) if names is None else names)
    for name in covered:
        _sync(folder / name)
    for parent in {folder / parent for name in covered for parent in PurePosixPath(name).parents}:
        _sync(parent)
    write_sealed(folder / MANIFEST, {"files": {name: stamp(folder / name) for name in covered}})


def verify(folder: Path) -> None:
    """Check every file of a sealed folder; raise :class:`UserError` with the file, and the expected and actual hash.

    Files that the manifest does not list are no concern of it.
    """
    for name, expected in read_manifest(folder).items():
        check(folder / name, expected)


def read_manifest(folder: Path) -> dict[str, Stamp]:
    """Stamps by file name; a folder without a manifest was never completed and is refused."""
    path = folder / MANIFEST
    if not path.is_file():
        raise StorageError(f"{folder} has no {MANIFEST}, so it was never written completely; make it again")
    sealed = read_sealed(path)
    with understood(path):
        stamps = {str(_relative(name)): dict(expected) for name, expected in sealed["files"].items()}
        if all({"size", "blake2b"} <= stamp.keys() for stamp in stamps.values()):
            return stamps
    raise StorageError(f"{path} does not say the size and the hash of each file; make it again")


def fingerprint(folder: Path, names: Iterable[str] | None = None) -> str:
    """Sixteen hex digits for the content of a sealed folder, or of ``names`` in it; reads the manifest only."""
    manifest = read_manifest(folder)
    chosen = sorted(manifest if names is None else names)
    missing = [name for name in chosen if name not in manifest]
    if missing:
        raise UserError(f"{folder / MANIFEST} does not list {missing[0]} (it lists: {', '.join(sorted(manifest))})")
    return _seal_of({name: manifest[name] for name in chosen})[:16]


def digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 64 hex digits."""
    with opened(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def stamp(path: Path) -> Stamp:
    """What a manifest says about one file."""
    return {"size": path.stat().st_size, "blake2b": digest(path)}


def check(path: Path, expected: Stamp, content: bool = True) -> None:
    """Compare a file with its stamp; ``content=False`` compares sizes only, which costs nothing on a large file."""
    if not path.is_file():
        raise StorageError(f"{path} is missing; restore it from a copy or make it again")
    size = path.stat().st_size
    if size != expected["size"]:
        raise StorageError(_damaged(path, f"{expected['size']} bytes", f"{size} bytes"))
    if content and (actual := digest(path)) != expected["blake2b"]:
        raise StorageError(_damaged(path, f"hash {expected['blake2b']}", f"hash {actual}"))


def cache_folder() -> Path:
    """Where this machine keeps what can be had again (XDG Base Directory); it may be deleted at any time."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "cospace"


def settle(final: Path) -> None:
    """Clear what dead writers of ``final`` left beside it, and put back a folder they had moved aside."""
    for left, kind in _leftovers(final):
        if kind == "old" and not final.exists():
            os.replace(left, final)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder: after a crash at any moment it is as it was, or gone, and :func:`settle` clears the rest."""
    settle(folder)
    if folder.is_dir():
        gone = _beside(folder, "tmp")
        os.replace(folder, gone)
        _sync(folder.parent)
        shutil.rmtree(gone)


def remove_up_to(folder: Path, top: Path) -> None:
    """Remove a folder, and those above it that are empty then, up to and with ``top``; what cannot be stays."""
    shutil.rmtree(folder, ignore_errors=True)
    above = [parent for parent in folder.parents if parent.is_relative_to(top)]
    with suppress(OSError):
        for parent in above:
            parent.rmdir()


def _fill(path: Path, content: Content) -> None:
    """Write and sync one new file; an error says which file, also where the system does not (a full disk)."""
    try:
        if isinstance(content, bytes):
            with open(path, "wb") as file:
                file.write(content)
        else:
            content(path)
        _sync(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _publish(temporary: Path, final: Path) -> None:
    """Rename a finished folder into place, with the folder that was there out of the way and back on failure."""
    old = _beside(final, "old")
    if final.exists():
        os.replace(final, old)
    try:
        os.replace(temporary, final)
    except OSError:
        if old.exists():
            os.replace(old, final)
        raise
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}-{os.getpid()}")


def _leftovers(final: Path) -> Iterator[tuple[Path, str]]:
    """Files and folders beside ``final`` whose writer is gone; this process itself counts as gone: it starts anew."""
    if not final.parent.is_dir():
        return
    pattern = re.compile(re.escape(final.name) + r"\.(tmp|old)-(\d+)")
    for name in sorted(os.listdir(final.parent)):
        match = pattern.fullmatch(name)
        if match and (int(match[2]) == os.getpid() or not alive(int(match[2]))):
            yield final.with_name(name), match[1]


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _content_of(folder: Path) -> list[str]:
    """Names of the files a manifest covers: all but the manifest, the lock, and what is being written."""
    passing = re.compile(r"\.(tmp|old)-\d+$")
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return [
        name.as_posix()
        for name in names
        if name.as_posix() not in (MANIFEST, LOCK) and not any(passing.search(part) for part in name.parts)
    ]


def _relative(name: str) -> PurePosixPath:
    """``name`` as a path that stays inside its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{name!r} is not a name inside a folder; use a relative path without '..'")
    return path


def as_json(value: Any) -> bytes:
    """What :func:`write_json` writes, for a file in :func:`write_folder`."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # of a file's name that is not UTF-8 JSON's own escapes remain


def _seal_of(value: Any) -> str:
    """Hash of plain data, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(canonical.encode("ascii"), digest_size=32).hexdigest()


def _damaged(path: Path, expected: str, actual: str) -> str:
    return f"{path} is damaged: expected {expected}, found {actual}; restore it from a copy or make it again"
