"""An index to work with from Python: add, delete, search in every way, teach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..config import unknown
from ..data.contents import contents, digest
from ..data.pairs import Pairs, build
from ..data.sources import Rows
from ..evaluation.taught import SavedClass
from ..filenames import escaped
from ..modalities import all_modalities, is_text, text_modality
from ..stores import Condition, Index, Item, of_modality
from ..stores.entries import of_rows, row_keys
from ..stores.thumbnails import keep_only
from ..types import Progress, UserError, silent
from .index import add_items
from .mixing import Weighed
from .relevance import Gallery, Wording
from .search import BACKGROUND, Answer, How, Ranked, Result, SearchableIndex
from .teaching import conditions, learned, save_class, saved_class, saved_classes, unwanted

ADDED = "python"
"""What an index calls the input of items that were added one by one."""

CANDIDATES = 5_000
"""Items among which a query that takes something away chooses."""

VECTOR = "vector"
"""In place of a modality, for a query that is a vector already."""

TAUGHT = "taught"
"""The same for what marks and a query say together."""

Part = tuple[Any, float]
"""A query and its weight: a text, a vector, or ``{"image": FILE}``, ``{"id": ID}``."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of results that are right and wrong, and the name under which what they say is saved, if it is."""

    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    save: str | None = None


class Collection(SearchableIndex):
    """A :class:`SearchableIndex` that changes and learns: what :func:`cospace.index` and ``open_index`` give.

    Changes are safe beside a running service and other readers: each becomes visible as a whole. One process writes at
    a time, and a second one is refused with the first one's number.
    """

    @classmethod
    def of(cls, index: SearchableIndex) -> Self:
        """The same index, with more methods."""
        return cls(index.location, index.store, index.space, index.generator)

    def __len__(self) -> int:
        return len(self.store)

    # --- change

    def add(
        self,
        *,
        ids: Sequence[str] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        progress: Progress = silent,
        **items: Sequence[Any],
    ) -> list[str]:
        """Add items or replace them, and return their ids: ``add(images=["a.jpg"], texts=["a red bus"], ids=["bus"])``.

        Lists of equal length belong together row by row, as in a table; ``None`` where a row lacks something. Files are
        paths, bytes or decoded arrays, images also PIL's. Without ``ids`` a row is called as its file, or by its
        content, so that adding the same again changes nothing. The caption of ``bus`` is the item ``text/bus``.
        ``columns`` are what ``where`` asks for. All rows are added, or none: one that cannot be read is a
        :class:`UserError` that names it. An id that is there already gets the new content.
        """
        pairs = _pairs(self._by_modality(items), ids, columns or {}, progress)
        add_items(self.run, pairs, self.location, progress)
        self.refresh()
        return list(pairs.ids)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Remove items by id, with captions that belong to nothing else; the number of ids that were there."""
        names = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
        store = self.location.open(self.space.fingerprint)
        try:
            store.checkpoint()  # from here on the items of an unfinished update are there, too
            numbers = store.numbers(names)
            there = [name for name, number in zip(names, numbers.tolist(), strict=True) if number >= 0]
            gone = [*there, *_captions_of(store, there)]
            if gone:
                store.delete(gone)
                keep_only(self.thumbnails, store.hashes().values())
                self.location.forget_lexicon(store)
        finally:
            store.close()
        self.refresh()
        return len(there)

    def refresh(self) -> bool:
        """See what others have changed; true if anything has."""
        return self.store.refresh()

    def _by_modality(self, items: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Lists by modality; ``images=`` and ``image=`` are the same."""
        called = {word: one.name for one in all_modalities() for word in (one.name, f"{one.name}s", one.plural)}
        given: dict[str, Sequence[Any]] = {}
        for word, values in items.items():
            name = called.get(word, word)
            if name not in self.space.modalities:
                raise UserError(unknown(word, self.space.modalities, "this index's model embeds no"))
            if isinstance(values, str | bytes | Path) or not isinstance(values, Sequence | np.ndarray):
                raise UserError(f"add({word}=...) takes a list; write add({word}=[...])")
            given[name] = values
        return given

    # --- search

    def search(  # type: ignore[override]
        self,
        k: int = 10,
        find: str | None = None,
        rerank: bool = False,
        where: Sequence[str | Condition] = (),
        *,
        vector: Any = None,
        parts: Sequence[Part] | None = None,
        **query: Any,
    ) -> list[Result] | list[list[Result]]:
        """The ``k`` nearest items, best first: ``search(text="a red bus")``, or by a file: ``search(image="bus.jpg")``.

        A list of queries gives a list of results for each, from one batch of the encoder and one pass over the vectors:
        ``search(text=["a bus", "a tram"])``. ``vector`` is a vector of the space, or several. ``parts`` are queries
        with weights that add up, ``search(parts=[({"image": "bus.jpg"}, 1), ("at night", 0.5), ("cars", -1)])``; what
        has a negative weight is taken away. ``find`` chooses the modality of the results, ``where`` keeps items that
        satisfy all conditions (``"year>=1990"``, or ``"class:NAME"`` for a class that was saved), and ``rerank`` lets
        the decoder sort the first results of a single query.
        """
        among = conditions(self, self.store, where)
        if parts is not None:
            _only(parts=parts, vector=vector, **query)
            return self._by_parts(list(parts), k, find, among)
        given = {name: one for name, one in {**query, VECTOR: vector}.items() if one is not None}
        if not (vector is not None or any(isinstance(one, list | tuple) for one in given.values())):
            return super().search(k, find, rerank, among, **query)
        if rerank:
            raise UserError("re-ranking takes one text or one file at a time; leave rerank out, or search one by one")
        asked, queries_QE, several = self._vectors(given, k, find)
        raws = list(given[asked]) if several else [given[asked]]
        how = How(k, find, where=tuple(among))
        found = [list(answer.results) for answer in self._answers(queries_QE, how, asked, raws)] if raws else []
        return found if several else found[0]

    def find(self, how: How, **query: Any) -> Answer:
        """One query, with what is known of it beside its results; ``how.where`` may name saved classes."""
        return super().find(replace(how, where=tuple(conditions(self, self.store, how.where))), **query)

    def _vectors(self, given: Mapping[str, Any], k: int, find: str | None) -> tuple[str, np.ndarray, bool]:
        """What is asked by, the unit vectors ``(Q, E)`` of the queries, and whether a list was given."""
        _only(**given)
        ((asked, values),) = given.items()
        if asked == VECTOR:
            rows = np.asarray(values, np.float32)
            if rows.ndim not in (1, 2) or rows.shape[-1] != self.space.width:
                raise UserError(f"a vector of this space has {self.space.width} numbers; {rows.shape} were given")
            self._checked({text_modality(): "-"}, k, find)
            return asked, np.atleast_2d(rows), rows.ndim == 2
        for one in values:
            self._checked({asked: one}, k, find)
        return asked, self.space.embed(progress=None, **{asked: list(values)}), True

    def _by_parts(self, parts: Sequence[Part], k: int, find: str | None, among: Sequence[Condition]) -> list[Result]:
        """The items nearest to a weighted mixture, see :mod:`cospace.commands.mixing`."""
        self._checked({text_modality(): "-"}, k, find)
        self._not_empty()
        found, asked, vectors_PE = find or self._usual(), [], []
        for query, _ in parts:
            kind, vector_E = self._part(query)
            asked.append(kind)
            vectors_PE.append(vector_E)
        if not parts:
            raise UserError('parts holds no query; give at least one: parts=[("a red bus", 1)]')
        background_BE = self.store.vectors(self.store.select([of_modality(found)], BACKGROUND, seed=0))
        weighed = Weighed.against(background_BE, np.stack(vectors_PE), [weight for _, weight in parts])
        if weighed.nothing:
            raise UserError("the parts take each other away, so nothing is searched for; change a weight")
        where = [of_modality(found), *among]
        if weighed.simple:
            raws = [next(iter(one.values())) if isinstance(one := parts[0][0], Mapping) else one]
            return list(self._answers(weighed.vectors_PE, How(k, found, where=tuple(among)), asked[0], raws)[0].results)
        wide = k if weighed.linear else max(k, CANDIDATES)
        numbers = self.store.nearest(weighed.direction().astype(np.float32)[None], wide, where).numbers_QK[0]
        numbers = numbers[numbers >= 0]
        scores = weighed.scores(self.store.vectors(numbers)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")[:k]
        gallery = Gallery(len(self.store.select(where)), weighed.scores(background_BE))
        ranked = Ranked(weighed.direction(), numbers[order], scores[order], gallery)
        return list(self._answer(ranked, How(k), Wording(), f"mixed_to_{found}").results)

    def _part(self, query: Any) -> tuple[str, np.ndarray]:
        """The modality and unit vector ``(E,)`` of one part."""
        if isinstance(query, np.ndarray) and query.ndim == 1 and len(query) == self.space.width:
            return VECTOR, query.astype(np.float32) / max(float(np.linalg.norm(query)), 1e-12)
        named = {text_modality(): query} if isinstance(query, str) else query
        if not isinstance(named, Mapping) or len(named) != 1:
            raise UserError('a part is (QUERY, WEIGHT), where QUERY is a text, a vector, {"id": ID} or {"image": FILE}')
        ((name, raw),) = named.items()
        if name == "id":
            number = int(self.store.numbers([raw])[0])
            if number < 0:
                raise UserError(f"the index holds no item {raw!r}; give an id as search shows it")
            return self.store.items([number])[0].modality, self.store.vectors(np.array([number]))[0]
        self._checked({name: raw}, 1, None)
        return name, self.space.embed(progress=None, **{name: [raw]})[0]

    # --- teach

    def teach(
        self,
        query: Any = None,
        *,
        right: Sequence[str] = (),
        wrong: Sequence[str] = (),
        save: str | None = None,
        where: Sequence[str | Condition] = (),
        **how: Any,
    ) -> list[Result]:
        """The nearest items after some results were marked, by id: ``teach("dog", right=["a.jpg"], wrong=["b.jpg"])``.

        ``query`` is a text, a vector, ``{"image": FILE}``, or nothing where the marks alone say what is wanted. What is
        marked wrong is not found again. ``save`` keeps what was learned as a class: ``search(where=["class:NAME"])``.
        ``k``, ``find``, ``where`` and ``at_least`` are those of a search (:class:`How`).
        """
        marks = Marks(tuple(right), tuple(wrong), save)
        return list(self.taught(query, marks, How(where=tuple(where), **how)).results)

    def taught(self, query: Any, marks: Marks, how: How) -> Answer:
        """The same with what is known of it beside its results."""
        if how.rerank or how.hybrid:
            raise UserError("marks decide the order by themselves; leave out rerank and hybrid")
        self._not_empty()
        found = how.find or self._usual()
        asked, query_E = ("", None) if query is None else self._part(query)
        made = learned(self.store, query_E, marks.right, marks.wrong, found)
        if marks.save is not None:
            words = query if isinstance(query, str) else asked
            save_class(self, marks.save, made, found, words, marks.right, marks.wrong)
        among = (*unwanted(marks.wrong), *conditions(self, self.store, how.where))
        return self._answers(made.direction_E[None], replace(how, find=found, where=among), TAUGHT, [None])[0]

    def of_class(self, name: str, k: int = 10, where: Sequence[str | Condition] = ()) -> list[Result]:
        """The items of a saved class, the surest first."""
        return list(self.class_answer(name, How(k, where=tuple(where))).results)

    def class_answer(self, name: str, how: How) -> Answer:
        """The same with what is known of it beside its results."""
        saved = saved_class(self, name)
        assert saved is not None
        among = tuple(conditions(self, self.store, how.where))
        how = replace(how, find=saved.modality, where=among)
        answer = self._answers(saved.direction_E[None], how, TAUGHT, [None])[0]
        return replace(answer, results=[one for one in answer.results if one.score >= saved.threshold])

    def classes(self) -> list[SavedClass]:
        """What was saved by :meth:`teach`, in order of the names."""
        return saved_classes(self)

    def forget_class(self, name: str) -> None:
        """Remove a saved class."""
        saved_class(self, name)
        self.location.saved().remove(name)


def _only(**given: Any) -> None:
    """Refuse two ways to say what is searched for."""
    named = [name for name, one in given.items() if one is not None]
    if len(named) != 1:
        raise UserError(f"search by one thing at a time, or by parts; {', '.join(named) or 'nothing'} was given")


def _pairs(
    items: Mapping[str, Sequence[Any]],
    ids: Sequence[str] | None,
    columns: Mapping[str, Sequence[Any]],
    progress: Progress,
) -> Pairs:
    """What was given, as pairs; a row that cannot be used is a :class:`UserError`."""
    if not items:
        raise UserError("nothing was given to add; write add(images=[...]), add(texts=[...]), or both")
    lengths = {
        name: len(values) for name, values in {**items, **columns, **({} if ids is None else {"ids": ids})}.items()
    }
    if len(set(lengths.values())) != 1:
        said = ", ".join(f"{name}: {count:,}" for name, count in lengths.items())
        raise UserError(f"lists of different lengths cannot belong together row by row ({said})")
    raws = {name: [_raw(name, one) for one in values] for name, values in items.items()}
    names = _row_names(raws, next(iter(lengths.values()))) if ids is None else [str(one) for one in ids]
    if len(set(names)) != len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise UserError(f"the id {twice!r} is given twice; every item needs its own")
    extras = {name: ["" if one is None else str(one) for one in values] for name, values in columns.items()}
    files = [name for name in raws if not is_text(name)][:1]  # its items keep their ids even where two are equal
    pairs = build(ADDED, Rows(names, raws, extras, least=1, names=dict.fromkeys(files, names)), progress)
    if pairs.problems:
        raise UserError(f"nothing was added: {pairs.problems[0].id}: {pairs.problems[0].reason}")
    return pairs


def _raw(name: str, one: Any) -> Any:
    """A path as such; everything else as it is."""
    return Path(one) if isinstance(one, str) and not is_text(name) else one


def _row_names(raws: Mapping[str, Sequence[Any]], count: int) -> list[str]:
    """A row is called as its first file, or by sixteen digits of its content; files that are called alike, by both."""
    files = [[column[row] for name, column in raws.items() if not is_text(name)] for row in range(count)]
    first = [next((one for one in row if one is not None), None) for row in files]
    called = [escaped(one.name) if isinstance(one, Path) else "" for one in first]
    often = Counter(called)
    found = {name: contents(name, column) for name, column in sorted(raws.items())}
    whole = [digest([str(column[row]).encode() for column in found.values()])[:16] for row in range(count)]
    named = [name if name and often[name] == 1 else f"{code}-{name}" for name, code in zip(called, whole, strict=True)]
    return [name.removesuffix("-") for name in named]


def _captions_of(store: Index, ids: Sequence[str]) -> list[str]:
    """The captions of items that go, but for those that an item that stays has as well: in its rows, or the same words.

    A caption whose rows are too many to be remembered is an item's own where it is called after it.
    """
    items = [item for item in store.items(store.numbers(ids).tolist()) if not is_text(item.modality)]
    going, gone = set(ids), {key for item in items for key in row_keys(item)}
    near = of_rows(store, gone) + [n for n in store.numbers([f"{text_modality()}/{id_}" for id_ in ids]) if n >= 0]
    found = [one for one in store.items(sorted(set(near))) if is_text(one.modality) and one.id not in going]
    found = [one for one in found if row_keys(one) & gone or one.id.partition("/")[2] in going]
    others = {key for one in found for key in row_keys(one)} - gone
    kept = {key for item in store.items(of_rows(store, others)) if not is_text(item.modality) for key in row_keys(item)}
    found = [one for one in found if not row_keys(one) & (kept - gone)]
    going |= {one.id for one in found}

    def alone(text: Item) -> bool:
        same = store.select([Condition("@text", "=", (text.text,))], len(going) + 1)
        return all(other.id in going for other in store.items(same.tolist()))

    return [one.id for one in found if alone(one)]
