"""What ``classify --report`` shows: for every class its surest items, and the least sure, which are worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import files
from ..evaluation.contact_sheet import ClassSheet, Shown, contact_sheet
from ..filenames import without_surrogates
from ..modalities import PREVIEW_SIZES, Preview, modality
from ..types import attempted
from .classify import Best, Classification

MOST_SHOWN = 400
"""Previews on the page, shared out among the classes."""

EACH = 12
"""Of the surest items of a class, and of the least sure, at most."""


def report(path: str | Path, classified: Classification, title: str) -> None:
    """Write the page, all or nothing."""
    by_class = classified.by_class()
    each = max(1, min(EACH, MOST_SHOWN // (2 * max(1, len(by_class)))))
    order = [*by_class, *(name for name, count in classified.class_counts().items() if not count)]
    sheets = [_sheet(name, by_class.get(name, []), each) for name in order]
    mean = f"{len(classified):,} items; mean probability of the chosen class {100 * classified.mean_probability:.0f} %"
    files.atomic_write(Path(path), contact_sheet(title, [mean, *classified.basis], sheets))


def _sheet(name: str, rows: Sequence[Best], each: int) -> ClassSheet:
    """``rows`` are the surest first; an item is shown once."""
    last = rows[max(each, len(rows) - each) :][::-1]
    mean = float(np.mean([row.probability for row in rows])) if rows else 0.0
    return ClassSheet(name, len(rows), mean, [_shown(row) for row in rows[:each]], [_shown(row) for row in last])


def _shown(row: Best) -> Shown:
    one = modality(row.item.modality)
    preview = attempted(one.preview, row.raw) if one.has_preview else None
    image = _smallest(preview) if isinstance(preview, Preview) else None
    called = without_surrogates(Path(row.item.path or row.item.id).name)
    return Shown(called, row.probability, row.classes[1][0] if len(row.classes) > 1 else "", image)


def _smallest(preview: Preview) -> bytes | None:
    return next((preview.webp[size] for size in PREVIEW_SIZES if size in preview.webp), None)
