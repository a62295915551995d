"""Which shards a person names: a file, a folder, a pattern, here or at an address."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ...filenames import escaped
from ...types import UserError
from ..sources import huggingface, tar
from . import SUFFIXES, Shard, remote

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_WILD = re.compile(r"[*?\[]")


def is_remote(spec: str) -> bool:
    """Whether a text is an address of object storage, of which shards are fetched."""
    match = _ADDRESS.fullmatch(spec)
    return match is not None and match[1].lower() in remote.PROTOCOLS


def find_shards(specs: Sequence[str]) -> list[Shard] | None:
    """The shards that all of these name together, in order of name; nothing where one is of another kind, or none.

    Raises :class:`UserError` where shards are meant and there are none, or where they cannot be streamed together.
    """
    found = []
    for spec in specs:
        here = _remote(spec) if is_remote(spec) else _local(spec.removeprefix("file://"))
        if here is None:
            return None
        found += here
    addresses = dict.fromkeys(address for address, _, _ in found)
    if len(addresses) < len(found):
        raise UserError("a shard is named twice; name each once")
    suffixes = {Path(address).suffix.lower() for address in addresses}
    if len(suffixes) > 1:
        return None
    above = _above(list(addresses))
    shards = [Shard(escaped(address[above:]), address, size, version) for address, size, version in found]
    return sorted(shards, key=lambda shard: shard.name)


def _above(addresses: Sequence[str]) -> int:
    """How many letters of all addresses are the folder that they have in common."""
    first, last = min(addresses), max(addresses)  # what these two share, all between them do
    shared = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:shared].rfind("/") + 1


Found = list[tuple[str, int, str]]
"""Address, bytes and version."""


def _local(spec: str) -> Found | None:
    paths = _paths(spec)
    return None if paths is None else [(str(path), path.stat().st_size, "") for path in paths]


def _paths(spec: str) -> list[Path] | None:
    path = Path(spec)
    if path.is_dir():
        if tar.Config.accepts(spec):
            return tar.shards_of(spec)
        if huggingface.Config.accepts(spec):
            return huggingface.Config(path=spec).parquet_files()
        return None
    if path.suffix.lower() not in SUFFIXES or (path.suffix == ".tar" and not tar.Config.accepts(spec)):
        return None
    if not path.exists() and not re.search(r"[*?{\[]", spec):
        return None
    found = []
    for name in tar.expand(spec):
        matches = [name] if Path(name).exists() else sorted(glob.glob(name))
        if not matches:
            raise UserError(f"{name} does not exist; check the name or the pattern of the shards")
        found += [Path(match) for match in matches]
    return found


def _remote(spec: str) -> Found:
    match = _ADDRESS.fullmatch(spec)
    assert match is not None
    protocol = match[1].lower()
    store, paths = remote.store_of(protocol), tar.expand(match[2])
    named = [path for path in paths if not _WILD.search(path) and path.lower().endswith(SUFFIXES)]
    found = store.named(named)
    for path in (path for path in paths if path not in set(named)):
        files = _matching(store, spec, path)
        if not files:
            raise UserError(f"{protocol}://{path} holds no tar shards and no parquet files; check the address")
        found += files
    return [(f"{protocol}://{one.path}", one.size, one.version) for one in found]


def _matching(store: remote.Store, spec: str, path: str) -> list[remote.RemoteFile]:
    """The shards in a folder, or those of them whose names match a pattern."""
    folder, _, last = path.rpartition("/")
    if _WILD.search(folder):
        raise UserError(f"{spec}: a pattern may stand in the last part of an address only")
    if _WILD.search(last):
        files = [one for one in store.files(folder) if fnmatchcase(one.path.rpartition("/")[2], last)]
        return [one for one in files if one.path.lower().endswith(SUFFIXES)]
    listed = store.files(path.rstrip("/"))
    files = next((kind for s in SUFFIXES if (kind := [one for one in listed if one.path.lower().endswith(s)])), [])
    if not files or files[0].path.lower().endswith(".tar"):
        return files
    wanted = set(huggingface.Config(path=spec).of_split([Path(one.path) for one in files]))
    return [one for one in files if Path(one.path) in wanted]
