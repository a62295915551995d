"""Locks of the kernel: the right to write a folder, or to change a file that others read, until the holder ends."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from .types import UserError

LOCK = "LOCK"
"""The file in a folder whose lock is the right to write it."""


class Lock:
    """The right to write a folder, held by one process at a time: ``with Lock(folder): ...``.

    The kernel releases it when the holder dies, however it dies, so no lock is ever stale; processes that it has forked
    have no part in it. A second taker is refused at once with the holder's process id. The lock file
    stays: removing it would let two processes lock two files. A folder has several rights where locks of several names
    are taken.
    """

    def __init__(self, folder: Path, name: str = LOCK) -> None:
        self._folder, self._name = folder, name
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """True between :meth:`acquire` and :meth:`release`."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or raise :class:`UserError` that names who has it; never waits for the holder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.attempt():
            raise UserError(
                f"{self._folder} is being written by process {_holder(self._folder / self._name)}; wait for it to end, "
                "or stop it"
            )

    def attempt(self, shared: bool = False) -> bool:
        """Take the lock of a folder that exists, or return false because another process has it.

        Several processes may have a ``shared`` one; together they keep out whoever wants it alone.
        """
        descriptor = os.open(self._folder / self._name, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())
        self._descriptor = descriptor
        _HELD.add(self)
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self.forget()

    def forget(self) -> None:
        """Have no part in it any more; another process that has goes on holding it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _HELD.discard(self)


_HELD: WeakSet[Lock] = WeakSet()


def _forget_all() -> None:
    """A worker that a loader forked would keep the lock of a process that was killed, until it notices that."""
    for lock in list(_HELD):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


class SharedLock:
    """The right to read something, which many hold together, or to change it, which one holds alone.

    It is the lock of a file beside it, which the kernel releases when the holder dies; the file stays. Who forgets
    the object has released it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def attempt(self, alone: bool) -> bool:
        """Take the lock, or change from one kind to the other; false where others do not allow it now."""
        assert self._descriptor is not None, "it was released"
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it was given back before."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _holder(path: Path) -> str:
    """Who holds the lock; waits a moment for a holder that has locked the file but not yet written its name."""
    for _ in range(20):
        name = path.read_text(encoding="utf-8", errors="replace").strip()
        if name:
            return name
        time.sleep(0.01)
    return "(unnamed)"
