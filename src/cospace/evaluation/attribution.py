"""Which parts of an item a score rests on: regions of an image, words of a text, seconds of a sound.

A patch over nothing changes a score as well: it is an edge that no training image had, and all queries fall with it.
What all queries share is therefore left out of the direction that is explained (see :func:`own_part`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import unknown
from ..modalities import is_text, modality, text_modality
from ..models.space import Space
from ..types import UserError
from .relevance import short_queries

QUERIES = 200
"""Short queries whose mean direction stands for what all of them share."""
LEAST_OWN = 1e-3
"""Length of a vector below which it has no direction."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each part of an item adds to its score.

    ``drops_P`` is by how much the query's own part of the score falls when the part is hidden: negative where it
    speaks against the match. ``score`` is the whole score, a cosine. ``kind``, ``spans_P`` and ``columns`` say where
    the parts lie, see :class:`~cospace.modalities.Occlusions`.
    """

    kind: str
    spans_P: Sequence[tuple[float, ...]]
    drops_P: np.ndarray
    score: float
    columns: int = 0

    def most(self) -> tuple[float, ...]:
        """The span of the part that matters most."""
        return self.spans_P[int(self.drops_P.argmax())]


def attribution(
    space: Space, name: str, raw: Any, towards_E: np.ndarray, shared: Sequence[np.ndarray] = ()
) -> Attribution:
    """Hide one part of an item of the modality ``name`` after the other (Zeiler and Fergus 2014, section 2.2).

    It asks nothing of the encoder but vectors, so it works for any, and what it says is true by construction: without
    that part the score is so much lower. ``towards_E`` is the unit vector of the query, ``shared`` are unit vectors
    ``(E,)`` of what all such queries have in common. Raises :class:`UserError` where items of the modality have no
    parts, and ``BadItem`` where this one cannot be read.
    """
    if name not in space.processors:
        raise UserError(unknown(name, space.modalities, "this space has no modality"))
    found = modality(name).occlusions(raw, space.processors[name])
    if found is None or not found.spans_P:
        raise UserError(f"this {modality(name).noun} has no parts to compare")
    vectors_NE = np.concatenate(list(space.embed_prepared(name, iter([found.whole, *found.hidden_P]))))
    own_N = vectors_NE @ own_part(towards_E, shared)
    return Attribution(found.kind, found.spans_P, own_N[0] - own_N[1:], float(vectors_NE[0] @ towards_E), found.columns)


def own_part(towards_E: np.ndarray, shared: Sequence[np.ndarray]) -> np.ndarray:
    """A query's direction ``(E,)`` without what lies along the shared ones; the whole of one that is nothing else."""
    own_E = towards_E
    for shared_E in shared:
        own_E = own_E - (own_E @ shared_E) * shared_E
    return own_E if np.linalg.norm(own_E) > LEAST_OWN else towards_E


def shared_direction(space: Space, captions: Sequence[str]) -> np.ndarray | None:
    """The mean direction ``(E,)``, of length one, of short queries from captions; nothing where there are none."""
    queries = short_queries([caption for caption in captions if caption], QUERIES)
    return mean_direction(space.embed(progress=None, **{text_modality(): queries})) if queries else None


def mean_direction(vectors_NE: np.ndarray) -> np.ndarray | None:
    """The unit vector ``(E,)`` of a mean; nothing where it has no direction."""
    mean_E = vectors_NE.mean(0) if len(vectors_NE) else np.zeros(1, np.float32)
    norm = float(np.linalg.norm(mean_E))
    return np.asarray(mean_E / norm) if norm > LEAST_OWN else None


def explain(
    space: Space, item: Mapping[str, Any], query: Mapping[str, Any], captions: Sequence[str] = ()
) -> Attribution:
    """Why a query finds an item, each by its modality: ``explain(space, {"image": path}, {"text": "a red bus"})``.

    ``captions`` are some of the collection's: what every text query shares is then kept apart from what this one asks
    for, which points far better at the thing named.
    """
    (name, raw), (asked, words) = _one("item", item), _one("query", query)
    shared_E = shared_direction(space, captions) if captions and is_text(asked) else None
    towards_E = space.embed(progress=None, **{asked: [words]})[0]
    return attribution(space, name, raw, towards_E, [] if shared_E is None else [shared_E])


def _one(what: str, given: Mapping[str, Any]) -> tuple[str, Any]:
    if len(given) != 1:
        raise UserError(f'give one {what} by its modality, such as {{"text": "a red bus"}}; {len(given)} were given')
    return next(iter(given.items()))
