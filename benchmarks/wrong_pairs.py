"""Wrong pairs: how well `cospace check` finds captions that were exchanged, over several seeds, beside cleanlab.

    python benchmarks/wrong_pairs.py emoji/train.csv --wrong 0.1
    python benchmarks/wrong_pairs.py cifar10/train --wrong 0.05 --most 5000

A share of the rows gets another row's caption, never one of its own item; of classes, another class at random. AUROC
is of the exchanged rows by the probability that the judge gives, the calibration error the mean difference of that
probability and the share of exchanged rows in twenty equal parts of the ranking, and the seconds are those of the
judgement, features apart. Where cleanlab is installed and captions are classes, its scores are taken of out-of-fold
probabilities on the same features: of ours (the softmax over the classes) and of a logistic regression.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cospace.commands.pair_judge import Described, describe_items, judge_rows, views_of
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.sources import Rows
from cospace.modalities import is_text
from cospace.training.cross_fitting import Pairing, area, choose, fit, mutual_information, similarities
from cospace.training.pair_quality import units, with_classes

CLASSES = 200
"""Different captions up to which they are classes."""

PARTS = 20
"""Equal parts of the ranking in which the calibration is compared."""

CLEANLAB = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def main() -> None:
    """The table, a row for every seed, and the worst."""
    options = arguments()
    pairs = some_rows(open_pairs(options.pairs), options.most)
    print("| seed | judge | AUROC | share found | calibration error | seconds |\n|---|---|---|---|---|---|")
    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        for name, quality, *rest in measured(pairs, options, seed):
            found.setdefault(name, []).append(quality)
            print(f"| {seed} | {name} | {quality:.4f} |" + "|".join(f" {one} " for one in rest) + "|", flush=True)
    for name, qualities in found.items():
        print(f"{name}: worst of {len(qualities)} seeds {min(qualities):.4f}, mean {np.mean(qualities):.4f}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", help="pairs, all of which are taken to be right")
    parser.add_argument("--wrong", type=float, default=0.1, help="share of the rows whose caption is exchanged")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=0, help="rows that are taken at random, 0 for all")
    parser.add_argument("--judge", help="a run or a published model; left open, what is fitted on the spot")
    return parser.parse_args()


def measured(pairs: Pairs, options: argparse.Namespace, seed: int) -> Iterator[tuple[Any, ...]]:
    """Name, AUROC and further columns of everyone who judges the pairs with exchanged captions."""
    left, right = sorted(pairs.modalities, key=is_text)[:2]
    exchanged, wrong = exchange(pairs, left, right, options.wrong, seed)
    if options.judge is None:
        describe_items(exchanged, lambda *_: None)  # towers' features are kept from here on
    began = [0.0, 0.0]

    def watch(what: str, done: int, total: int) -> None:
        if what.startswith("judging"):
            began[0], began[1] = began[0] or time.monotonic(), time.monotonic()

    judged = judge_rows(exchanged, options.judge, seed, watch)
    quality = judged.qualities[left, right]
    error = f"{calibration_error(judged.wrong_R, wrong):.3f}"
    yield judged.judge, auroc(judged.wrong_R, wrong), f"{quality.share:.3f}", error, f"{began[1] - began[0]:.1f}"
    if options.judge is None and len(np.unique(pairs.keys[right])) <= CLASSES and importlib.util.find_spec("cleanlab"):
        described = describe_items(exchanged, lambda *_: None)[0]
        yield from by_cleanlab(described[left], described[right], exchanged.groups, wrong, seed)


def exchange(pairs: Pairs, left: str, right: str, share: float, seed: int) -> tuple[Pairs, np.ndarray]:
    """The pairs with a share of the captions exchanged, and which rows those are."""
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(pairs))[: round(share * len(pairs))]
    item_R, caption_R = pairs.keys[left], pairs.keys[right]
    source_R = np.arange(len(pairs))
    if len(np.unique(caption_R)) <= CLASSES:
        classes, first = np.unique(caption_R, return_index=True)
        step = draw.integers(1, len(classes), len(chosen))
        source_R[chosen] = first[(np.searchsorted(classes, caption_R[chosen]) + step) % len(classes)]
    else:
        source_R[chosen] = draw.permutation(chosen)
        for _ in range(100):
            same = (item_R[source_R] == item_R) | (caption_R[source_R] == caption_R)
            for row in chosen[same[chosen]].tolist():
                other = int(draw.choice(chosen))
                source_R[[row, other]] = source_R[[other, row]]
    items = {name: list(pairs.items[name]) for name in (left, right)}
    items[right] = [items[right][row] for row in source_R.tolist()]
    return build(pairs.name, Rows(list(pairs.ids), items)), caption_R[source_R] != caption_R


def some_rows(pairs: Pairs, most: int) -> Pairs:
    """At most so many rows, at random."""
    if not most or len(pairs) <= most:
        return pairs
    return pairs.select(np.sort(np.random.default_rng(0).permutation(len(pairs))[:most]))


def auroc(score_R: np.ndarray, wrong: np.ndarray) -> float:
    """Of the rows that are wrong, by a score that is higher for these; rows that were not judged come last."""
    score_R = np.nan_to_num(score_R, nan=-1.0)
    return area(score_R[wrong], score_R[~wrong])


def calibration_error(probability_R: np.ndarray, wrong: np.ndarray) -> float:
    """The mean difference of what was said and what is, in equal parts of the ranking."""
    parts = np.array_split(np.argsort(probability_R), PARTS)
    return float(np.mean([abs(probability_R[part].mean() - wrong[part].mean()) for part in parts]))


def by_cleanlab(
    left: Described, right: Described, groups: np.ndarray, wrong: np.ndarray, seed: int
) -> Iterator[tuple[Any, ...]]:
    """Scores of cleanlab, made of out-of-fold probabilities on the first view of the items."""
    get_label_quality_scores = importlib.import_module("cleanlab.rank").get_label_quality_scores
    view = views_of(left, right)[0]
    pairs_R2 = np.stack([left.item_of_row, right.item_of_row], axis=1)
    pairs_P2, first, pair_R = np.unique(pairs_R2, axis=0, return_index=True, return_inverse=True)
    pairing = Pairing.of(pairs_P2[:, 0], pairs_P2[:, 1], units(groups[first], pairs_P2), seed)
    view = with_classes(view, pairing)
    method, _ = choose(view, pairing, seed)
    classes, label_P = np.unique(pairing.right_P, return_inverse=True)

    def ours(rest: np.ndarray, judged: np.ndarray) -> Tensor:
        (maps,) = fit(view, pairing.left_P[rest], pairing.right_P[rest], [(method.left, method.right)])
        sides = maps(view.left_ND[pairing.left_P[judged]], 0), maps(view.right_OF[classes], 1)
        return mutual_information(similarities(*sides, method.cosine), method.scale)[0].softmax(1)

    def logistic(rest: np.ndarray, judged: np.ndarray) -> Tensor:
        labels = torch.from_numpy(label_P[rest])
        return logistic_regression(view.left_ND[pairing.left_P[rest]], labels, view.left_ND[pairing.left_P[judged]])

    fold_P = pairing.folds(seed + 1)
    for name, make in {"its own softmax": ours, "logistic regression": logistic}.items():
        probability_PC = out_of_fold_probabilities(make, fold_P, len(classes))
        for scoring in CLEANLAB:
            score_P = 1 - get_label_quality_scores(label_P, probability_PC, method=scoring)
            yield f"cleanlab, {scoring}, of {name}", auroc(score_P[pair_R.reshape(-1)], wrong), "", "", ""


def out_of_fold_probabilities(
    make: Callable[[np.ndarray, np.ndarray], Tensor], fold_P: np.ndarray, classes: int
) -> np.ndarray:
    """Probabilities ``(P, classes)`` that ``make`` gives for every fold, fitted on the others."""
    found_PC = np.zeros((len(fold_P), classes))
    for fold in np.unique(fold_P):
        judged = np.flatnonzero(fold_P == fold)
        found_PC[judged] = make(np.flatnonzero(fold_P != fold), judged).double().numpy()
    return np.asarray(found_PC / found_PC.sum(1, keepdims=True))


def logistic_regression(rows: Tensor, labels: Tensor, judged: Tensor, penalty: float = 0.01) -> Tensor:
    """Multinomial, with the penalty that did best of 0.0001, 0.001 and 0.01 on CIFAR-10."""
    scale = rows.square().mean().sqrt()
    weight = torch.zeros(rows.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(rows / scale @ weight + bias, labels)
        value = value + penalty * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (judged / scale @ weight + bias).softmax(1)


if __name__ == "__main__":
    main()
