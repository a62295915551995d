"""Where to start from: from nothing, from one published tower, or from two, on one's own pairs and over several seeds.

    python benchmarks/starts.py photos/train.csv photos/val.csv --rows rows.jsonl --note "700 photographs"

`cospace train` with the settings of each row of the table; "ridge", "CCA" and "heads" are fitted here on the features
that the runs have left in the cache. R@1 is the mean of both directions on all validation pairs (``--classes``: image
to text alone, which is the accuracy on class folders), in per cent: median over the seeds, with the lowest. Minutes
are from the start of the process to the end of training and evaluation, with what earlier runs have cached. Rows that
`--rows` holds already are not repeated, so a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cospace.data.pairs import open_pairs
from cospace.data.prepared import prepare_pairs
from cospace.runs.heads import class_names, features_of, sides_of
from cospace.runs.settings import recipe_data
from cospace.runs.towers import open_towers
from cospace.training import closed_form
from cospace.training.closed_form import Choice, evaluate_choice, fit
from cospace.types import UserError
from race import quality

STARTS: dict[str, list[str]] = {
    "from nothing (the default)": ["training.seed={seed}"],
    "one tower: MiniLM, frozen": ["--from", "all-MiniLM-L6-v2", "locked=text", "training.seed={seed}"],
    "--recipe towers": ["--recipe", "towers", "training.seed={seed}"],
    "heads, then 100 steps of them": [
        "--recipe", "towers", "locked=image,text", "training.steps=100", "training.seed={seed}",
    ],
    "heads, then LoRA of the text tower, 100 steps": [
        "--recipe", "towers", "locked=image", "lora_rank=8", "training.steps=100", "training.seed={seed}",
    ],
    "heads, then all weights, 30 steps": [
        "--recipe", "towers", "tta=false", "locked=none", "training.steps=30", "training.batch_size=32",
        "training.seed={seed}",
    ],
}  # fmt: skip
"""What is trained, and its settings."""

FITTED = {"ridge": "ridge", "CCA": "cca"}
"""Heads of one linear method alone, at the strengths that cross-validation chose, by what the table calls them."""


def main() -> None:
    """Measure what is missing, and print the table."""
    options = arguments()
    known = rows_of(options.rows)
    for row in measured(options, {(one["start"], one["seed"]) for one in known}):
        known.append(row)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    print(table(known, options.note))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="pairs to train on, e.g. a csv")
    parser.add_argument("val", help="pairs to validate on")
    parser.add_argument("--rows", type=Path, required=True, help="where rows are kept (jsonl)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each start")
    parser.add_argument("--classes", action="store_true", help="measure image to text alone")
    parser.add_argument("--note", default="", help="what the table calls the data")
    parser.add_argument("--only", nargs="*", default=[], help="starts whose name holds one of these words")
    parser.add_argument("--without", nargs="*", default=[], help="starts whose name holds none of these words")
    return parser.parse_args()


def measured(options: argparse.Namespace, known: set[tuple[str, int]]) -> Iterator[dict[str, Any]]:
    """Rows that are asked for and not known, seed by seed."""
    for seed in range(options.seeds):
        for name, settings in STARTS.items():
            if wanted(options, name) and (name, seed) not in known:
                yield {"start": name, "seed": seed, **trained(options, settings, seed)}
        missing = [name for name in (*FITTED, "heads") if wanted(options, name) and (name, seed) not in known]
        for name, recall in fitted(options, missing, seed) if missing else ():
            yield {"start": name, "seed": seed, "recall": recall, "minutes": None}


def wanted(options: argparse.Namespace, name: str) -> bool:
    """Whether a start was asked for."""
    chosen = not options.only or any(words in name for words in options.only)
    return chosen and not any(words in name for words in options.without)


def trained(options: argparse.Namespace, settings: Sequence[str], seed: int) -> dict[str, Any]:
    """One run of `cospace train`."""
    given = [text.format(seed=seed) for text in settings]
    with tempfile.TemporaryDirectory() as folder:
        out, began = Path(folder) / "run", time.monotonic()
        command = [sys.executable, "-m", "cospace", "train", options.train, "--val", options.val, "--out", str(out)]
        done = subprocess.run([*command, "--no-report", *given], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{' '.join(given)} ended with code {done.returncode}: {done.stderr[-2000:]}")
        metrics = json.loads((out / "metrics.json").read_text())
        name = "image_to_text/R@1" if options.classes else "mean R@1"
        return {"recall": 100 * quality(metrics, name), "minutes": (time.monotonic() - began) / 60}


def fitted(options: argparse.Namespace, names: Sequence[str], seed: int) -> Iterator[tuple[str, float]]:
    """Heads in closed form, fitted on all training pairs, measured on all validation pairs."""
    recipe = recipe_data("towers")
    towers = open_towers(recipe["towers"], recipe["embed_dim"], recipe["tta"])
    train, val = (
        features_of(towers.space, prepare_pairs(open_pairs(spec), towers.space.processors), towers, lambda *_: None)[0]
        for spec in (options.train, options.val)
    )
    named = replace(train, names=class_names(towers.space, towers, *sides_of(towers.space, towers)))
    for name in names:
        choice = fit(named, seed).choice if name == "heads" else best_linear(train, FITTED[name], seed)
        recalls = evaluate_choice(named if choice.class_weight else train, val, choice)
        yield name, 100 * recalls[0] if options.classes else 50 * sum(recalls)


def best_linear(train: closed_form.Features, method: str, seed: int) -> Choice:
    """The strengths of one method that cross-validation finds best."""
    folds = list(closed_form.split(train, seed))
    choices = [
        Choice(method, left, right)
        for left in closed_form.STRENGTHS[method][0]
        for right in closed_form.STRENGTHS[method][1]
    ]
    return max(choices, key=lambda choice: sum(sum(evaluate_choice(*fold, choice)) for fold in folds))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """What was measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: Sequence[dict[str, Any]], note: str) -> str:
    """Markdown: median and lowest R@1 over the seeds, and the median of the minutes."""
    lines = [f"| start | {note} R@1, median (lowest) of seeds | minutes |", "|---|---|---|"]
    for name in dict.fromkeys(row["start"] for row in rows):
        found = [row["recall"] for row in rows if row["start"] == name]
        minutes = [row["minutes"] for row in rows if row["start"] == name and row["minutes"] is not None]
        spent = f"{statistics.median(minutes):.1f}" if minutes else "seconds, from cached features"
        lines.append(f"| {name} | {statistics.median(found):.1f} ({min(found):.1f}), {len(found)} | {spent} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
