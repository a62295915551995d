"""A power loss: what was written and not synced is not there, and names that were not synced are the old ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest


class PowerLoss:
    """Watches the writing below a folder; :meth:`strike` leaves there what a disk would have kept.

    A file that was not synced since it was written is half as long. A rename whose folder was not synced afterwards did
    not take place.
    """

    def __init__(self, patch: pytest.MonkeyPatch, under: Path) -> None:
        self.under = str(under)
        self._synced: set[tuple[int, int]] = set()
        self._renames: list[tuple[str, str, bytes | None]] = []
        self._before = {self._inode(path) for path in under.rglob("*")} if under.exists() else set()
        self._fsync, self._replace = os.fsync, os.replace
        patch.setattr(os, "fsync", self._sync)
        patch.setattr(os, "replace", self._rename)

    @staticmethod
    def _inode(path: str | Path) -> tuple[int, int]:
        status = os.stat(path)
        return status.st_ino, status.st_mtime_ns

    def _sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not path.startswith(self.under):
            return
        if os.path.isdir(path):
            self._renames = [one for one in self._renames if str(Path(one[1]).parent) != path]
        else:
            self._synced.add(self._inode(path))

    def _rename(self, source: Any, target: Any, **settings: Any) -> None:
        one, two = os.fspath(source), os.fspath(target)
        if one.startswith(self.under):
            kept = Path(two).read_bytes() if os.path.isfile(two) else None
            self._renames.append((one, two, kept))
        self._replace(source, target, **settings)

    def strike(self) -> None:
        """The disk as the next start finds it."""
        for source, target, kept in reversed(self._renames):
            if os.path.exists(target) and not os.path.exists(source):
                shutil.move(target, source)
                if kept is not None:
                    Path(target).write_bytes(kept)
        for path in sorted(Path(self.under).rglob("*")):
            if path.is_file() and self._inode(path) not in self._synced | self._before:
                os.truncate(path, path.stat().st_size // 2)
