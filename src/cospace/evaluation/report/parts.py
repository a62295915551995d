"""What a report is made of: plain data, so that anything that can measure can also report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...types import Metrics
from ..advice import Deed
from ..geometry import Verdict
from ..intervals import Interval
from ..maps import Map
from ..quality import Quality
from ..shown import Shown
from .examples import Example, Item


@dataclass(frozen=True, slots=True)
class RecallCurve:
    """R@k of one direction for k from 1 to 100, with 95 % bounds; arrays of equal length."""

    direction: str
    k: np.ndarray
    recall: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of true class (row) by given class (column); ``samples`` holds image keys by cell."""

    matrix_CC: np.ndarray
    names: Sequence[str]
    samples: Mapping[tuple[int, int], Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MapView:
    """A map and the images to hang on it, each at its point."""

    map: Map
    hung: Sequence[tuple[float, float, Item]] = ()


@dataclass(frozen=True, slots=True)
class GeneratedExample:
    """What a decoder wrote about an item: a caption, or the answer to ``question``.

    ``item`` holds its image and what is true of it; ``correct`` is open where that is not known, ``percent`` is the
    decoder's own probability of exactly this text.
    """

    item: Item
    predicted: str
    question: str = ""
    correct: bool | None = None
    percent: float | None = None


def _nothing() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page. ``metrics`` and ``intervals`` share their keys; images are encoded bytes by key.

    ``curves`` are rows of ``metrics.jsonl``: ``step``, ``loss``, ``minutes``, and ``val/...`` where measured.
    Parts left empty keep their section on the page, which then says what was not measured.
    """

    name: str
    date: str
    verdict: Sequence[str]
    command: str
    version: str
    metrics: Metrics
    data: Mapping[str, str | float] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    """What a figure is of where the metrics do not count it: ``caption`` items, ``vqa`` questions."""
    quality: Quality | None = None
    deed: Deed | None = None
    """What to do about the run; shown where the space is not good."""
    curves: Sequence[Mapping[str, float]] = ()
    kept: str = ""
    """Which evaluation's weights the run has, where the last was not the best."""
    recall: Sequence[RecallCurve] = ()
    matched: np.ndarray = field(default_factory=_nothing)
    unmatched: np.ndarray = field(default_factory=_nothing)
    shown: Shown | None = None
    """What a search shows of its results against what is true."""
    examples: Sequence[Example] = ()
    generated_examples: Sequence[GeneratedExample] = ()
    confusion: Confusion | None = None
    map: MapView | None = None
    health: Sequence[Verdict] = ()
    pairs: Sequence[Item] = ()
    images: Mapping[str, bytes] = field(default_factory=dict)
    media: Mapping[str, tuple[bytes, str]] = field(default_factory=dict)
    """By the keys of images what a reader can play: encoded bytes and their media type."""
    config: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, str | float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
