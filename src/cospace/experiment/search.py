"""Search an index: by a text or a picture, among what satisfies conditions, with a probability where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..config import unknown
from ..fusion.teller import Teller
from ..preprocess import BadImage
from ..space import Space
from ..stores import Condition, Index, of_modality
from ..stores.thumbnails import Thumbnails
from ..types import UserError
from .homes import Folder, Home, Server, home_of
from .matching import CANDIDATES, evidence
from .model import Model

BACKGROUND = 2_048
"""Items of a modality that a cosine is measured against."""
LEAST_DEVIATION = 1e-3
"""Of a query's cosines; below this it says the same of everything."""


@dataclass(frozen=True, slots=True)
class Result:
    """One item that was found; ``score`` is its cosine to the query, ``percent`` how likely it matches, if known."""

    id: str
    score: float
    modality: str
    path: str
    text: str
    hash: str
    percent: int | None
    extras: Mapping[str, str]


class SearchableIndex:
    """Vectors, what they stand for, small pictures, and the model that made them; it needs no run to be searched."""

    def __init__(self, home: Home, store: Index, space: Space, teller: Teller | None = None) -> None:
        self.home, self.store, self.space, self.teller = home, store, space, teller

    @classmethod
    def open(cls, target: str | Path) -> SearchableIndex:
        """Read an index in a folder or at ``postgresql://...``; vectors that another model made are refused."""
        home = home_of(target)
        model = home.model()
        space = Space.load(model)
        store = home.open(fingerprint=space.fingerprint, thorough=True)
        return cls(home, store, space, Teller.load(model, space))

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Small pictures of the items, by content hash."""
        return self.home.thumbnails()

    @property
    def folder(self) -> Path | None:
        """The index's own folder; none for one on a server."""
        return self.home.path if isinstance(self.home, Folder) else None

    @property
    def url(self) -> str | None:
        """The address of an index on a server; none for a folder."""
        return self.home.url if isinstance(self.home, Server) else None

    @property
    def name(self) -> str:
        """As people type it, without a password."""
        return self.home.name

    @cached_property
    def model_folder(self) -> Path:
        """The index's copy of the model on this machine."""
        return self.home.model()

    @cached_property
    def model(self) -> Model:
        """The model with all its verbs; it shares the weights."""
        return Model(self.space, self.model_folder, self.model_folder, {}, self.teller)

    def newer(self, version: int) -> Index | None:
        """Another view of the vectors where there is a later version than this one; the old view stays usable."""
        store = self.home.open(self.space.fingerprint)
        if store.version > version:
            return store
        store.close()
        return None

    def at(self, store: Index) -> SearchableIndex:
        """The same collection, looked at through another view of its vectors."""
        return SearchableIndex(self.home, store, self.space, self.teller)

    def search(
        self,
        text: str | None = None,
        image: Any = None,
        k: int = 10,
        find: str | None = None,
        rerank: bool = False,
        where: Sequence[str | Condition] = (),
    ) -> list[Result]:
        """The ``k`` items nearest to a text or a picture, best first.

        ``find`` chooses the modality of the results: pictures where the index holds any, otherwise texts. ``where``
        keeps items that satisfy all conditions, such as ``"label=cat|dog"`` or ``"year>=1990"``. ``rerank`` lets the
        decoder put the pictures found for a text, or the texts found for a picture, in order.
        """
        self._check(text, image, k, find)
        conditions = [Condition.parse(one) if isinstance(one, str) else one for one in where]
        query_1E = self.space.embed(text=[text]) if text is not None else self.space.embed(image=[image])
        among = [of_modality(find or self._usual()), *conditions]
        results = self._nearest(query_1E, max(k, CANDIDATES) if rerank else k, among, text is not None)
        return (self._second_look(results, text, image) if rerank and results else results)[:k]

    def percents(self, query_E: np.ndarray, cosines: np.ndarray, direction: str) -> list[int | None]:
        """How likely each of the items found is a match, in per cent; None where that was not calibrated.

        How far a cosine stands out is measured on a seeded sample of the items that could have been found.
        """
        matching = self.space.matching.get(direction)
        if matching is None:
            return [None] * len(cosines)
        among = [of_modality(direction.partition("_to_")[2])]
        sample_N = self.store.vectors(self.store.select(among, BACKGROUND, seed=0)) @ query_E
        z = (cosines - sample_N.mean()) / max(float(sample_N.std()), LEAST_DEVIATION)
        return list(matching.percents(cosines, z, len(self.store.select(among))).tolist())

    def _check(self, text: str | None, image: Any, k: int, find: str | None) -> None:
        if (text is None) == (image is None):
            raise UserError("search by a text or by an image: give exactly one of the two")
        if k < 1:
            raise UserError(f"k must be at least 1; {k} was given")
        if text is not None and not text.strip():
            raise UserError("the search text is empty; type what you are looking for")
        if find is not None and find not in self.space.modalities:
            raise UserError(unknown(find, self.space.modalities, "this index holds no"))

    def _usual(self) -> str:
        """What is found where nobody says: pictures, if there are any."""
        return "image" if len(self.store.select([of_modality("image")], most=1)) else "text"

    def _nearest(self, query_1E: np.ndarray, k: int, among: list[Condition], by_text: bool) -> list[Result]:
        found = self.store.nearest(query_1E, k, among)
        there = found.numbers_QK[0] >= 0
        scores, items = found.scores_QK[0][there], self.store.items(found.numbers_QK[0][there].tolist())
        asked, got = "text" if by_text else "image", items[0].modality if items else ""
        percents = self.percents(query_1E[0], scores, f"{asked}_to_{got}")
        return [
            Result(item.id, float(score), item.modality, item.path, item.text, item.hash, percent, item.extras)
            for item, score, percent in zip(items, scores, percents, strict=True)
        ]

    def _second_look(self, results: list[Result], text: str | None, image: Any) -> list[Result]:
        """The same, the likeliest by the decoder first; those that it cannot look at stay behind them."""
        if self.teller is None:
            raise UserError("this index's model has no decoder to look twice; train with tell=caption")
        seen: list[tuple[Result, Tensor, str]] = []
        for result in results:
            raw, words = (result.path, text) if image is None else (image, result.text)
            if words and (result.modality == "image") == (image is None):
                with suppress(BadImage):
                    seen.append((result, self.space.preparers["image"].prepare(raw), words))
        if not seen:
            raise UserError("nothing found can be looked at again: search pictures by a text, or texts by a picture")
        pair_P2 = np.arange(len(seen))[:, None].repeat(2, 1)
        odds_P = self.teller.match(self.space, [row[1] for row in seen], [row[2] for row in seen], pair_P2)
        odds_P = evidence(self.space, odds_P, np.array([result.score for result, *_ in seen]))
        first = [seen[place][0] for place in np.argsort(-odds_P, kind="stable")]
        return first + [result for result in results if result not in first]
