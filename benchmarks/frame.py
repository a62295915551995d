"""Ours beside its peers, in turns and on the same work: ratios with their spread, one row each in a table.

A single timing says little on a shared machine, where speed drifts by tens of per cent. So ours and every peer take
turns within one process, the order rotates from round to round, and what is reported is the median of the rounds' own
ratios with the smallest and the largest of them.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cospace import files
from cospace.runtime import describe, device

ROOT = Path(__file__).resolve().parents[1]

SLOWEST = 3.0
"""A peer's variant that takes so many times as long as the peers' fastest is left out after its warm-up."""

HEAD = """\
# Benchmarks

Ours beside its peers, in turns within one run, on the same work. A ratio is the median over the rounds of the peer's
time over ours (above 1: ours is faster), with the smallest and the largest in brackets; n is the number of rounds.
Warm-up is left out unless the row says otherwise. `benchmarks/README.md` says what each benchmark does and how fair it
is. Newest last.

| date | benchmark | work | ours | peer | peer's | ratio | n | command | machine |
|---|---|---|---|---|---|---|---|---|---|
"""

Work = Callable[[], object]
"""What one contestant does in a round."""


@dataclass(frozen=True, slots=True)
class Result:
    """Ours beside one peer in words: a line to read and a row of the table."""

    work: str
    ours: str
    peer: str
    peers: str
    ratio: str
    rounds: int

    def line(self) -> str:
        """One line for the terminal."""
        if self.peer == "-":
            return f"{self.work}: {self.ours}, n={self.rounds}"
        return f"{self.work}: {self.ours} against {self.peers} ({self.peer}): {self.ratio}, n={self.rounds}"


def alone(work: str, ours: str, rounds: int = 1) -> Result:
    """A figure of ours that no peer stands beside."""
    return Result(work, ours, "-", "-", "-", rounds)


@dataclass(frozen=True, slots=True)
class Task:
    """What a round is, for the table, and its amount in some unit, e.g. 256 ``images``; with no unit, its seconds."""

    work: str
    amount: float = 1
    unit: str = ""

    def shown(self, seconds: float) -> str:
        """A round of so many seconds in words."""
        return f"{self.amount / seconds:.4g} {self.unit}/s" if self.unit else f"{seconds:.3g} s"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of ours and of one peer for the same task, round by round."""

    task: Task
    peer: str
    ours_seconds: Sequence[float]
    peer_seconds: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as long the peer took, per round."""
        return [peer / ours for ours, peer in zip(self.ours_seconds, self.peer_seconds, strict=True)]

    def result(self) -> Result:
        """Medians of both, and the median ratio with its range."""
        ours, peers = (self.task.shown(statistics.median(times)) for times in (self.ours_seconds, self.peer_seconds))
        return Result(self.task.work, ours, self.peer, peers, spread(self.ratios), len(self.ratios))


def spread(ratios: Sequence[float]) -> str:
    """The median with its range, e.g. ``4.1x (3.9-4.4)``."""
    return f"{statistics.median(ratios):.3g}x ({min(ratios):.3g}-{max(ratios):.3g})"


def alternate(
    ours: Work, peers: Mapping[str, Work], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds a round of ours, and of every peer by name.

    Everyone runs once untimed first. Of several peers, those :data:`SLOWEST` times slower than the fastest end there,
    since they would only cost time.
    """
    contestants: dict[str, Work] = {"": ours, **peers}
    trial = {name: timed(work, clock) for name, work in contestants.items()}
    kept = contenders({name: trial[name] for name in peers})
    for name in peers:
        if name not in kept:
            print(f"  left out: {name}, {trial[name] / min(trial[n] for n in peers):.1f} times the fastest peer's time")
    names = ["", *kept]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in rotated(names, number):
            seconds[name].append(timed(contestants[name], clock))
    return seconds[""], {name: seconds[name] for name in kept}


def timed(work: Work, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that one call takes, what it left running on an accelerator included."""
    start = clock()
    work()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return clock() - start


def contenders(trial: Mapping[str, float]) -> list[str]:
    """The peers that are worth timing, in their order."""
    return [name for name, seconds in trial.items() if seconds <= SLOWEST * min(trial.values())]


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The names from the ``number``-th on, and around: nobody always runs first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def compare(task: Task, ours: Work, peers: Mapping[str, Work], rounds: int) -> list[Result]:
    """Ours in turns with all peers, printed: one result a peer."""
    ours_seconds, by_peer = alternate(ours, peers, rounds)
    results = [Comparison(task, peer, ours_seconds, seconds).result() for peer, seconds in by_peer.items()]
    for result in results:
        print(result.line(), flush=True)
    return results


def parser(documentation: str | None) -> argparse.ArgumentParser:
    """What every benchmark takes from the command line."""
    options = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    options.add_argument("--quick", action="store_true", help="the short form: small amounts, few rounds")
    options.add_argument("--rounds", type=int, help="timed rounds (default: 5, or 3 with --quick)")
    options.add_argument("--table", type=Path, default=ROOT / "docs" / "benchmarks.md", help="where rows are added")
    return options


def rounds(options: argparse.Namespace) -> int:
    """How many timed rounds were asked for."""
    return int(options.rounds or (3 if options.quick else 5))


def record(results: Sequence[Result], table: Path) -> None:
    """Add a row a result to the table, with the command that this process runs, the machine and the date."""
    name = Path(sys.argv[0]).stem
    where = f"{describe(device())}, {torch.get_num_threads()} threads"
    rows = [row(name, result, shown(sys.argv), where) for result in results]
    before = table.read_text(encoding="utf-8") if table.exists() else HEAD
    table.parent.mkdir(parents=True, exist_ok=True)
    files.atomic_write(table, (before + "".join(rows)).encode())


def row(name: str, result: Result, command: str, machine: str) -> str:
    """One line of the table."""
    cells = [
        time.strftime("%Y-%m-%d"), name, result.work, result.ours, result.peer, result.peers, result.ratio,
        str(result.rounds), f"`{command}`", machine,
    ]  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"


def shown(arguments: Sequence[str]) -> str:
    """The command as it can be printed anywhere: of a path, the last two parts; where rows go is left out."""
    script, *rest = arguments
    words = ["python", f"benchmarks/{Path(script).name}"]
    skip = False
    for word in rest:
        if not skip and not word.startswith("--table"):
            words.append("/".join(Path(word).parts[-2:]) if "/" in word else word)
        skip = word == "--table"
    return shlex.join(words)
