"""Faults in the operations on files: the n-th fails, for n = 1, 2, ... until the action passes untouched.

What our writers do to a disk goes through few functions of the standard library: they are wrapped, counted, and at one
of them the disk is full, broken, or read-only, a rename does not come about, half of the bytes are written, or the
process is gone.
"""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS")
KINDS = (*ERRORS, "short write", "failed rename", "gone")
OPERATIONS = ("open", "fsync", "replace", "rename", "unlink", "mkdir")
WRITING = ("open", "fsync", "replace")
"""Those whose failure nobody may pass over; what only clears up may."""
GONE = 137
"""Exit code of a process that was killed, as shells count it."""


class Fault:
    """Fails the ``at``-th operation on a file under ``under`` (everywhere, if left out), and only that one."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        at: int,
        kind: str = "ENOSPC",
        under: Path | None = None,
        operations: Sequence[str] = OPERATIONS,
    ) -> None:
        assert kind in KINDS
        self.left, self.kind, self.under = at, kind, under and str(under)
        self.seen: list[str] = []
        for name in operations:
            owner = builtins if name == "open" else os
            patch.setattr(owner, name, self._wrap(name, getattr(owner, name)))

    def _wrap(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(where: Any, *arguments: Any, **settings: Any) -> Any:
            if not self._counts(name, where, arguments):
                return operation(where, *arguments, **settings)
            self.left -= 1
            self.seen.append(name)
            if self.left == 0:
                self._fail(where)
            return operation(where, *arguments, **settings)

        return faulty

    def _counts(self, name: str, where: Any, arguments: tuple[Any, ...]) -> bool:
        if self.kind == "failed rename" and name not in ("replace", "rename"):
            return False
        if self.kind == "short write" and name != "fsync":
            return False
        if self.under is None:
            return True
        if name == "open" and not set("wax+") & set(str(arguments[0] if arguments else "r")):
            return False
        path = os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else os.fspath(where)
        return os.fsdecode(path).startswith(self.under)

    def _fail(self, where: Any) -> None:
        if self.kind == "gone":
            os._exit(GONE)
        if self.kind == "short write":  # what was written last is cut in half before it is synced
            path = os.readlink(f"/proc/self/fd/{where}")
            if os.path.isfile(path):
                os.truncate(path, os.path.getsize(path) // 2)
        code = getattr(errno, self.kind, errno.EIO)
        raise OSError(code, os.strerror(code))


def every_fault(
    action: Callable[[], object], check: Callable[[bool], None], kind: str = "ENOSPC", under: Path | None = None
) -> int:
    """Run ``action`` with a fault at each operation in turn; ``check`` hears if it succeeded. Returns their number."""
    for n in range(1, 500):
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, n, kind, under, WRITING)
            try:
                action()
                succeeded = True
            except OSError:
                succeeded = False
        assert succeeded == (fault.left > 0), f"the fault at operation {n} was swallowed"
        check(succeeded)
        if fault.left > 0:
            return n - 1
    raise AssertionError("the action never ran out of operations")
