"""A Ray cluster: connecting to one, and shards of work by its processors.

What the machines must share is the file system: workers read the input by the names that this process has for it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..types import UserError

Shard = TypeVar("Shard")
Made = TypeVar("Made")

ANSWER = 10.0
"""Seconds that a cluster may take to answer."""

AHEAD = 4
"""Shards that wait for each processor, so that none waits for us."""

RETRIES = 3
"""Times that a shard whose worker has died is worked on again."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected: ``auto`` for the cluster of this machine, ``HOST:PORT``, or ``local`` for one of its own.

    One that was started here is ended afterwards. Raises :class:`UserError` where there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray needs Ray: pip install 'cospace[ray]'") from error
    try:
        _answers(address)
        own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise UserError(
            f"there is no Ray cluster at {address} ({reason}); start one with `ray start --head`, or say --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Raise ``OSError`` where nobody listens at ``HOST:PORT``, which Ray would go on asking for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()


class RayCluster:
    """The processors of a connected cluster, a shard each at a time (:class:`cospace.data.cluster.Cluster`)."""

    def __init__(self, ray: Any, read: Sequence[Path] = ()) -> None:
        """``read`` are files and folders that every worker has to see."""
        self._ray, self._seen = ray, tuple(str(path) for path in (Path.cwd(), *read))
        self._most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(
        self, work: Callable[[Shard], Made], shards: Iterable[Shard], lost: Callable[[Shard], Made] | None = None
    ) -> Iterator[Made]:
        """What ``work`` makes of each shard, in order; see :class:`cospace.data.cluster.Cluster`."""
        remote = self._ray.remote(_worked).options(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")
        waiting: deque[tuple[Shard, Any]] = deque()
        try:
            for shard in shards:
                waiting.append((shard, remote.remote(self._seen, work, shard)))
                if len(waiting) >= self._most:
                    yield self._received(*waiting.popleft(), lost)
            while waiting:
                yield self._received(*waiting.popleft(), lost)
        finally:
            for _, answer in waiting:  # somebody has asked for the end
                self._ray.cancel(answer)

    def _received(self, shard: Shard, answer: Any, lost: Callable[[Shard], Made] | None) -> Made:
        from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

        try:
            made: Made = self._ray.get(answer)
            return made
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from error
        except WorkerCrashedError as error:
            if lost is not None:
                return lost(shard)
            raise _cannot_go_on(error) from error
        except RayError as error:
            raise _cannot_go_on(error) from error


def _cannot_go_on(error: Exception) -> UserError:
    reason = str(error).split("\n", 1)[0]
    return UserError(f"the workers of the Ray cluster cannot go on: {reason}; run the same command again")


def _worked(seen: Sequence[str], work: Callable[[Shard], Made], shard: Shard) -> Made:
    """What a worker does, where names mean what they mean to the process that has sent them."""
    for path in seen:
        if not Path(path).exists():
            raise UserError(
                f"a worker of the Ray cluster does not see {path}; have the input on a file system that all its "
                "machines share, and start there"
            )
    os.chdir(seen[0])
    return work(shard)
