"""Search an index: by a text or a file, among what satisfies conditions, with a probability where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any, Self

import numpy as np
from torch import Tensor

from ..config import unknown
from ..evaluators.reranking import CANDIDATES, evidence
from ..filenames import unescaped
from ..modalities import PREVIEW_SIZES, is_text, modality, text_modality
from ..models.calibration import MATCHES, Relevance
from ..models.generation.generator import TextGenerator
from ..models.space import Space
from ..reading import understood
from ..runs.run import Run
from ..stores import Condition, Index, Item, of_modality
from ..stores.entries import captions_of, own_columns
from ..stores.lexicon import Lexicon
from ..stores.locations import CALIBRATION, FolderLocation, IndexLocation, LanceLocation, ServerLocation, location_of
from ..stores.thumbnails import Thumbnails
from ..types import BadItem, UserError, attempted
from .relevance import (
    LITERAL,
    Found,
    Gallery,
    Verdict,
    Wording,
    ordered,
    unknown_sentence,
    verdict,
)

BACKGROUND = 2_048
"""Items of a modality that a cosine is measured against."""


@dataclass(frozen=True, slots=True)
class Result:
    """One item that was found; ``score`` is its cosine to the query, ``probability`` that it fits, if that is known.

    ``match`` is the word for it: strong, likely, maybe or weak (:mod:`cospace.models.calibration`).
    """

    id: str
    score: float
    modality: str
    path: str
    text: str
    hash: str
    probability: float | None
    match: str
    extras: Mapping[str, str]
    number: int
    width: int
    height: int
    rgb: int
    captions: Sequence[str] = ()
    unread: str = ""
    """Why the decoder could not read the item, so that it has its place by the score alone; empty where it could."""

    def plain(self) -> dict[str, Any]:
        """As JSON; a person's own columns lie beside ours, whose names win."""
        own = {name: getattr(self, name) for name in _SHOWN}
        return {**self.extras, **own, "captions": list(self.captions), "extras": dict(self.extras)}


_SHOWN = (
    "id", "score", "probability", "match", "path", "text", "modality", "hash", "number", "width", "height", "rgb",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class How:
    """What is found, in which order: ``at_least`` keeps ``strong``, ``likely`` or ``maybe`` results and better ones.

    ``hybrid`` fuses the order by meaning with that of the items whose captions hold the words.
    """

    k: int = 10
    find: str | None = None
    rerank: bool = False
    where: tuple[str | Condition, ...] = ()
    at_least: str | None = None
    hybrid: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Results, how the whole ranking is judged, of how many items, and what the ``captions`` say of the query."""

    results: Sequence[Result]
    judged: Verdict
    wording: Wording
    total: int
    direction: str
    captions: int
    version: int
    literal: Sequence[int] = ()
    """Numbers of items whose captions hold all words."""
    reranked: bool = False
    """Whether the decoder sorted the first results."""

    def fitting(self) -> Sequence[Result]:
        """The results that are not weak; where all are, these are guesses, and all are given."""
        fit = [result for result in self.results if result.match != MATCHES[-1]]
        return fit or self.results

    def plain(self) -> dict[str, Any]:
        """As JSON: the same object that the service answers with."""
        unread = [{"id": one.id, "reason": one.unread} for one in self.results if one.unread]
        return {
            "results": [one.plain() for one in self.results],
            "unknown_words": list(self.wording.unknown),
            "shown": self.judged.maybe,
            "total": self.total,
            "version": self.version,
            "direction": self.direction,
            "calibrated": self.judged.calibrated,
            "literal": list(self.literal),
            **({"not_reranked": unread} if self.reranked else {}),
        }

    @property
    def unknown_sentence(self) -> str:
        """What is said of words that no caption uses; empty where all occur."""
        return unknown_sentence(self.wording.unknown, self.captions, bool(self.wording.asked.known))


@dataclass(frozen=True, slots=True)
class Ranked:
    """The nearest items of one query by number (-1: no more), their cosines, and what they are judged against."""

    query_E: np.ndarray
    numbers_K: np.ndarray
    scores_K: np.ndarray
    of: Gallery


class SearchableIndex:
    """Vectors, what they stand for, previews, and the model that made them; it needs no run to be searched.

    Queries have as many numbers as the vectors that are stored.
    """

    def __init__(
        self, location: IndexLocation, store: Index, space: Space, generator: TextGenerator | None = None
    ) -> None:
        self.location, self.store, self.generator = location, store, generator
        self.space = space if space.width == store.width else space.truncated(store.width)

    @classmethod
    def open(cls, target: str | Path, trust: Iterable[str] = ()) -> Self:
        """Read an index in a folder or at an address; vectors that another model made are refused.

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
        return self.location.path if isinstance(self.location, FolderLocation | LanceLocation) else None

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

    @cached_property
    def relevance(self) -> Relevance:
        """What calibrates a search: what was fitted on this index's own captions, otherwise what its model brought."""
        kept = self.location.calibration()
        if not kept:
            return self.space.relevance
        with understood(Path(self.name) / CALIBRATION):
            own = Relevance.from_plain(kept)
        return Relevance({**self.space.relevance.fits, **own.fits})

    @cached_property
    def lexicon(self) -> Lexicon:
        """The words of its captions, as of the version that is open."""
        return self.location.lexicon(self.store)

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
        return list(self.find(How(k, find, rerank, tuple(where)), **query).results)

    def find(self, how: How, **query: Any) -> Answer:
        """The same with what is known of the query: words that no caption uses, how many results fit."""
        asked, raw = self._checked(query, how.k, how.find)
        self._not_empty()
        query_1E = self.space.embed(progress=None, **{asked: [raw]})
        if not how.rerank:
            return self._answers(query_1E, how, asked, [raw])[0]
        wide = self._answers(query_1E, replace(how, k=max(how.k, CANDIDATES), at_least=None), asked, [raw])[0]
        first = self._reranked(list(wide.results[:CANDIDATES]), asked, raw)
        return replace(wide, results=[*first, *wide.results[CANDIDATES:]][: how.k], reranked=True)

    def _not_empty(self) -> None:
        if not len(self.store):
            raise UserError(
                f"{self.name} holds no items; fill it with: cospace index RUN FILES --out {quote(self.name)}"
            )

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

    def _answers(self, queries_QE: np.ndarray, how: How, asked: str, raws: Sequence[Any]) -> list[Answer]:
        """Search for several queries in one pass, judge, and put into the order and the number that are wanted.

        ``asked`` is the modality of the queries, or what has no calibration.
        """
        self._not_empty()
        got = how.find or self._usual()
        conditions = [Condition.parse(one) if isinstance(one, str) else one for one in how.where]
        among = [of_modality(got), *conditions]
        chosen_N = self.store.select(among)
        only_N = chosen_N if conditions else None
        wordings = [Wording.of(raw if is_text(asked) else None, self.lexicon, got, only_N) for raw in raws]
        deepest = max((wording.depth(len(chosen_N)) for wording in wordings), default=0)
        found = self.store.nearest(queries_QE, max(how.k, deepest), among)
        background_BE = self.store.vectors(self.store.select([of_modality(got)], BACKGROUND, seed=0))
        rows = zip(queries_QE, found.numbers_QK, found.scores_QK, wordings, strict=True)
        return [
            self._answer(
                Ranked(query_E, numbers_K, scores_K, Gallery(len(chosen_N), background_BE @ query_E)), how, wording,
                f"{asked}_to_{got}",
            )
            for query_E, numbers_K, scores_K, wording in rows
        ]  # fmt: skip

    def _answer(self, ranked: Ranked, how: How, wording: Wording, direction: str) -> Answer:
        """Judge the results of one query."""
        there = ranked.numbers_K >= 0
        numbers_N, scores_N = ranked.numbers_K[there], ranked.scores_K[there]
        judged = verdict(self.relevance, direction, wording, scores_N, numbers_N, ranked.of)
        judged, found = ordered(
            judged,
            Found(numbers_N, scores_N),
            wording,
            how.hybrid,
            lambda numbers_L: self.store.vectors(numbers_L) @ ranked.query_E,
        )
        most = how.k if how.at_least is None else min(how.k, judged.until(how.at_least))
        numbers = found.numbers_N[:most].tolist()
        rows = zip(self.store.items(numbers), found.scores_N[:most].tolist(), numbers, strict=True)
        results = [_result(item, score, judged, place, number) for place, (item, score, number) in enumerate(rows)]
        facts = (self.lexicon.captions, self.store.version, wording.holding_L[:LITERAL].tolist())
        return Answer(results, judged, wording, ranked.of.items, direction, *facts)

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


def _result(item: Item, score: float, judged: Verdict, place: int, number: int) -> Result:
    """The item in a place of the ranking."""
    fits = judged.probability(place), judged.match(place)
    seen = number, item.width, item.height, item.rgb
    own = own_columns(item.extras)
    return Result(item.id, score, item.modality, item.path, item.text, item.hash, *fits, own, *seen, captions_of(item))
