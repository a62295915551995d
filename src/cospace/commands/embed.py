"""Embedding as a job: into one file, by one or several processes, which may be killed at any moment.

The items are cut into parts, always the same ones, since a vector's last bits depend on what it is computed beside.
Each part is written whole into ``FILE.parts``, under a name that stands for its content and its model; whoever gives
the same command takes parts that nobody has done and no living process holds. The last to finish puts the file
together and removes the parts. So a killed job goes on, the same command given twice shares the work, and the file is
the same to the byte.

Items that cannot be decoded are set aside. So are those that hang the decoder, and those that end the process: a part
that was started before, and not finished, is decoded in a process of its own (see ``modalities/_isolation.py``).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import TimeoutError as TookTooLong
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .. import files, locks
from ..data.contents import digest
from ..data.counting import Counts
from ..data.pairs import Pairs
from ..data.prepared import without_encoder
from ..modalities import modality as modality_of
from ..modalities._isolation import prepare_isolated
from ..models.space import Space
from ..models.truncation import describe_untrained
from ..reading import opened, read_object, understood
from ..runs.run import Run
from ..runtime import cores
from ..stopping import current
from ..stores.entries import Entry, Input, count_entries, entries, read_input
from ..types import BadItem, Problem, Progress, UserError, attempted, silent
from .embed_files import array_writer, job_of, read_problems

PATIENCE = 60.0
"""Seconds that decoding one item may take."""

POLL = 0.2
"""Seconds between checks of what other processes have done."""

COLUMNS = ("id", "modality", "path", "text")


@dataclass(frozen=True, slots=True)
class Part:
    """Some items of one modality; ``key`` stands for all that its rows of the file depend on."""

    modality: str
    entries: Sequence[Entry]
    key: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A part that is this process's to do; ``waiting`` are its items, being prepared, unless it must be isolated."""

    part: Part
    lease: locks.Lock
    waiting: Sequence[AsyncResult[Tensor | BadItem]] | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a job did: how the input was read, what became of it, and what was set aside."""

    summary: Sequence[str]
    counts: Counts
    problems: Sequence[Problem]
    embedded: int
    """Rows of the file: one for each id that has a vector."""


def embed_to_file(
    run: Run,
    source: str | Path | Pairs | Input,
    out: str | Path,
    progress: Progress = silent,
) -> Embedded:
    """Write ids, modality, path, text and vectors of ``source`` to ``out``: ``.parquet`` or ``.npz``.

    What was set aside is listed in ``FILE.problems.jsonl`` as well.
    """
    out = Path(out)
    if out.suffix not in (".parquet", ".npz"):
        raise UserError(f"cannot write {out.name}; name a file that ends in .parquet or .npz")
    found = read_input(source, progress)
    by_modality = entries(found, run.space.modalities)
    if not any(by_modality.values()):
        named = source.spec if isinstance(source, Input) else source
        raise UserError(f"{named} holds nothing that this model can embed ({', '.join(run.space.modalities)})")
    if out.suffix == ".npz":
        _fits_npz(by_modality)
    listed = [*found.problems, *without_encoder(found, run.space.modalities)]
    parts = list(_parts(by_modality, run.space.identity))
    problems = Job(run.space, parts, listed, out, progress).run()
    failed = problems[len(listed) :]
    counts = count_entries(found, by_modality, listed, failed)
    embedded = sum(len(entry.items) for group in by_modality.values() for entry in group) - len(failed)
    return Embedded([*found.summary(counts), *describe_untrained(run.space)], counts, problems, embedded)


NPZ_MOST = 1 << 30
"""Bytes that a column of a .npz file may be larger than its texts."""


def _fits_npz(by_modality: dict[str, list[Entry]]) -> None:
    """Refuse early what a column of a .npz cannot hold well: each of its texts takes the place of the longest."""
    items = [item for found in by_modality.values() for entry in found for item in entry.items]
    for name in COLUMNS:
        lengths = [len(getattr(item, name)) for item in items]
        if 4 * (max(lengths) * len(lengths) - sum(lengths)) > NPZ_MOST:
            raise UserError(
                f"a {name} of {max(lengths):,} letters among {len(lengths):,} items would make a .npz of "
                f"{4 * max(lengths) * len(lengths) / 1e9:.1f} GB, which gives each as much room; write a .parquet file"
            )


def _parts(by_modality: dict[str, list[Entry]], fingerprint: str) -> Iterator[Part]:
    for modality, found in by_modality.items():
        size = modality_of(modality).job_size
        for start in range(0, len(found), size):
            some = found[start : start + size]
            items = [item for entry in some for item in entry.items]
            rows = [[item.id, item.path, item.text, item.hash] for item in items]
            yield Part(modality, some, digest([fingerprint.encode(), modality.encode(), json.dumps(rows).encode()]))


class Job:
    """The work on one file by this process; :meth:`run` returns when the file is there, whoever has finished it."""

    def __init__(
        self, space: Space, parts: Sequence[Part], problems: Sequence[Problem], out: Path, progress: Progress
    ) -> None:
        self.space, self.parts, self.problems, self.out, self.progress = space, parts, problems, out, progress
        self.folder = out.with_name(f"{out.name}.parts")
        self.set_aside = out.with_name(f"{out.name}.problems.jsonl")
        listed = json.dumps([asdict(problem) for problem in problems]).encode()
        self.key = digest([listed, *(part.key.encode() for part in parts)])
        self.left = list(parts)
        self.pools = [ThreadPool(cores())]
        self.stopping = current()
        self.share = locks.Lock(self.folder / "jobs" / self.key)

    def run(self) -> list[Problem]:
        """Work until the file is there; what was set aside. A signal ends it after the part at hand."""
        with self.stopping.finishing():
            return self._run()

    def _run(self) -> list[Problem]:
        try:
            while job_of(self.out) != self.key:
                (self.folder / "leases").mkdir(parents=True, exist_ok=True)
                if job_of(self.out) != self.key:  # once more, since another may have cleared up in between
                    self._register()
                    self._one_round()
        finally:
            for pool in self.pools:
                pool.terminate()
            self.share.release()
        self._clear()
        return read_problems(self.set_aside)

    def _register(self) -> None:
        """Have a share in the file, or be refused: while somebody writes it, all who do write the same."""
        jobs = self.folder / "jobs"
        try:
            (jobs / self.key).mkdir(parents=True, exist_ok=True)
            turn = locks.Lock(jobs)
            while not turn.attempt():  # a moment each
                time.sleep(POLL / 10)
            try:
                for other in (path for path in jobs.iterdir() if path.is_dir() and path.name != self.key):
                    lock = locks.Lock(other)
                    if not lock.attempt():
                        raise UserError(
                            f"{self.out} is being written by another job, of other items or by another model; wait "
                            "for it to end, or choose another --out"
                        )
                    lock.release()
                if not self.share.held:
                    self.share.attempt(shared=True)
            finally:
                turn.release()
        except FileNotFoundError:
            if self.folder.exists():
                raise  # otherwise another process has finished, and cleared up

    def _one_round(self) -> None:
        self.left = list(self.parts)
        try:
            self._work_off()
            self._assemble()
        except FileNotFoundError:
            if self.folder.exists():
                raise  # otherwise another process has finished, and cleared up

    def _work_off(self) -> None:
        """Do parts until all are done; items of the next are prepared while the model computes the one before."""
        taken: Taken | None = None
        while True:
            following = self._take()
            if taken is not None:
                self._do(taken)
            elif following is None:
                if not self.left:
                    return
                time.sleep(POLL)
            self._stop_if_asked(following)
            taken = following
            total = sum(len(part.entries) for part in self.parts)
            self.progress("embedding", total - sum(len(part.entries) for part in self.left), total)

    def _stop_if_asked(self, following: Taken | None) -> None:
        """Give back a part that was leased and not embedded, so that nobody takes it for one that ended a process."""
        if self.stopping.asked and following is not None:
            (self.folder / "leases" / following.part.key / "started").unlink(missing_ok=True)
            following.lease.release()
        total = sum(len(part.entries) for part in self.parts)
        done = total - sum(len(part.entries) for part in self.left if not self._is_done(part))
        self.stopping.reached(f"with {done:,} of {total:,} different items embedded")
        self.stopping.check()

    def _take(self) -> Taken | None:
        """Lease the first part that is neither done nor leased by a living process."""
        self.left = [part for part in self.left if not self._is_done(part)]
        for part in self.left:
            leased = self.folder / "leases" / part.key
            leased.mkdir(exist_ok=True)
            lease = locks.Lock(leased)
            if not lease.attempt():
                continue
            if self._is_done(part):  # meanwhile
                lease.release()
                continue
            started = (leased / "started").exists()
            (leased / "started").touch()
            pool = self.pools[-1]
            waiting = None if started else [pool.apply_async(self._prepare, (part, entry)) for entry in part.entries]
            return Taken(part, lease, waiting)
        return None

    def _prepare(self, part: Part, entry: Entry) -> Tensor | BadItem:
        return attempted(self.space.processors[part.modality].prepare, entry.raw)

    def _do(self, taken: Taken) -> None:
        """Embed a part and write it; it is done when its folder appears."""
        part = taken.part
        made = self._prepared(taken)
        kept = [place for place, result in enumerate(made) if not isinstance(result, BadItem)]
        bad = {place: result for place, result in enumerate(made) if isinstance(result, BadItem)}
        good = [result for result in made if not isinstance(result, BadItem)]
        vectors = list(self.space.embed_prepared(part.modality, iter(good)))
        vectors_NE = np.concatenate(vectors) if vectors else np.zeros((0, self.space.width), np.float32)
        problems = [
            asdict(Problem(item.id, error.kind, error.reason))
            for place, error in bad.items()
            for item in part.entries[place].items
        ]
        content: dict[str, files.Content] = {
            "vectors.npy": array_writer(vectors_NE),
            "part.json": files.as_json({"kept": kept, "problems": problems}),
        }
        files.write_folder(self.folder / part.key, content)
        taken.lease.release()

    def _prepared(self, taken: Taken) -> list[Tensor | BadItem]:
        if taken.waiting is not None:
            try:
                return [result.get(PATIENCE) for result in taken.waiting]
            except TookTooLong:  # its thread is lost, and cannot be stopped
                self.pools.append(ThreadPool(cores()))
        part = taken.part
        processor = self.space.processors[part.modality]
        return prepare_isolated(part.modality, [entry.raw for entry in part.entries], processor, PATIENCE)

    def _is_done(self, part: Part) -> bool:
        return (self.folder / part.key / files.MANIFEST).is_file()

    def _assemble(self) -> None:
        """Write the file from the parts, unless another process is doing that: then wait for it."""
        lock = locks.Lock(self.folder)
        while not lock.attempt():
            time.sleep(POLL)
        try:
            if job_of(self.out) == self.key:
                return
            checked = [self._checked(part) for part in self.parts]
            if None in checked:
                return  # a damaged part was removed: once more
            problems = [
                *map(asdict, self.problems),
                *(problem for one in checked if one for problem in one["problems"]),
            ]
            if problems:
                lines = [json.dumps(problem, ensure_ascii=False) for problem in problems]
                files.atomic_write(self.set_aside, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
            else:
                self.set_aside.unlink(missing_ok=True)
            kept = [
                [part.entries[place] for place in one["kept"]] for part, one in zip(self.parts, checked, strict=True)
            ]
            write = _write_parquet if self.out.suffix == ".parquet" else _write_npz
            files.atomic_write(self.out, lambda path: write(path, self, kept))
        finally:
            lock.release()

    def _checked(self, part: Part) -> Any:
        """What a part says of itself; one that is damaged is removed."""
        folder = self.folder / part.key
        try:
            files.verify(folder)
        except UserError:
            shutil.rmtree(folder)
            return None
        return read_object(folder / "part.json")

    def vectors_of(self, part: Part) -> np.ndarray:
        """``(n, E)`` of a part that is done."""
        path = self.folder / part.key / "vectors.npy"
        with understood(path), opened(path) as file:
            vectors_NE: np.ndarray = np.load(file, allow_pickle=False)
        return vectors_NE

    def _clear(self) -> None:
        """Remove the parts, at one stroke as others see it."""
        old = self.folder.with_name(f"{self.folder.name}.old-{os.getpid()}")
        try:
            os.replace(self.folder, old)
        except FileNotFoundError:
            return  # another process did
        shutil.rmtree(old)


def _for_each_id(vectors_NE: np.ndarray, kept: Sequence[Entry]) -> np.ndarray:
    """The vectors of entries, one for each of their ids."""
    return np.repeat(vectors_NE, [len(entry.items) for entry in kept], axis=0)


def _write_parquet(path: Path, job: Job, kept: Sequence[Sequence[Entry]]) -> None:
    """Part by part, so that memory does not grow with the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    width, facts = job.space.width, {"cospace.model": str(job.space.fingerprint), "cospace.job": job.key}
    fields = [*((name, pa.string()) for name in COLUMNS), ("embedding", pa.list_(pa.float32(), width))]
    schema = pa.schema(fields, metadata=facts)
    with path.open("wb") as file, pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for part, some in zip(job.parts, kept, strict=True):
            vectors = pa.FixedSizeListArray.from_arrays(
                pa.array(_for_each_id(job.vectors_of(part), some).ravel()), width
            )
            columns = {name: [getattr(item, name) for entry in some for item in entry.items] for name in COLUMNS}
            writer.write_table(pa.table({**columns, "embedding": vectors}, schema=writer.schema))


def _write_npz(path: Path, job: Job, kept: Sequence[Sequence[Entry]]) -> None:
    items = [item for some in kept for entry in some for item in entry.items]
    arrays: dict[str, Any] = {name: np.array([getattr(item, name) for item in items], np.str_) for name in COLUMNS}
    vectors_NE = np.concatenate(
        [_for_each_id(job.vectors_of(part), some) for part, some in zip(job.parts, kept, strict=True)]
    )
    arrays |= {"model": np.array(str(job.space.fingerprint)), "job": np.array(job.key)}
    with path.open("wb") as file:
        np.savez(file, embedding=vectors_NE, **arrays)
