"""What a space could do before a run went on from it: on the person's own pairs, and on others that it may forget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..config import read_json
from ..pairs import Pairs
from ..space import Space
from ..types import Metrics
from .evaluate import embed_store, measure
from .prepare import Store

OWN, REFERENCE = "", "reference/"
"""Openings of the metrics' names on the validation pairs and on the reference set."""


@dataclass(frozen=True, slots=True)
class Before:
    """Recall measured once, before the first step, and kept in ``path`` for a run that is killed and goes on."""

    path: Path
    sets: Mapping[str, tuple[Pairs, Store]]

    def note(self, space: Space) -> None:
        """Measure the space, unless that was done."""
        if not self.path.exists():
            files.write_json(self.path, {opening: recall(space, *pairs) for opening, pairs in self.sets.items()})

    def compared(self, space: Space) -> Metrics:
        """What was noted, ``before/...`` and ``reference/before/...``, and the reference as it is now."""
        found: Metrics = {}
        for opening, noted in read_json(self.path).items():
            found |= {f"{opening}before/{name}": value for name, value in noted.items()}
            if opening != OWN and opening in self.sets:
                found |= {opening + name: value for name, value in recall(space, *self.sets[opening]).items()}
        return found


def recall(space: Space, pairs: Pairs, store: Store) -> Metrics:
    """R@1 both ways."""
    metrics = measure(space, embed_store(space, pairs, store))
    return {name: value for name, value in metrics.items() if name.endswith(("_to_text/R@1", "_to_image/R@1"))}
