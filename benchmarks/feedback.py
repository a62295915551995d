"""Teach by pointing, measured by simulated users: precision at 20 after so many rounds of marks.

    python benchmarks/feedback.py --vectors emoji.npz --seeds 3

A user searches for a class by its name in one half of the items, looks at ten of the first twenty results that are not
marked yet, drawn at random, and marks each right or wrong; that is a round. Precision at 20 is that of the same query
in the other half, of which nobody marks anything.
``--run`` and ``--pairs`` embed a table with a column
of labels (``--labels``, several to a cell with blanks between them) or a folder of classes; ``--vectors`` keeps the
vectors.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from cospace.api import load
from cospace.data.pairs import open_pairs
from cospace.evaluation.feedback import learn
from cospace.modalities import text_modality

ROUNDS = (0, 1, 3, 5)
SHOWN, MARKED = 20, 10
BACKGROUND = 2_048
"""Items of the sample that an index measures by."""


def embedded(run: str, pairs: list[str], labels: str | None, least: int) -> dict[str, np.ndarray]:
    """Items, class names as queries, and which items are of which class; classes of ``least`` items or more."""
    model, found = load(run), open_pairs(pairs)
    name = next(one for one in found.modalities if one != text_modality())
    rows = np.unique(found.keys[name], return_index=True)[1].tolist()
    column = found.extras[labels] if labels else found.items[text_modality()]
    named = [set(column[row].split()) if labels else {column[row]} for row in rows]
    often = Counter(label for some in named for label in some)
    classes = sorted(label for label, count in often.items() if count >= least)
    return {
        "items": model.embed(progress=None, **{name: [found.items[name][row] for row in rows]}),
        "queries": model.embed(progress=None, **{text_modality(): classes}),
        "right": np.array([[label in some for label in classes] for some in named]),
        "classes": np.array(classes),
    }


def precisions(item_NE: np.ndarray, query_E: np.ndarray, right_N: np.ndarray, seed: int) -> list[float]:
    """Of one user, after 0 to the last of :data:`ROUNDS`."""
    dice = np.random.default_rng(seed)
    order = dice.permutation(len(item_NE))
    mine, others = order[::2], order[1::2]
    background_BE = item_NE[order[:BACKGROUND]]
    direction_E, marked, found = query_E, np.zeros(0, np.int64), []
    for _ in range(max(ROUNDS) + 1):
        best = others[np.argsort(-(item_NE[others] @ direction_E), kind="stable")[:SHOWN]]
        found.append(float(right_N[best].mean()))
        new = mine[~np.isin(mine, marked)]
        shown = new[np.argsort(-(item_NE[new] @ direction_E), kind="stable")[:SHOWN]]
        marked = np.concatenate([marked, dice.permutation(shown)[:MARKED]])
        is_right = right_N[marked]
        direction_E = learn(query_E, item_NE[marked[is_right]], item_NE[marked[~is_right]], background_BE).direction_E
    return [found[rounds] for rounds in ROUNDS]


def main() -> None:
    """Measure, and print a table: mean over classes and seeds, the worst seed, the worst class."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    parser.add_argument("--pairs", nargs="*", default=[])
    parser.add_argument("--labels")
    parser.add_argument("--least", type=int, default=100, help="items of a class at least")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    if asked.run:
        data = embedded(asked.run, asked.pairs, asked.labels, asked.least)
        if asked.vectors:
            np.savez(asked.vectors, **data)  # type: ignore[arg-type]
    else:
        data = dict(np.load(asked.vectors))
    users = zip(data["queries"], data["right"].T, strict=True)
    found_CSR = np.array(
        [[precisions(data["items"], q, right, seed) for seed in range(asked.seeds)] for q, right in users]
    )
    classes, items = len(found_CSR), len(data["items"])
    print(f"{classes} classes, {items:,} items, {asked.seeds} seeds; precision at {SHOWN}, in per cent")
    print("| rounds | " + " | ".join(map(str, ROUNDS)) + " |\n|---|" + "---|" * len(ROUNDS))
    for words, values in (
        ("mean", found_CSR.mean((0, 1))),
        ("worst seed", found_CSR.mean(0).min(0)),
        ("worst class", found_CSR.mean(1).min(0)),
    ):
        print(f"| {words} | " + " | ".join(f"{100 * value:.0f}" for value in values) + " |")


if __name__ == "__main__":
    main()
