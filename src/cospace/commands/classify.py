"""Classify items without labels: the class of each by the classes' words, with probabilities, as a table."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..data.counting import Counts
from ..data.pairs import Pairs, Spec, build, open_pairs
from ..data.prepared import without_encoder
from ..data.sources import Rows, modality_of_file
from ..evaluation.classes import Classes, read_classes
from ..evaluators.classification import Classifier, HeldOut
from ..evaluators.embedded import embed_pairs, prepare_for
from ..filenames import escaped
from ..modalities import is_text, modality
from ..prefetch import prefetch
from ..reading import read_object
from ..runs.held_out import of_modality, read_held_out
from ..runs.run import Run
from ..stores import Item
from ..stores.entries import Entry, Input, count_entries, entries, read_input
from ..types import BadItem, Problem, Progress, UserError, attempted, silent

BEST = 5
"""Classes that the table has of each item."""

MAX_BAD_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class Best:
    """The likeliest classes of one item, best first: names and probabilities."""

    item: Item
    raw: Any
    classes: Sequence[tuple[str, float]]

    @property
    def name(self) -> str:
        """Of the likeliest class."""
        return self.classes[0][0]

    @property
    def probability(self) -> float:
        """Of the likeliest class."""
        return self.classes[0][1]

    def to_json(self) -> dict[str, Any]:
        """A row of the table."""
        return {
            "id": self.item.id,
            "path": self.item.path,
            "class": self.name,
            "probability": round(self.probability, 6),
            "best": [{"class": name, "probability": round(value, 6)} for name, value in self.classes],
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """Every item with its classes, what was read and what became of it, and what the probabilities rest on."""

    rows: Sequence[Best]
    names: Sequence[str]
    """All classes, the rest last, whether or not an item has them."""
    basis: Sequence[str]
    counts: Counts
    problems: Sequence[Problem]
    summary: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Best]:
        return iter(self.rows)

    def by_class(self) -> dict[str, list[Best]]:
        """The items of each class that has any, the most frequent class first, the surest item first."""
        found: dict[str, list[Best]] = {}
        for row in sorted(self.rows, key=lambda one: -one.probability):
            found.setdefault(row.name, []).append(row)
        return dict(sorted(found.items(), key=lambda one: (-len(one[1]), one[0])))

    def class_counts(self) -> dict[str, int]:
        """Items of every class, those that none has included, in the order of the list."""
        count = Counter(row.name for row in self.rows)
        return {name: count[name] for name in self.names}

    @property
    def mean_probability(self) -> float:
        """Of the chosen classes: the share that is expected to be right, where the probabilities are calibrated."""
        return float(np.mean([row.probability for row in self.rows])) if self.rows else 0.0

    def write(self, out: str | Path) -> None:
        """The table as ``.csv``, ``.jsonl`` or ``.parquet``, by the end of the name; all or nothing."""
        out = Path(out)
        writers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
        check_table(out)
        writers[out.suffix.lower()](out, self.rows)


def check_table(out: Path) -> None:
    """Refuse a name of a table that cannot be written, before any work."""
    if out.suffix.lower() not in (".csv", ".jsonl", ".parquet"):
        raise UserError(f"cannot write {out.name}; name a table that ends in .csv, .jsonl or .parquet")


def classify(
    run: Run,
    source: str | Path | Pairs | Input,
    classes: Classes,
    *,
    templates: Sequence[str] | None = None,
    rest: str | None = None,
    calibrate: Spec | None = None,
    progress: Progress = silent,
) -> Classification:
    """The class of every item of ``source`` that is no text, among ``classes``; labels and captions are not looked at.

    ``rest`` names a further class for what is none of them. ``calibrate`` are pairs that the run was not trained on,
    for a model that brings none of its own. Items that cannot be read are set aside; more than a hundredth of them is a
    :class:`UserError`.
    """
    listed = read_classes(classes, least=1 if rest else 2)
    held_out = read_held_out(run.folder) if calibrate is None else _measured(run, calibrate, progress)
    bare = run.facts.get("bare_names", bare_names(run.folder))
    classifier = Classifier.build(run.space, listed, templates, bare, held_out, rest)
    pairs = _one_file(source) or read_input(source, progress)
    found = {name: group for name, group in entries(pairs, run.space.modalities).items() if not is_text(name)}
    if not any(found.values()):
        kinds = " or ".join(modality(name).plural for name in run.space.modalities if not is_text(name))
        raise UserError(f"{pairs.name} holds no {kinds}, which is what this model classifies; give a folder of them")
    for name in found:
        classifier.check(name)
    rows: list[Best] = []
    failed: list[Problem] = []
    for name, group in found.items():
        rows += _classified(run, classifier, name, group, failed, progress)
        if len(failed) > max(1.0, MAX_BAD_FRACTION * len(pairs)):
            pairs.without(failed).stop_above(MAX_BAD_FRACTION)
    aside = [*pairs.problems, *without_encoder(pairs, run.space.modalities)]
    counts = count_entries(pairs, found, aside, failed)
    basis = [classifier.basis(name) for name in found]
    return Classification(rows, classifier.names, basis, counts, [*aside, *failed], pairs.summary(counts))


def _one_file(source: str | Path | Pairs | Input) -> Pairs | None:
    """A single file as pairs of one row; nothing for any other input."""
    spec = source if isinstance(source, str | Path) else source.spec if isinstance(source, Input) else ""
    path = Path(spec)
    name = modality_of_file(path) if path.is_file() else None
    if name is None:
        return None
    return replace(build(escaped(path.name), Rows([escaped(path.name)], {name: [path]})), understood=f"one {name}")


def bare_names(model: Path) -> bool | None:
    """Whether the captions that a model was trained on were bare names; None where its folder does not say."""
    facts = model / "run" / "run.json"
    known = read_object(facts).get("bare_names") if facts.is_file() else None
    return known if isinstance(known, bool) else None


def _measured(run: Run, pairs: Spec, progress: Progress) -> dict[str, HeldOut]:
    """Pairs that somebody names, in place of the run's own."""
    embedded = embed_pairs(run.space, prepare_for(run.space, open_pairs(pairs), progress=progress), progress)
    found = {name: of_modality(embedded, name) for name in embedded.vectors if not is_text(name)}
    return {name: one for name, one in found.items() if one is not None}


def _classified(
    run: Run, classifier: Classifier, name: str, group: Sequence[Entry], failed: list[Problem], progress: Progress
) -> Iterator[Best]:
    """The items of one modality, window by window; what cannot be read is added to ``failed``."""
    prepare, what, done = run.space.processors[name].prepare, f"classifying {modality(name).plural}", 0
    made = prefetch(group, lambda entry: attempted(prepare, entry.raw))
    kept: list[Entry] = []
    seen: list[np.ndarray | None] = []

    def readable() -> Iterator[Any]:
        for entry, one in zip(group, made, strict=True):
            if isinstance(one, BadItem):
                failed.extend(Problem(item.id, one.kind, one.reason) for item in entry.items)
            else:
                kept.append(entry)
                seen.append(None if classifier.rest is None else modality(name).statistics([one]))
                yield one

    for vectors_NE in run.space.embed_prepared(name, readable()):
        rows = [row for row in seen[done : done + len(vectors_NE)] if row is not None]
        best_NK, probability_NK = _best(classifier, vectors_NE, name, np.concatenate(rows) if rows else None)
        for entry, best_K, probability_K in zip(kept[done:], best_NK.tolist(), probability_NK.tolist(), strict=False):
            likeliest = [(classifier.names[c], p) for c, p in zip(best_K, probability_K, strict=True)]
            yield from (Best(item, entry.raw, likeliest) for item in entry.items)
        done += len(vectors_NE)
        progress(what, done, len(group))


def _best(
    classifier: Classifier, vectors_NE: np.ndarray, name: str, statistics_NS: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest classes ``(N, K)`` and their probabilities; equal ones by their cosines."""
    probability_NC = classifier.probabilities(vectors_NE, name, statistics_NS)
    cosine_NC = classifier.cosines(vectors_NE)
    width = probability_NC.shape[1] - cosine_NC.shape[1]
    tied_NC = np.pad(cosine_NC, ((0, 0), (0, width)), constant_values=-2)
    order_NC = np.lexsort((-tied_NC, -probability_NC), axis=1)[:, :BEST]
    return order_NC, np.take_along_axis(probability_NC, order_NC, 1)


def _csv(out: Path, rows: Sequence[Best]) -> None:
    """One row an item; the further classes in columns of their own."""
    most = max((len(row.classes) for row in rows), default=1)
    heading = ["id", "path", "class", "probability"]
    heading += [f"{what}_{place}" for place in range(2, most + 1) for what in ("class", "probability")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    for row in rows:
        cells = [cell for name, value in row.classes for cell in (name, f"{value:.6f}")]
        writer.writerow([row.item.id, row.item.path, *cells])
    files.atomic_write(out, text.getvalue().encode("utf-8", "backslashreplace"))


def _jsonl(out: Path, rows: Sequence[Best]) -> None:
    text = "".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows)
    files.atomic_write(out, text.encode("utf-8", "backslashreplace"))


def _parquet(out: Path, rows: Sequence[Best]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    best = pa.list_(pa.struct([("class", pa.string()), ("probability", pa.float64())]))
    fields = [("id", pa.string()), ("path", pa.string()), ("class", pa.string()), ("probability", pa.float64())]
    table = pa.Table.from_pylist([row.to_json() for row in rows], pa.schema([*fields, ("best", best)]))

    def write(path: Path) -> None:
        with path.open("wb") as file:
            pq.write_table(table, file)

    files.atomic_write(out, write)
