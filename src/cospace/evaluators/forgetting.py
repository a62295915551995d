"""What fine-tuning forgets: recall of the pretrained model on its own pairs and on others, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..data.prepared import PreparedPairs
from ..models.space import Space
from ..reading import read_object, understood
from ..types import Metrics
from .embedded import embed_pairs
from .measures import measure

OWN, REFERENCE = "", "reference/"
"""Prefixes of the metrics' names on the validation pairs and on the reference set."""


@dataclass(frozen=True, slots=True)
class ForgettingBaseline:
    """Recall measured once, before the first step, and kept in ``path`` for a run that is killed and goes on."""

    path: Path
    sets: Mapping[str, PreparedPairs]

    def record(self, space: Space) -> None:
        """Measure the space, unless that was done."""
        if not self.path.exists():
            files.write_json(self.path, {prefix: recall_at_1(space, pairs) for prefix, pairs in self.sets.items()})

    def compared(self, space: Space) -> Metrics:
        """What was recorded, ``pretrained/...`` and ``reference/pretrained/...``, and the reference as it is now."""
        found: Metrics = {}
        for prefix, recorded in read_object(self.path).items():
            with understood(self.path, "remove the run and train again"):
                found |= {f"{prefix}pretrained/{name}": float(value) for name, value in recorded.items()}
            if prefix != OWN and prefix in self.sets:
                found |= {prefix + name: value for name, value in recall_at_1(space, self.sets[prefix]).items()}
        return found


def recall_at_1(space: Space, pairs: PreparedPairs) -> Metrics:
    """R@1 of every direction."""
    metrics = measure(embed_pairs(space, pairs))
    return {name: value for name, value in metrics.items() if name.endswith("/R@1") and not name.startswith("chance/")}
