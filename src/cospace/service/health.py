"""How good the space of an index is, for people: one sentence and one deed first, then what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..commands.search import SearchableIndex
from ..evaluation.geometry import geometry, verdicts
from ..evaluation.quality import Quality, describe, directions
from ..evaluation.retrieval import nearest, retrieval
from ..evaluation.shown import Shown
from ..evaluators.measures import HEALTH_ROWS
from ..matches import Relation
from ..modalities import modality
from ..runs.advice import next_deed
from ..types import Metrics
from .index_pairs import Pairs, paired_items
from .index_quality import Known, allowed, held_out

ASKED = 4000
"""Pairs among which everything is searched by everything, to see what is found too often and what never."""
SHOWN = 20
"""Least-agreeing pairs that are shown of every two modalities."""
TOP = 10
"""Results of a query that count as found."""
SAME = 0.99
"""Cosine of two items from which on they are called near-duplicates."""

_ADVICE = {
    "effective rank": "Train longer or on more varied pairs, or with objective=softmax.",
    "mean cosine": "Train with objective=softmax or objective=vicreg.",
    "modality gap": "Search one modality at a time, or train longer.",
    "hubness": "Read the most frequent results with care.",
}
_GEOMETRY = ("modality gap", "hubness", "effective rank", "mean cosine")


@dataclass(frozen=True, slots=True)
class Card:
    """One figure with a word (good, look or bad) and a sentence that says what it means and what to do.

    ``about`` names the two modalities where the index pairs more than two; ``specialist`` figures need the papers;
    ``item`` is one that the sentence is about.
    """

    key: str
    title: str
    value: float
    shown: str
    word: str
    sentence: str
    about: str = ""
    specialist: bool = False
    item: dict[str, Any] | None = None


def space_health(collection: SearchableIndex, seed: int = 0) -> dict[str, Any]:
    """Everything the Health view shows, as JSON; a large index is sampled by ``seed``, and ``sampled`` says so."""
    known = Known.of(collection)
    quality = known.quality()
    paired = paired_items(collection, seed)
    several = len(paired) > 1
    by_its_run = collection.relevance == collection.space.relevance  # not by a fit on the index's own captions
    shown = Shown.read(known.reliability) if by_its_run else None
    cards = [
        card
        for pairs in paired
        if len(pairs) >= 2
        for card in _cards(pairs, collection.store.width, pairs.about if several else "")
    ]
    sampled = [
        (f"{pairs.about}: " if several else "") + f"{len(pairs):,} of {pairs.total:,} pairs, drawn by seed {seed}"
        for pairs in paired
        if len(pairs) < pairs.total
    ]
    return {
        "version": collection.store.version,
        "verdict": _verdict(quality, known, paired),
        "facts": _facts(known.facts, collection, paired),
        "held_out": held_out(known.directions, quality.level, bool(known.bounds)),
        "cards": [asdict(card) | {"word": allowed(card.word, quality.level)} for card in cards],
        "calibration": None if shown is None else shown.json() | {"word": allowed(shown.word, quality.level)},
        "pairs": [one for pairs in paired for one in _least_agreeing(pairs, pairs.about if several else "")],
        "sampled": "; ".join(sampled) or None,
    }


def _verdict(quality: Quality, known: Known, paired: Sequence[Pairs]) -> dict[str, str]:
    """The sentence that opens the view, what to do, and the figures that the sentence rests on."""
    deed = next_deed(quality.level, known.config, known.facts)
    evidence = f"{quality.evidence}. 95 % interval, on pairs that training did not see." if quality.evidence else ""
    if quality.level == "unmeasured":
        evidence = _among_its_own(paired)
    return {
        "level": quality.level, "sentence": quality.sentence, "evidence": evidence,
        "deed": deed.sentence, "command": deed.command,
    }  # fmt: skip


def _among_its_own(paired: Sequence[Pairs]) -> str:
    """What a search of the index's own pairs finds: a fair test of a model that was not trained on them."""
    pairs = next((pairs for pairs in paired if len(pairs) >= 2), None)
    if pairs is None:
        return ""
    rows = pairs.rows(ASKED)
    relation = Relation.of_groups(pairs.contents[rows.numpy()])
    names = (pairs.first, pairs.second)
    metrics = retrieval(pairs.first_PE[rows], pairs.second_PE[rows], relation, names)
    found = describe(directions(metrics, {}, names)[0])
    return f"Of this index's own pairs it finds {found}. That is a fair test only if it was not trained on them."


def _facts(run: Mapping[str, Any], collection: SearchableIndex, paired: Sequence[Pairs]) -> list[dict[str, str]]:
    """Where the model came from and what the index holds, in the order to be read."""
    data, checked = run.get("data", {}), run.get("validation", {})
    store = collection.store
    owned = [
        f"{pairs.total:,} {modality(pairs.first).plural} with a {modality(pairs.second).noun} of their own"
        for pairs in paired
    ]
    facts = {
        "Index": f"{len(store):,} items, version {store.version}",
        "Pairs": "; ".join(owned),
        "Trained": str(run.get("finished", "")),
        "Trained on": f"{data['name']}, {data.get('rows', 0):,} rows" if "name" in data else "",
        "Held out": f"{checked['rows']:,} rows of {checked['name']}" if {"rows", "name"} <= checked.keys() else "",
        "cospace": str(run.get("cospace", "")),
        "Model": str(store.fingerprint),
        "Data": str(data.get("fingerprint", ""))[:16],
    }
    return [{"name": name, "value": value} for name, value in facts.items() if value]


def _cards(pairs: Pairs, width: int, about: str) -> list[Card]:
    """The figures of the index's own vectors."""
    rows = pairs.rows(HEALTH_ROWS)
    metrics: Metrics = geometry(pairs.first_PE[rows], pairs.second_PE[rows], (pairs.first, pairs.second))
    by_name = {verdict.name: verdict for verdict in verdicts(metrics, width)}
    cards = []
    for name in _GEOMETRY:
        verdict = by_name[name]
        shown = f"{verdict.value:.1f} of {width}" if name == "effective rank" else f"{verdict.value:.2f}"
        sentence = verdict.sentence if verdict.word == "good" else f"{verdict.sentence} {_ADVICE[name]}"
        key = name.replace(" ", "_")
        cards.append(Card(key, name.capitalize(), verdict.value, shown, verdict.word, sentence, about, specialist=True))
    return cards + _found_cards(pairs, about) + [_duplicates_card(pairs, about)]


def _found_cards(pairs: Pairs, about: str) -> list[Card]:
    """How often items of the first modality are among the first results, when each of the second searches."""
    rows = pairs.rows(ASKED)
    count, found, asked = len(rows), modality(pairs.first), modality(pairs.second)
    _, found_QK = nearest(pairs.second_PE[rows], pairs.first_PE[rows], min(TOP, count))
    times_G = np.bincount(found_QK.flatten().numpy(), minlength=count)
    most, never = float(times_G.max() / count), float((times_G == 0).mean())
    place = int(rows[int(times_G.argmax())])
    often = f"One {found.noun} is among the first {TOP} results of {100 * most:.1f} % of {count:,} {asked.noun}s."
    lost = f"{100 * never:.1f} % of {count:,} {found.plural} are among the first {TOP} results of no {asked.noun}."
    lost = lost if never else f"Every {found.noun} is found by some {asked.noun}."
    fair = TOP / count
    word = _word(most, max(0.05, min(0.5, 5 * fair)), max(0.15, min(0.7, 10 * fair)))
    return [
        Card("most_found", "Found most often", most, f"{100 * most:.1f} %", word,
             often if word == "good" else often + " Check whether it is blank, broken or near to everything.", about,
             item=_shown(pairs, place)),
        Card("never_found", "Never found", never, f"{100 * never:.1f} %", _word(never, 0.15, 0.4),
             lost if never <= 0.15 else f"{lost} Their {asked.noun}s may say too little: see the pairs below.", about),
    ]  # fmt: skip


def _duplicates_card(pairs: Pairs, about: str) -> Card:
    """Items of the first modality that another one nearly equals, as the space sees it."""
    rows = pairs.rows(ASKED)
    items_QE = pairs.first_PE[rows]
    cosine_Q2, place_Q2 = nearest(items_QE, items_QE, 2)
    other_Q = torch.where(place_Q2[:, 0] == torch.arange(len(rows)), cosine_Q2[:, 1], cosine_Q2[:, 0])
    share = float((other_Q >= SAME).double().mean())
    one = modality(pairs.first)
    sentence = (
        f"{100 * share:.1f} % of {len(rows):,} {one.plural} are nearly the same as another (cosine {SAME} or above)."
    )
    sentence = sentence if share else f"No {one.noun} is nearly the same as another."
    if share > 0.05:
        sentence += " Remove copies with cospace check, or the space cannot separate these."
    shown, word = f"{100 * share:.1f} %", _word(share, 0.05, 0.25)
    return Card("near_duplicates", "Near-duplicates", share, shown, word, sentence, about)


def _least_agreeing(pairs: Pairs, about: str) -> list[dict[str, Any]]:
    """The pairs of the lowest cosine: wrong pairs are among them, and hard ones."""
    cosine_P = (pairs.first_PE * pairs.second_PE).sum(1)
    return [
        _shown(pairs, place)
        | {"other": other.id, "cosine": round(float(cosine_P[place]), 4), "about": about}
        | {"text": other.text or other.path.replace("\\", "/").rpartition("/")[2] or other.id}
        for place in cosine_P.argsort(stable=True)[:SHOWN].tolist()
        for other in [pairs.second_items[place]]
    ]


def _shown(pairs: Pairs, place: int) -> dict[str, Any]:
    """An item of the first modality, as the page draws and opens it."""
    one = pairs.first_items[place]
    return {
        "id": one.id, "number": int(pairs.numbers_P[place]), "hash": one.hash, "modality": one.modality,
        "width": one.width, "height": one.height, "text": one.text or pairs.second_items[place].text,
    }  # fmt: skip


def _word(value: float, good: float, look: float) -> str:
    return "good" if value <= good else "look" if value <= look else "bad"
