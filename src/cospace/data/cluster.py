"""Work on many items by the machines of a cluster, which read the items themselves; without one, by this process.

What is done to items is a function of a shard, that is of a few file names, and what comes back is small: hashes,
measurements, which items are copies. So no item travels between machines, and a machine that is lost costs the shards
that it was at. Who works is said once, around all of it (:func:`on_cluster`), and asked for where it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..types import Fault, Lazy

Shard = TypeVar("Shard")
Made = TypeVar("Made")


class Cluster(Protocol):
    """What a cluster has to do."""

    def map(
        self, work: Callable[[Shard], Made], shards: Iterable[Shard], lost: Callable[[Shard], Made] | None = None
    ) -> Iterator[Made]:
        """What ``work`` makes of each shard, in order; ``work`` and shards are sent, so both must be picklable.

        A shard is worked on again where its worker has died. What dies every time is given to ``lost``; without it,
        :class:`~cospace.types.UserError`.
        """


_CLUSTER: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


def cluster() -> Cluster | None:
    """The cluster that works for this process, if there is one."""
    return _CLUSTER.get()


@contextmanager
def on_cluster(working: Cluster) -> Iterator[None]:
    """Within this block, shards are worked on by a cluster."""
    before = _CLUSTER.set(working)
    try:
        yield
    finally:
        _CLUSTER.reset(before)


def is_sent(item: Any) -> bool:
    """Whether an item is small: only named, so that another machine can read it, absent, or known to be of no use."""
    return item is None or isinstance(item, Path | Lazy | Fault)
