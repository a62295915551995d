"""Fault injection: the n-th file operation fails, for n = 1, 2, ... until the action passes untouched."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable

import pytest


class Fault:
    """Fails the ``at``-th file operation with the error of a full disk, and only that one."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        patch.setattr(os, "fsync", self._wrap(os.fsync))
        patch.setattr(os, "replace", self._wrap(os.replace))
        patch.setattr(builtins, "open", self._wrap(open))

    def _wrap(self, operation: Callable[..., object]) -> Callable[..., object]:
        def faulty(*arguments: object, **settings: object) -> object:
            self.left -= 1
            if self.left == 0:
                raise OSError(28, "No space left on device")
            return operation(*arguments, **settings)

        return faulty


def every_fault(action: Callable[[], object], check: Callable[[bool], None]) -> int:
    """Run ``action`` with a fault at each operation in turn; ``check`` hears if it succeeded. Returns their number."""
    for n in range(1, 200):
        with pytest.MonkeyPatch.context() as patch:
            fault = Fault(patch, n)
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
