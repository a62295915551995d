"""Time and peak memory of the contrastive objectives, forward and backward: tiled, and with --dense as whole matrices.

    python benchmarks/objective.py --objective softmax sigmoid --batch 4096 --width 512 --dense
    python benchmarks/objective.py --objective softmax --batch 32768 --width 512 --steps 1 --rounds 1

Every figure comes from a process of its own, in turns. The peak is the most that the process (on a GPU, torch's
allocator) holds during its steps beyond what it held before them, the embeddings' gradients included; "x" says how
many times the embeddings' own size that is, two sides of batch * width float32 numbers. With --dense, softmax is also
compared with two plain cross-entropies over the batch, as OpenCLIP computes it, which knows of no other matches. Whole
matrices take up to 45 * batch * batch bytes: mind what the machine has.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import frame
from cospace.matches import Relation
from cospace.objectives import cosine, sigmoid, softmax
from cospace.runtime import device


def cross_entropies(relation: Relation, left_BE: Tensor, right_BE: Tensor, scale: Tensor) -> Tensor:
    """The plain form of InfoNCE: row ``i`` belongs to row ``i`` and to no other."""
    logits_BB, own_B = scale * cosine(left_BE, right_BE), torch.arange(len(left_BE), device=left_BE.device)
    return (cross_entropy(logits_BB, own_B) + cross_entropy(logits_BB.T, own_B)) / 2


Form = Callable[..., Tensor]

FORMS: dict[str, dict[str, Form]] = {
    "softmax": {"tiled": softmax.tiled, "dense": softmax.dense, "two cross-entropies": cross_entropies},
    "sigmoid": {"tiled": sigmoid.tiled, "dense": sigmoid.dense},
}
LEARNED = {"softmax": (20.0,), "sigmoid": (10.0, -10.0)}
"""The scale, and the bias where there is one."""

WARM = 1024
"""Rows of the step that loads the libraries and starts their threads, before anything is measured."""


@dataclass(frozen=True, slots=True)
class Case:
    """What one process measures."""

    objective: str
    form: str
    batch: int
    width: int
    copies: int
    steps: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a step, and the bytes that it holds at most."""

    seconds: float
    peak: int


def main() -> None:
    """One comparison for each objective and each of its plain forms."""
    options = arguments()
    results = []
    for objective in options.objective:
        case = Case(objective, "tiled", options.batch, options.width, options.copies, options.steps)
        forms = list(FORMS[objective]) if options.dense or options.quick else ["tiled"]
        costs = take_turns(case, forms, frame.rounds(options))
        results += [result(case, form, costs) for form in forms[1:] or forms]
    for row in results:
        print(row.line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--objective", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--batch", type=int, default=4096, help="rows of each side (default: 4096)")
    parser.add_argument("--width", type=int, default=512, help="numbers of a row (default: 512)")
    parser.add_argument("--copies", type=int, default=1, help="rows of each group (default: 1)")
    parser.add_argument("--steps", type=int, default=2, help="steps of a process, the last one timed (default: 2)")
    parser.add_argument("--dense", action="store_true", help="whole matrices as well (--quick: always)")
    return parser.parse_args()


def take_turns(case: Case, forms: list[str], rounds: int) -> dict[str, list[Cost]]:
    """Every form's costs, round by round."""
    costs: dict[str, list[Cost]] = {form: [] for form in forms}
    for number in range(rounds):
        for form in frame.rotated(forms, number):
            costs[form].append(in_own_process(replace(case, form=form)))
    return costs


def result(case: Case, form: str, costs: dict[str, list[Cost]]) -> frame.Result:
    """The tiled form beside another, or alone."""
    groups = f", {case.copies} rows a group" if case.copies > 1 else ""
    work = f"{case.objective}, {case.batch} x {case.width}{groups}, forward and backward"
    ratios = [other.seconds / own.seconds for own, other in zip(costs["tiled"], costs[form], strict=True)]
    ours = words(case, costs["tiled"])
    if form == "tiled":
        return frame.alone(work, ours, len(ratios))
    return frame.Result(work, ours, form, words(case, costs[form]), frame.spread(ratios), len(ratios))


def words(case: Case, costs: list[Cost]) -> str:
    """Median seconds and the largest peak, e.g. ``0.81 s, 24 MiB (1.5x)``."""
    seconds, peak = statistics.median(cost.seconds for cost in costs), max(cost.peak for cost in costs)
    return f"{seconds:.3g} s, {peak / 2**20:.0f} MiB ({peak / (2 * 4 * case.batch * case.width):.3g}x)"


def in_own_process(case: Case) -> Cost:
    """A peak belongs to a whole process, so each measurement gets its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def measure(case: Case) -> Cost:
    """Seconds of the last step, and what the steps held at most."""
    inputs, relation = embeddings(case)
    warm, warm_relation = embeddings(replace(case, batch=min(WARM, case.batch)))
    step(case, warm, warm_relation)
    for values in warm:
        values.grad = None
    before, seconds = restart_peak(), 0.0
    for _ in range(case.steps):
        for values in inputs:
            values.grad = None
        seconds = frame.timed(lambda: step(case, inputs, relation))
    return Cost(seconds, peak() - before)


def embeddings(case: Case) -> tuple[list[Tensor], Relation]:
    """Both sides, the learned numbers, and which rows match: those of a group, in no particular order."""
    torch.manual_seed(0)
    where = device()
    sides = [torch.randn(case.batch, case.width, device=where, requires_grad=True) for _ in range(2)]
    learned = [torch.tensor(value, device=where, requires_grad=True) for value in LEARNED[case.objective]]
    return sides + learned, Relation.of_groups(torch.randperm(case.batch, device=where) // case.copies)


def step(case: Case, inputs: list[Tensor], relation: Relation) -> None:
    """The loss and all of its gradients."""
    FORMS[case.objective][case.form](relation, *inputs).backward()  # type: ignore[no-untyped-call]


def restart_peak() -> int:
    """Forget earlier peaks; returns the bytes that are held now."""
    if device().type != "cpu":
        torch.accelerator.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark falls to the present size
    return peak()


def peak() -> int:
    """Most bytes held since :func:`restart_peak`: resident memory, or what torch allocated on the accelerator."""
    if device().type != "cpu":
        return torch.accelerator.max_memory_allocated()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


if __name__ == "__main__":
    main()
