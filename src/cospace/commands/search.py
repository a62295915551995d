"""Search an index: by a text or a file, among what satisfies conditions, with a probability where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from torch import Tensor

from ..config import unknown
from ..evaluators.reranking import CANDIDATES, evidence
from ..filenames import unescaped
from ..modalities import PREVIEW_SIZES, is_text, modality, text_modality
from ..models.generation.generator import TextGenerator
from ..models.space import Space
from ..runs.run import Run
from ..stores import Condition, Index, of_modality
from ..stores.entries import own_columns
from ..stores.locations import FolderLocation, IndexLocation, ServerLocation, location_of
from ..stores.thumbnails import Thumbnails
from ..types import BadItem, UserError, attempted

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
    unread: str = ""
    """Why the decoder could not read the item, so that it has its place by the score alone; empty where it could."""


class SearchableIndex:
    """Vectors, what they stand for, previews, and the model that made them; it needs no run to be searched."""

    def __init__(
        self, location: IndexLocation, store: Index, space: Space, generator: TextGenerator | None = None
    ) -> None:
        self.location, self.store, self.space, self.generator = location, store, space, generator

    @classmethod
    def open(cls, target: str | Path, trust: Iterable[str] = ()) -> SearchableIndex:
        """Read an index in a folder or at ``postgresql://...``; vectors that another model made are refused.

        ``trust``: see :meth:`cospace.runs.run.Run.load`.
        """
        location = location_of(target)
        model = location.model()
        space = Space.load(model, trust)
        store = location.open(fingerprint=space.fingerprint, thorough=True)
        return cls(location, store, space, TextGenerator.load(model, space))

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Previews of the items, by content hash."""
        return self.location.thumbnails()

    @property
    def folder(self) -> Path | None:
        """The index's own folder; none for one on a server."""
        return self.location.path if isinstance(self.location, FolderLocation) else None

    @property
    def url(self) -> str | None:
        """The address of an index on a server; none for a folder."""
        return self.location.url if isinstance(self.location, ServerLocation) else None

    @property
    def name(self) -> str:
        """As people type it, without a password."""
        return self.location.name

    @cached_property
    def model_folder(self) -> Path:
        """The index's copy of the model on this machine."""
        return self.location.model()

    @cached_property
    def run(self) -> Run:
        """The model as a run; it shares the weights."""
        return Run(self.space, self.model_folder, self.model_folder, {}, self.generator)

    def newer(self, version: int) -> Index | None:
        """Another view of the vectors where there is a later version than this one; the old view stays usable."""
        store = self.location.open(self.space.fingerprint)
        if store.version > version:
            return store
        store.close()
        return None

    def at(self, store: Index) -> SearchableIndex:
        """The same collection through another view of its vectors."""
        return SearchableIndex(self.location, store, self.space, self.generator)

    def search(
        self,
        k: int = 10,
        find: str | None = None,
        rerank: bool = False,
        where: Sequence[str | Condition] = (),
        **query: Any,
    ) -> list[Result]:
        """The ``k`` items nearest to a query of one modality, best first: ``search(text="a red bus")``.

        ``find`` chooses the modality of the results: files where the index holds any, otherwise texts. ``where`` keeps
        items that satisfy all conditions, such as ``"label=cat|dog"`` or ``"year>=1990"``. ``rerank`` lets the decoder
        sort the first few (:data:`CANDIDATES`, whatever ``k`` is) of the items found for a text, or of the texts found
        for an item.
        """
        asked, raw = self._checked(query, k, find)
        if not len(self.store):
            raise UserError(
                f"{self.name} holds no items; fill it with: cospace index RUN FILES --out {quote(self.name)}"
            )
        conditions = [Condition.parse(one) if isinstance(one, str) else one for one in where]
        query_1E = self.space.embed(progress=None, **{asked: [raw]})
        among = [of_modality(find or self._usual()), *conditions]
        if not rerank:
            return self._nearest(query_1E, k, among, asked)
        first = self._reranked(self._nearest(query_1E, CANDIDATES, among, asked), asked, raw)
        known = {result.id for result in first}
        rest = self._nearest(query_1E, k, among, asked) if k > CANDIDATES else []
        return [*first, *(result for result in rest if result.id not in known)][:k]

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

    def _checked(self, query: Mapping[str, Any], k: int, find: str | None) -> tuple[str, Any]:
        """The query's modality and raw item."""
        given = {name: raw for name, raw in query.items() if raw is not None}
        if len(given) != 1:
            raise UserError(f"search by one of {', '.join(self.space.modalities)}: give exactly one of them")
        ((asked, raw),) = given.items()
        if asked not in self.space.modalities:
            raise UserError(unknown(asked, self.space.modalities, "this index's model knows no"))
        if k < 1:
            raise UserError(f"k must be at least 1; {k} was given")
        if is_text(asked) and not raw.strip():
            raise UserError("the search text is empty; type what you are looking for")
        if find is not None and find not in self.space.modalities:
            raise UserError(unknown(find, self.space.modalities, "this index holds no"))
        return asked, raw

    def _usual(self) -> str:
        """What is found where nobody says: files of the first modality that there are any of, else texts."""
        names = sorted(self.space.modalities, key=is_text)
        return next((name for name in names if len(self.store.select([of_modality(name)], most=1))), names[0])

    def _nearest(self, query_1E: np.ndarray, k: int, among: list[Condition], asked: str) -> list[Result]:
        found = self.store.nearest(query_1E, k, among)
        there = found.numbers_QK[0] >= 0
        scores, items = found.scores_QK[0][there], self.store.items(found.numbers_QK[0][there].tolist())
        got = items[0].modality if items else ""
        percents = self.percents(query_1E[0], scores, f"{asked}_to_{got}")
        return [
            Result(
                item.id, float(score), item.modality, item.path, item.text, item.hash, percent, own_columns(item.extras)
            )
            for item, score, percent in zip(items, scores, percents, strict=True)
        ]

    def _reranked(self, results: list[Result], asked: str, raw: Any) -> list[Result]:
        """The same, the likeliest by the decoder first; one that it cannot read keeps its place, and says why."""
        if self.generator is None:
            raise UserError("this index's model has no decoder to re-rank with; train with tasks=caption")
        described, text = self.generator.modality, text_modality()
        if any((result.modality == described) != (asked == text) for result in results):
            several = modality(described).plural
            raise UserError(
                f"nothing found can be re-ranked: search {several} by a text, or texts by one of the {several}"
            )
        prepare = self.space.processors[described].prepare
        seen: dict[int, Tensor] = {}
        unread: dict[int, BadItem] = {}
        item_T = prepare(raw) if asked == described else None
        for place, result in enumerate(results):
            try:
                seen[place] = self.prepared(result.path, result.hash, described) if item_T is None else item_T
            except BadItem as error:
                unread[place] = error
        order = self._by_decoder(results, seen, raw if asked == text else None)
        return [
            replace(result, unread=str(unread[place])) if place in unread else results[next(order)]
            for place, result in enumerate(results)
        ]

    def _by_decoder(self, results: Sequence[Result], seen: Mapping[int, Tensor], asked: str | None) -> Iterator[int]:
        """The places of results whose items were read, the likeliest first; ``asked`` is the text, if that is asked."""
        if self.generator is None or not seen:
            return iter(())
        places = list(seen)
        words = [results[place].text if asked is None else asked for place in places]
        pair_P2 = np.arange(len(places))[:, None].repeat(2, 1)
        odds_P = self.generator.match(self.space, [seen[place] for place in places], words, pair_P2)
        odds_P = evidence(self.space, odds_P, np.array([results[place].score for place in places]))
        return iter([places[row] for row in np.argsort(-odds_P, kind="stable")])

    def readable(self, path: str, content: str, name: str) -> Any:
        """The raw item of a modality: its file or, where that is none or gone, its preview, if that is an item too.

        What was drawn on the fly, or lies in a tar, has no file of its own. Raises :class:`BadItem`.
        """
        return self._read(path, content, name)[0]

    def prepared(self, path: str, content: str, name: str) -> Tensor:
        """The same as the decoder's encoder reads it."""
        return self._read(path, content, name)[1]

    def _read(self, path: str, content: str, name: str) -> tuple[Any, Tensor]:
        """Both, decoded once."""
        prepare = self.space.processors[name].prepare
        file = Path(unescaped(path))
        made = attempted(prepare, file)
        if not isinstance(made, BadItem):
            return file, made
        preview = self.thumbnails.get(content, max(PREVIEW_SIZES))
        if preview is None or not modality(name).recognises(preview):
            raise made
        return preview, prepare(preview)
