"""The vector index of a large index: build another kind, and say what was measured of it."""

from __future__ import annotations

from ..modalities import modality
from ..stores import Index
from ..stores.ann import Approximate
from ..stores.locations import IndexLocation
from ..types import Progress, silent


def recall_sentences(store: Index) -> list[str]:
    """What was measured of an approximate search, a sentence for each modality; none where all is exact."""
    measured = store.measured if isinstance(store, Approximate) else {}
    return [found.sentence(modality(name).plural) for name, found in measured.items()]


def choose_ann(location: IndexLocation, progress: Progress = silent) -> Index:
    """Build the vector index that ``location`` was made with, and measure it, in an index that is there."""
    store = location.open()
    try:
        store.finish(progress)
    finally:
        store.close()
    return store
