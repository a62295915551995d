"""Approximate search in a large index: our stores, FAISS, usearch and LanceDB in turns, on the same vectors.

    python benchmarks/search.py --vectors 1000000 --rounds 3
    python benchmarks/search.py --quick

Vectors have latent structure, as encoders give it: clusters in a few dimensions, pushed through a random curved map. A
graph finds little among independent random vectors, and nobody searches those. Queries are drawn alike and are not in
the index; truth is a full matrix in float32. Every graph has 16 links a row (32 on its lowest level).

Each system builds once, and then opens and searches in a process of its own, in turns, round by round; for every
effort (the rows that a search keeps in sight: ours ``effort``, FAISS ``efSearch``, pgvector ``hnsw.ef_search``; of an
inverted file, as many are refined, and a partition is read for every sixteen) it answers all queries one at a time, and
as one batch with all threads. A ratio compares queries a second, one at a time, at the smallest effort whose recall@10
reaches the goal. One at a time is measured on the CPU clock of the thread, so that other work on the machine counts
less, and a server's on the wall's. Memory is what the process holds after its searches, the pages of mapped files
included and named by themselves; of PostgreSQL, the server's processes together. What a file leaves in the system's
cache without being mapped is not counted: our float32 vectors, of which a query reads a dozen.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import frame
from cospace.stores import Index, Item
from cospace.stores._segment import Precision
from cospace.stores.lance import LanceIndex
from cospace.stores.local import LocalIndex
from cospace.stores.postgres import PostgresIndex
from database import database
from search_peers import NEAREST, PART, WIDTH, Faiss, LanceLibrary, Opened, Place, System, Usearch

LATENT, CENTRES = 24, 1000
EFFORTS = (16, 24, 32, 40, 48, 64, 96, 128, 256, 512)
SERVER = {"shared_buffers": "4GB", "maintenance_work_mem": "4GB", "max_wal_size": "8GB"}
QUICK_SERVER = {"shared_buffers": "128MB"}


@dataclass(frozen=True, slots=True)
class Point:
    """One effort: the share of the true ten nearest that is found, and queries a second, alone and in a batch."""

    effort: int
    recall: float
    alone: float
    batch: float


@dataclass(frozen=True, slots=True)
class Run:
    """What one process measured."""

    opened: float
    memory: int
    points: tuple[Point, ...]
    mapped: int = 0
    """Of ``memory`` the pages of files."""


def main() -> None:
    """Build everything, take turns, compare at equal recall."""
    options = arguments()
    count = options.vectors or (20_000 if options.quick else 1_000_000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_data(folder, count, options.queries or (200 if options.quick else 1000))
        server = stack.enter_context(database(QUICK_SERVER if options.quick else SERVER))
        address = f"{server.tcp}#benchmark"
        places = {name: Place(folder, folder / name, server.folder, address) for name in options.systems}
        built = {name: in_own_process(build, name, place) for name, place in places.items()}
        runs: dict[str, list[Run]] = {name: [] for name in options.systems}
        for number in range(frame.rounds(options)):
            for name in frame.rotated(options.systems, number):
                runs[name].append(in_own_process(measure, name, places[name]))
    results = rows(f"{count:,} x {WIDTH}", built, runs, options.goal)
    for result in results:
        print(result.line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--vectors", type=int, help="rows of the index (default: 1,000,000; --quick: 20,000)")
    parser.add_argument("--queries", type=int, help="how many are asked (default: 1,000; --quick: 200)")
    parser.add_argument("--goal", type=float, default=0.95, help="recall@10 to compare at (default: 0.95)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="only some of them")
    return parser.parse_args()


def latent(count: int, seed: int) -> np.ndarray:
    """Unit vectors ``(count, 256)``, equal for an equal seed: noisy clusters in 24 dimensions on a curved surface."""
    shared, made = np.random.default_rng(0), np.random.default_rng([1, seed])
    centres = shared.normal(size=(CENTRES, LATENT))
    first = shared.normal(size=(LATENT, 64)) / LATENT**0.5
    second = shared.normal(size=(64, WIDTH)) / 8
    inner = centres[made.integers(0, CENTRES, count)] + 0.7 * made.normal(size=(count, LATENT))
    vectors_NE = np.tanh(inner @ first) @ second
    units_NE: np.ndarray = vectors_NE / np.linalg.norm(vectors_NE, axis=1, keepdims=True)
    return units_NE.astype(np.float32)


def make_data(folder: Path, count: int, queries: int) -> None:
    """Write the vectors, the queries and the true nearest rows of each."""
    vectors_NE = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(count, WIDTH))
    for start in range(0, count, PART):
        vectors_NE[start : start + PART] = latent(min(PART, count - start), start + 1)
    vectors_NE.flush()
    queries_QE = latent(queries, 0)
    np.save(folder / "queries.npy", queries_QE)
    np.save(folder / "truth.npy", true_nearest(vectors_NE, queries_QE))


def true_nearest(vectors_NE: np.ndarray, queries_QE: np.ndarray) -> np.ndarray:
    """Rows ``(Q, 10)`` by a full matrix."""
    best = [
        (torch.from_numpy(queries_QE) @ torch.from_numpy(np.array(vectors_NE[start : start + PART])).T).topk(
            min(NEAREST, len(vectors_NE) - start)
        )
        for start in range(0, len(vectors_NE), PART)
    ]
    scores = torch.cat([part.values for part in best], dim=1)
    found = torch.cat([part.indices + PART * number for number, part in enumerate(best)], dim=1)
    rows_QK: np.ndarray = found.gather(1, scores.topk(NEAREST).indices).numpy()
    return rows_QK


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of true rows that were found."""
    return float(np.mean([len(set(some) & set(true)) / len(true) for some, true in zip(found, truth, strict=True)]))


def in_own_process(work: Callable[..., Any], *given: Any) -> Any:
    """The result of ``work`` in a new process: libraries disturb each other, and memory is to be its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def build(name: str, place: Place) -> float:
    """Seconds from vectors to an index that can be opened."""
    vectors_NE = np.load(place.data / "vectors.npy", mmap_mode="r")
    seconds = frame.timed(lambda: SYSTEMS[name].build(vectors_NE, place))
    print(f"  {name}: built in {seconds:.1f} s", flush=True)
    return seconds


def measure(name: str, place: Place) -> Run:
    """Open and search with every effort."""
    queries_QE, truth = np.load(place.data / "queries.npy"), np.load(place.data / "truth.npy")
    start = time.perf_counter()
    system = SYSTEMS[name].open(place)
    system.search(queries_QE[:1], EFFORTS[0])
    seconds = time.perf_counter() - start
    points, held = [], (0, 0)
    clock = time.thread_time if list(system.processes) == [os.getpid()] else time.perf_counter
    for effort in EFFORTS:
        system.search(queries_QE[:20], effort)
        start = clock()
        for query in range(len(queries_QE)):
            system.search(queries_QE[query : query + 1], effort)
        alone = len(queries_QE) / (clock() - start)
        start = time.perf_counter()
        found = system.search(queries_QE, effort)
        batch = len(queries_QE) / (time.perf_counter() - start)
        held = resident(system.processes), resident(system.processes, "Pss_File:")
        points.append(Point(effort, recall(system.rows(found), truth), alone, batch))
    print(f"  {name}: {curve(points)}", flush=True)
    return Run(seconds, held[0], tuple(points), held[1])


@dataclass(frozen=True, slots=True)
class Ours:
    """The store in a folder."""

    precision: Precision = "float32"

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add in parts, and finish."""
        with LocalIndex.create(place.index, "benchmark", WIDTH, self.precision) as index:
            fill(index, vectors_NE)

    def open(self, place: Place) -> Opened:
        """Without comparing hashes, as a service opens a large index."""
        return opened(LocalIndex.open(place.index, thorough=False), [os.getpid()])


@dataclass(frozen=True, slots=True)
class OnServer:
    """The store on PostgreSQL with pgvector."""

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add in parts, and finish."""
        with PostgresIndex.create(place.url, "benchmark", WIDTH) as index:
            fill(index, vectors_NE)

    def open(self, place: Place) -> Opened:
        """Connect."""
        return opened(PostgresIndex.open(place.url), server_processes(place.server))


@dataclass(frozen=True, slots=True)
class InLance:
    """The store in LanceDB, with one kind of vector index."""

    kind: str

    def build(self, vectors_NE: np.ndarray, place: Place) -> None:
        """Add in parts, and finish, which also measures."""
        with LanceIndex.create(str(place.index), "benchmark", WIDTH) as index:
            index.choose_ann(self.kind)
            fill(index, vectors_NE)

    def open(self, place: Place) -> Opened:
        """Open the newest version."""
        return opened(LanceIndex.open(str(place.index)), [os.getpid()])


OURS = "cospace"
SYSTEMS: dict[str, System] = {
    OURS: Ours(),
    "cospace bfloat16": Ours("bfloat16"),
    "PostgreSQL store (pgvector)": OnServer(),
    "LanceDB store (ivf_rq)": InLance("ivf_rq"),
    "LanceDB store (ivf_pq)": InLance("ivf_pq"),
    "LanceDB store (ivf_hnsw_sq)": InLance("ivf_hnsw_sq:m=16,ef_construction=128"),
    "FAISS HNSW": Faiss(),
    "FAISS HNSW float16": Faiss("float16"),
    "usearch float16": Usearch(),
    "LanceDB IVF_RQ": LanceLibrary("ivf_rq"),
    "LanceDB IVF_PQ": LanceLibrary("ivf_pq"),
    "LanceDB IVF_HNSW_SQ": LanceLibrary("ivf_hnsw_sq"),
}


def fill(index: Index, vectors_NE: np.ndarray) -> None:
    """Add every row under its number, and finish."""
    for start in range(0, len(vectors_NE), PART):
        part_NE = vectors_NE[start : start + PART]
        index.add([Item(str(start + row), "image") for row in range(len(part_NE))], part_NE)
    index.finish()


def opened(index: LocalIndex | PostgresIndex | LanceIndex, processes: Sequence[int]) -> Opened:
    """How one of our stores is asked; its numbers are turned into rows after the clock has stopped."""

    def search(queries_QE: np.ndarray, effort: int) -> np.ndarray:
        index.effort = effort
        return index.nearest(queries_QE, NEAREST).numbers_QK

    def rows_of(numbers_QK: np.ndarray) -> np.ndarray:
        names, places = np.unique(numbers_QK, return_inverse=True)
        return np.array([int(item.id) for item in index.items(names.tolist())])[places].reshape(numbers_QK.shape)

    return Opened(search, rows_of, processes)


def server_processes(folder: Path) -> list[int]:
    """The server of a data folder and its children."""
    first = int((folder / "data" / "postmaster.pid").read_text().split("\n")[0])
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *(int(child) for child in children)]


def resident(processes: Sequence[int], kind: str = "Pss:") -> int:
    """Bytes of memory that processes hold together, what they share counted once; ``Pss_File:`` those of files."""
    total = 0
    for process in processes:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))
    return total


def curve(points: Sequence[Point]) -> str:
    """All points in words."""
    return "; ".join(f"{p.effort}: {p.recall:.3f} at {p.alone:,.0f}/s, {p.batch:,.0f}/s batched" for p in points)


def speed(run: Run, goal: float) -> float | None:
    """Queries a second, one at a time, at the smallest effort that reaches the goal; none where none does."""
    return next((point.alone for point in run.points if point.recall >= goal), None)


def rows(work: str, built: Mapping[str, float], runs: Mapping[str, Sequence[Run]], goal: float) -> list[frame.Result]:
    """Ours beside every other: speed at equal recall, and building; then what each one is like by itself."""
    results = []
    for name in [name for name in runs if name != OURS]:
        pairs = [(speed(own, goal), speed(other, goal)) for own, other in zip(runs[OURS], runs[name], strict=True)]
        both = [(own, other) for own, other in pairs if own and other]
        words = f"{work}, recall@{NEAREST} >= {goal:g}, one query at a time"
        if len(both) < len(pairs):
            results.append(frame.alone(f"{words}, against {name}", "one of the two does not reach it", len(pairs)))
            continue
        ours, others = (statistics.median(side) for side in zip(*both, strict=True))
        ratio = frame.spread([own / other for own, other in both])
        results.append(frame.Result(words, f"{ours:,.0f}/s", name, f"{others:,.0f}/s", ratio, len(both)))
        ratio = frame.spread([built[name] / built[OURS]])
        results.append(frame.Result(f"{work}, build", f"{built[OURS]:.3g} s", name, f"{built[name]:.3g} s", ratio, 1))
    for name, own in runs.items():
        first = statistics.median(run.opened for run in own)
        held = statistics.median(run.memory for run in own) / 2**20
        mapped = statistics.median(run.mapped for run in own) / 2**20
        words = (
            f"built in {built[name]:.3g} s, first answer after {first:.3g} s, "
            f"{held:,.0f} MiB, of which {mapped:,.0f} are mapped files; {curve(own[0].points)}"
        )
        results.append(frame.alone(f"{work}, {name}", words, len(own)))
    return results


if __name__ == "__main__":
    main()
