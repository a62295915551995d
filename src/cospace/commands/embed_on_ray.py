"""Embedding on a Ray cluster: the job of :mod:`.embed`, by a worker for every GPU, or for every few processors.

Workers are copies of the one job. They share its work through the folder of its parts, read the input and write the
parts themselves, so that no item travels between machines, and the file is the same to the byte as that of one
process. A worker that is killed costs the part that it was at: Ray starts it again, and the others go on. What the
machines must share is the file system.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..runs.run import NamedRun
from ..stores.entries import Input
from ..types import Progress, UserError, silent
from .embed import POLL, Embedded, embed_to_file
from .ray_cluster import connected

PROCESSORS = 4
"""Of each worker where there is no GPU: decoding and small towers gain little from more."""

RETRIES = 100
"""Times that a worker which dies is started again; an item that ends processes is isolated after its first time."""


def embed_on_ray(
    run: NamedRun,
    source: Input,
    out: Path,
    address: str = "local",
    workers: int | None = None,
    progress: Progress = silent,
) -> Embedded:
    """:func:`~cospace.commands.embed.embed_to_file` by a cluster's workers; the run and ``out`` lie where all see them.

    ``address`` is Ray's: ``auto`` for the cluster of this machine, ``HOST:PORT``, or ``local`` for one that is started
    here and ended afterwards. Raises :class:`UserError` where there is no cluster, or a worker does not see the files.
    """
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers cannot do anything; leave --workers out, or give at least 1")
    run, out = replace(run, path=run.path.absolute()), out.absolute()
    spec = Path(source.spec)
    source = replace(source, spec=str(spec.absolute()) if spec.exists() else str(source.spec))
    with connected(address) as ray, _marked(out.parent) as mark:
        resources = ray.cluster_resources()
        gpus, processors = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        count = workers or gpus or math.ceil(processors / PROCESSORS)
        options = {"num_cpus": max(1, processors // count), "num_gpus": min(1.0, gpus / count) if gpus else 0}
        reached = ray.remote(_Reached).options(num_cpus=0).remote()
        worker = ray.remote(_work).options(**options, max_retries=RETRIES, scheduling_strategy="SPREAD")
        started = [worker.remote(run, source, str(out), str(mark), reached) for _ in range(count)]
        return _finished(ray, started, reached, progress)


def _finished(ray: Any, started: list[Any], reached: Any, progress: Progress) -> Embedded:
    """Wait for all workers, and pass on how far they are."""
    from ray.exceptions import RayError, RayTaskError

    made: Embedded | None = None
    try:
        while started:
            done, started = ray.wait(started, timeout=POLL)
            made = ray.get(done[0]) if done else made
            progress("embedding", *ray.get(reached.read.remote()))
        _, total = ray.get(reached.read.remote())
        progress("embedding", total, total)  # what a worker said last may still be under way
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        raise
    except RayError as error:
        reason = str(error).split("\n", 1)[0]
        raise UserError(f"the workers of the Ray cluster cannot go on: {reason}; run the same command again") from error
    assert made is not None, "there is at least one worker"
    return made


def _work(run: NamedRun, source: Input, out: str, mark: str, reached: Any) -> Embedded:
    """One copy of the job, in a process that Ray has started."""
    for path in (str(run.path), mark):
        if not Path(path).exists():
            raise UserError(
                f"a worker of the Ray cluster does not see {Path(path).parent}; name a run and an --out on a file "
                "system that all its machines share"
            )
    last = [0]

    def reported(what: str, done: int, total: int) -> None:
        if what == "embedding" and done != last[0]:
            last[0] = done
            reached.write.remote(done, total)

    return embed_to_file(run.open(), source, out, reported)


class _Reached:
    """How far the job is, as the worker says that knows the most."""

    def __init__(self) -> None:
        self._done, self._total = 0, 1

    def write(self, done: int, total: int) -> None:
        self._done, self._total = max(self._done, done), total

    def read(self) -> tuple[int, int]:
        return self._done, self._total


@contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """A file by which a worker knows that it sees the folder in which the result is to lie."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".cospace-{secrets.token_hex(8)}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
