"""What rows lack: items that they may do without, and those whose want is a fault."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import array_of, blocks, each, zeros
from ..columns import column_of, holds_only
from ..modalities import FIELDS, is_text, text_modality
from ..types import Fault
from .contents import is_absent
from .sources import WEIGHT, Rows


def absent_items(rows: Rows) -> dict[str, np.ndarray]:
    """By column, where rows have no item and that is no mistake (``N``, bool): they have what they need without it."""
    count = len(rows.ids)
    made = {name: zeros(count, bool) for name in rows.items}
    if rows.least is not None:
        empty = {name: array_of(map(is_absent, values), bool) for name, values in rows.items.items()}
        for some in blocks(count):
            absent = _absent_of({name: column[some] for name, column in empty.items()}, rows.least)
            for name, column in absent.items():
                made[name][some] = column
    return made


def _absent_of(empty: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
    """The same of rows that need at least so many items, from where they have none."""
    there = {name: ~column for name, column in empty.items()}
    nothing_N = np.zeros(len(next(iter(empty.values()), ())), bool)
    fields = [there.get(name, nothing_N) for name in FIELDS]
    files = [column for name, column in there.items() if not is_text(name)]
    asks_N = np.logical_and.reduce(fields) & np.logical_or.reduce([nothing_N, *files])
    have_N = sum((column.astype(int) for name, column in there.items() if name not in FIELDS), asks_N.astype(int))
    asked_N = np.logical_or.reduce(fields)  # a question without its answer is a mistake, and so is the reverse
    return {name: column & (have_N >= least) & (~asked_N if name in FIELDS else True) for name, column in empty.items()}


def faults_of(
    rows: Rows, found: Mapping[str, Sequence[str | Fault]], absent: Mapping[str, np.ndarray]
) -> dict[int, Fault]:
    """What is wrong with each row: first with what it names, then what it lacks, a caption before a file."""
    texts = (text_modality(), *FIELDS)
    places = [
        (is_absent(rows.items[column][row]), texts.index(column) if column in texts else len(texts), row, content)
        for column, values in found.items()
        if not holds_only(values, str)
        for row, content in enumerate(values)
        if isinstance(content, Fault) and not absent[column][row]
    ]
    faults: dict[int, Fault] = {}
    for _, _, row, fault in sorted(places, key=lambda place: place[:2]):
        faults.setdefault(row, fault)
    for row, text in enumerate(rows.extras.get(WEIGHT, ())):
        if weight_of(text) is None:
            faults.setdefault(row, Fault("wrong weight", f"the weight {text[:40]!r} is no number of 0 or more"))
    return faults


def weight_of(text: str) -> float | None:
    """The number that a column of weights holds; nothing where that is none, not finite, or below 0."""
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 <= weight < math.inf else None


def describe_weights(texts: Sequence[str]) -> list[str]:
    """What a column of weights holds, in a sentence for people; none where there is no column."""
    weight_N = array_of((weight for text in texts if (weight := weight_of(text)) is not None), np.float64)
    if not len(weight_N):
        return []
    nothing = int(np.count_nonzero(weight_N == 0))
    return [f"weights from {weight_N.min():g} to {weight_N.max():g}" + (f", {nothing:,} of them 0" if nothing else "")]


def blanked(values: Sequence[Any], absent_N: np.ndarray, blank: Any) -> Sequence[Any]:
    """A column with ``blank`` where a row has no item."""
    if not absent_N.any():
        return values
    return column_of(blank if no else value for value, no in zip(values, each(absent_N), strict=True))
