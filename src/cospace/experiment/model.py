"""A trained space with the verbs that need more than the space: what ``cospace.load`` and ``cospace.train`` return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..config import read_json
from ..pairs import Pairs, open_pairs
from ..space import Space
from ..types import Metrics
from .evaluate import Embedded, classify, embed_pairs, measure


class Model:
    """A finished run: its space, and what is known about how it was made.

    ``space`` is the :class:`~cospace.space.Space`, ``run`` the run's folder and ``folder`` the model's inside it;
    ``facts`` is the run's ``run.json``, empty for a bare space. ``validation`` holds the embedded validation pairs of
    a model that was trained just now.
    """

    def __init__(self, space: Space, run: Path, folder: Path, facts: dict[str, Any]) -> None:
        self.space, self.run, self.folder, self.facts = space, run, folder, facts
        self.validation: Embedded | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read a run's folder, or the model folder inside one; nothing else is needed."""
        folder = Path(folder)
        files.settle(folder / "model")
        inner = folder / "model" if (folder / "model").is_dir() else folder
        facts = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
        return cls(Space.load(inner), folder, inner, facts)

    def metrics(self) -> Metrics:
        """What the run measured on its validation pairs when it ended."""
        return dict(read_json(self.run / "metrics.json"))

    def config(self) -> dict[str, Any]:
        """The resolved configuration, empty for a bare space."""
        path = self.run / "config.json"
        return dict(read_json(path)) if path.is_file() else {}

    def embed(self, *, progress: Callable[[int, int], None] | None = None, **items: Sequence[Any]) -> np.ndarray:
        """Unit vectors ``(n, E)``: see :meth:`Space.embed`."""
        return self.space.embed(progress=progress, **items)

    def score(self, *, image: Sequence[Any], text: Sequence[str]) -> np.ndarray:
        """Probabilities ``(n, m)`` that picture and text belong together: see :meth:`Space.score`."""
        return self.space.score(image=image, text=text)

    def evaluate(
        self, pairs: str | Path | Pairs, classes: Sequence[str] | None = None, templates: Sequence[str] | None = None
    ) -> Metrics:
        """Retrieval both ways on ``pairs``, the space's health, and zero-shot accuracy where ``classes`` are given."""
        embedded = embed_pairs(self.space, open_pairs(pairs))
        metrics = measure(self.space, embedded)
        if classes is not None:
            metrics |= classify(self.space, embedded, classes, templates, self.facts.get("bare_names")).metrics
        return metrics
