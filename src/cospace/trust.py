"""Whose code may run: cospace's own parts, and the modules that a person has named.

A run, an index or a recipe file that somebody else made names its encoders and its objective. A dotted name there
(``mylab.towers.vit``) would import a module, and importing runs it. So a module is imported only where the person named
it: in a setting on their command line, by ``--trust MODULE``, or by ``trust=`` in Python. See ``docs/decisions/0026``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .types import UserError

MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
"""The dotted name of a module; with a leading or a double dot, Python would look elsewhere."""

_trusted: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


@contextmanager
def trusting(modules: Iterable[str]) -> Iterator[None]:
    """Allow these modules, and what lies in them, to be imported as parts while the block runs.

    The consent ends with the block, and another thread does not inherit it: it is given for one thing that is opened.
    """
    if isinstance(modules, str):
        modules = [modules]
    named = frozenset(modules)
    for module in named:
        if not MODULE.fullmatch(module):
            raise UserError(f"{module!r} is not the name of a module; name one like mylab.towers, as Python imports it")
    token = _trusted.set(_trusted.get() | named)
    try:
        yield
    finally:
        _trusted.reset(token)


def need_trust(module: str, called: str) -> None:
    """Refuse to import ``module`` for one of the parts ``called`` so, unless the person has named it."""
    if not MODULE.fullmatch(module):
        raise UserError(f"{module!r} is not the name of a module, so it cannot be used in {called}")
    parents = module.split(".")
    if _trusted.get().isdisjoint(".".join(parents[:depth]) for depth in range(1, len(parents) + 1)):
        raise UserError(
            f"{module} in {called} is no part of cospace, and importing it runs its code; if you trust whoever wrote "
            f"it, give the command again with --trust {module} (in Python: trust=[{module!r}])"
        )
