"""What a space that was trained for shorter vectors (Matryoshka) finds at each width, on embedded held-out pairs."""

from __future__ import annotations

from collections.abc import Iterable

from ..evaluation.retrieval import summary
from ..models.space import Space
from ..models.truncation import AtWidth
from ..types import SHORTEST, Metrics
from .embedded import EmbeddedPairs
from .measures import calibrate
from .relevance import calibrate_search, trials


def calibrate_widths(space: Space, embedded: EmbeddedPairs, widths: Iterable[int]) -> Metrics:
    """Let the space know its cosines at each width; returns the figures of retrieval there.

    They are called ``dimensions/64/text_to_image/R@1`` and so on. Pairs that show nothing leave a width without
    probabilities, but the space knows that it was trained for it.
    """
    found: Metrics = {}
    for width in (width for width in widths if SHORTEST <= width < space.width):
        shorter = embedded.truncated(width)
        for direction, ranking in shorter.rankings().items():
            found |= {f"dimensions/{width}/{key}": value for key, value in summary(direction, ranking).items()}
        known = calibrate_search(trials(space.truncated(width), shorter)) if shorter.both() else None
        space.widths[width] = AtWidth() if known is None else AtWidth(calibrate(shorter), known)
    return found
