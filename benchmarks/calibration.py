"""Do the percentages of a search come true? Held-out queries of several sets, and of a model that brought none.

    python benchmarks/calibration.py DATA emoji=RUN=emoji/val.csv flickr1k=RUN=flickr1k/val.csv --imported emoji

DATA is the folder that the tables lie in. Each set is a trained run and pairs that it has not seen: half of the
queries judge what the other half calibrated. ``--imported`` names a set whose run is also measured as if it had
brought nothing: an index of the pairs is calibrated on its own captions, as ``cospace index --calibrate`` does, and
the error is that of its halves. Name a run that was imported; of a trained run it only shows what that calibration is
worth. An index of the pairs is then asked for gibberish and for words that its captions use;
*nothing* is said where no result is shown for a query without a word that any caption uses.

The error is over bins, so that even probabilities that are exactly true have one: "by chance" is what it would be for
as many results as were shown.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Mapping, Sequence
from math import pi, sqrt
from pathlib import Path
from typing import Any

from cospace.commands.calibrate import calibrate_index
from cospace.commands.index import build_index
from cospace.commands.search import How, SearchableIndex
from cospace.data.pairs import Pairs, open_pairs
from cospace.evaluation.relevance import short_queries
from cospace.evaluators.embedded import embed_pairs, prepare_for
from cospace.evaluators.relevance import reliability_of, trials
from cospace.models.calibration import Relevance
from cospace.runs.run import Run

GIBBERISH = 40
"""Queries of consonants."""


def main() -> None:
    """A row for each set and kind of query."""
    options = arguments()
    print("| set | queries | shown results | error | by chance | nothing said: gibberish | nothing said: known words |")
    print("|---|---|---|---|---|---|---|")
    for name, run, spec in options.sets:
        pairs, model = open_pairs(str(options.data / spec)), Run.load(run)
        with tempfile.TemporaryDirectory() as folder:
            index = build_index(model, pairs, Path(folder) / "idx").index
            said = nothing_said(index, pairs)
            report(name, measured(model, pairs), said)
            if name in options.imported:
                model.space.relevance = Relevance()
                made = calibrate_index(index)
                found = {"of its own captions": {"error": made.error, "shown": made.shown, "bins": [],
                         "queries": sum(made.queries.values())}}  # fmt: skip
                fresh = SearchableIndex(index.location, index.store, index.space)
                report(f"{name}, imported", found, nothing_said(fresh, pairs))


def measured(model: Run, pairs: Pairs) -> dict[str, Any]:
    """How far probabilities of shown results are from what came true, by kind of query, and of all kinds."""
    found = trials(model.space, embed_pairs(model.space, prepare_for(model.space, pairs)))
    kinds = list(dict.fromkeys(trial.kind for trial in found))
    return {kind: reliability_of([one for one in found if one.kind == kind]) for kind in kinds} | {
        "queries of both kinds": reliability_of(found)
    }


def by_chance(bins: Sequence[Mapping[str, float]]) -> float:
    """The error of probabilities that are exactly true: mean ``|X / n - p|`` of binomial numbers X, nearly normal."""
    spread = [one["count"] * sqrt(2 * one["predicted"] * (1 - one["predicted"]) / (pi * one["count"])) for one in bins]
    return sum(spread) / max(sum(one["count"] for one in bins), 1)


def nothing_said(index: SearchableIndex, pairs: Pairs) -> tuple[float, float]:
    """Shares of queries of gibberish, and of words that occur, for which nothing is said to be there."""
    known = short_queries([text for text in pairs.items["text"] if text], 200)
    shares = []
    for queries in (gibberish(), known):
        answers = [index.find(How(1), text=query) for query in queries]
        none = [answer.judged.maybe == 0 and bool(answer.wording.unknown) for answer in answers]
        shares.append(sum(none) / len(none))
    return shares[0], shares[1]


def gibberish(seed: int = 0) -> list[str]:
    """Words that nobody has written."""
    dice = random.Random(seed)
    return [
        " ".join("".join(dice.choices("qwzxvbnkjhgfp", k=dice.randint(4, 8))) for _ in range(1 + number % 2))
        for number in range(GIBBERISH)
    ]


def report(name: str, found: dict[str, Any], nothing: tuple[float, float]) -> None:
    """Print the rows of one set."""
    said = f"{100 * nothing[0]:.0f} % | {100 * nothing[1]:.1f} %"
    for kind, row in found.items():
        chance = f"{by_chance(row['bins']):.3f}" if row["bins"] else ""
        row_of = f"| {name} | {row['queries']:,} {kind} | {row['shown']:,} | {row['error']:.3f} | {chance} | {said} |"
        print(row_of, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the sets")
    parser.add_argument("sets", nargs="+", type=lambda given: given.split("=", 2), help="NAME=RUN=PAIRS")
    parser.add_argument("--imported", nargs="*", default=[], help="sets to measure without a run's calibration as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
