"""The health of a space in an index, for people: what its run measured, how its vectors lie, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..commands.search import SearchableIndex
from ..evaluation.geometry import geometry, verdicts
from ..evaluation.intervals import wilson
from ..evaluation.platt import expected_calibration_error, reliability, sample_scores
from ..evaluation.retrieval import nearest
from ..evaluation.vectors import unit
from ..evaluators.measures import HEALTH_ROWS
from ..matches import Relation
from ..modalities import is_text, modality
from ..models.calibration import Calibration
from ..reading import read_object
from ..stores import Index, Item, of_modality
from ..stores.entries import ROW, SOURCE
from ..types import Metrics

PAIRS = 20_000
"""Pairs of two modalities that are measured; of a larger index that many are drawn."""
ASKED = 4000
"""Pairs among which everything is searched by everything, to see what is found too often and what never."""
SHOWN = 20
"""Least-agreeing pairs that are shown of every two modalities."""
TOP = 10
"""Results of a query that count as found."""
SAME = 0.99
"""Cosine of two items from which on they are called near-duplicates."""

_READ = 5000
_ADVICE = {
    "effective rank": "Train longer or on more varied pairs, or with objective=softmax.",
    "mean cosine": "Train with objective=softmax or objective=vicreg.",
    "modality gap": "Search one modality at a time, or train longer.",
    "hubness": "Read the most frequent results with care.",
}
_GEOMETRY = ("modality gap", "hubness", "effective rank", "mean cosine")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Items of two modalities that stand in the same rows, by their place; ``total`` is how many the index has."""

    first: str
    second: str
    first_items: list[Item]
    second_items: list[Item]
    numbers_P: np.ndarray
    first_PE: Tensor
    second_PE: Tensor
    total: int

    def __len__(self) -> int:
        return len(self.first_items)

    @property
    def about(self) -> str:
        """The two modalities, to name these pairs: ``images and texts``."""
        return f"{modality(self.first).plural} and {modality(self.second).plural}"

    def rows(self, most: int) -> Tensor:
        """At most so many places, evenly spread."""
        return torch.linspace(0, len(self) - 1, min(most, len(self))).long()


@dataclass(frozen=True, slots=True)
class Card:
    """One figure with a word (good, look or bad) and a sentence that says what it means and what to do.

    ``about`` names the two modalities where the index pairs more than two.
    """

    key: str
    title: str
    value: float
    shown: str
    word: str
    sentence: str
    about: str = ""


def space_health(collection: SearchableIndex, seed: int = 0) -> dict[str, Any]:
    """Everything the Health view shows, as JSON; a large index is sampled by ``seed``, and ``sampled`` says so."""
    run = collection.model_folder / "run"
    paired = _paired(collection, seed)
    several = len(paired) > 1
    reliable = _reliability(_read(run / "reliability.json"), collection.space.calibration, paired)
    cards = [
        card
        for pairs in paired
        if len(pairs) >= 2
        for card in _cards(pairs, collection.store.width, pairs.about if several else "")
    ]
    cards += [_calibration_card(reliable)] if reliable else []
    sampled = [
        (f"{pairs.about}: " if several else "") + f"{len(pairs):,} of {pairs.total:,} pairs, drawn by seed {seed}"
        for pairs in paired
        if len(pairs) < pairs.total
    ]
    return {
        "version": collection.store.version,
        "facts": _facts(_read(run / "run.json"), collection, paired),
        "held_out": _held_out(
            _read(run / "metrics.json"), _read(run / "intervals.json"), list(collection.space.modalities)
        ),
        "cards": [asdict(card) for card in cards],
        "calibration": reliable,
        "pairs": [one for pairs in paired for one in _least_agreeing(pairs, pairs.about if several else "")],
        "sampled": "; ".join(sampled) or None,
    }


def _read(path: Path) -> dict[str, Any]:
    """A file of the run; empty where the index has none, as one made by an older version or from a bare space."""
    return read_object(path) if path.is_file() else {}


def _both(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Every two modalities, files before texts."""
    return list(combinations(sorted(modalities, key=is_text), 2))


def _paired(collection: SearchableIndex, seed: int) -> list[Pairs]:
    """The pairs of every two modalities that share rows of the index; if none do, those of the first two, empty."""
    found = [_pairs(collection.store, first, second, seed) for first, second in _both(collection.space.modalities)]
    return [pairs for pairs in found if len(pairs)] or found[:1]


def _pairs(store: Index, first: str, second: str, seed: int) -> Pairs:
    """Items of one modality whose own row has an item of the other."""
    numbers, row_of = _rows(store, first)
    others, other_row_of = _rows(store, second)
    number_of = dict(zip(other_row_of, others.tolist(), strict=True))
    partners = np.array([number_of.get(row, -1) for row in row_of], np.int64)
    both = np.flatnonzero(partners >= 0)
    kept = np.sort(np.random.default_rng(seed).permutation(both)[:PAIRS])
    first_PE, second_PE = (
        unit(torch.from_numpy(store.vectors(side[kept]))) if len(kept) else torch.zeros(0, store.width)
        for side in (numbers, partners)
    )
    first_items, second_items = (store.items(side[kept].tolist()) for side in (numbers, partners))
    return Pairs(first, second, first_items, second_items, numbers[kept], first_PE, second_PE, len(both))


def _rows(store: Index, name: str) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """Numbers of the items of a modality, and for each the input and the row it came from."""
    numbers = store.select([of_modality(name)])
    items = (
        item for start in range(0, len(numbers), _READ) for item in store.items(numbers[start : start + _READ].tolist())
    )
    return numbers, [
        (item.extras.get(SOURCE, ""), item.extras.get(ROW, item.id.removeprefix(f"{name}/"))) for item in items
    ]


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
        "Model": str(store.fingerprint),
        "Trained": str(run.get("finished", "")),
        "Trained on": f"{data['name']}, {data.get('rows', 0):,} rows" if "name" in data else "",
        "Data": str(data.get("fingerprint", ""))[:16],
        "Held out": f"{checked['rows']:,} rows of {checked['name']}" if {"rows", "name"} <= checked.keys() else "",
        "cospace": str(run.get("cospace", "")),
    }
    return [{"name": name, "value": value} for name, value in facts.items() if value]


def _held_out(
    metrics: Mapping[str, Any], bounds: Mapping[str, Sequence[float]], modalities: Sequence[str]
) -> dict[str, Any] | None:
    """R@k both ways as the run measured it on pairs it had not seen; none where the index knows no run."""
    counts = {name: int(metrics.get(f"n_{name}s", 0)) for name in modalities}
    directions = [
        _direction(asked, found, metrics, bounds, counts)
        for first, second in _both(modalities)
        for asked, found in ((second, first), (first, second))
        if f"{asked}_to_{found}/R@1" in metrics
    ]
    if not directions:
        return None
    how = "95 % intervals over pairs, bootstrapped" if bounds else "95 % intervals by Wilson's score"
    shown = [{"count": count, "plural": modality(name).plural} for name, count in counts.items() if count]
    return {"n": counts, "counts": shown, "directions": directions, "intervals": how}


def _direction(
    asked: str,
    found: str,
    metrics: Mapping[str, Any],
    bounds: Mapping[str, Sequence[float]],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """One direction of search at k = 1, 5 and 10.

    Chance for ``R@k`` is ``k`` times that of ``R@1``: exact where a query has one match, never too low. Without the
    run's own intervals, Wilson's with as many trials as there are items on the smaller side.
    """
    direction = f"{asked}_to_{found}"
    chance = float(metrics.get(f"chance/{direction}/R@1", 0.0))
    recalls = []
    for k in (1, 5, 10):
        key, value = f"{direction}/R@{k}", float(metrics[f"{direction}/R@{k}"])
        low, high = bounds.get(key) or wilson(value, max(1, min(counts[asked], counts[found])))
        limits = {"low": low, "high": high, "chance": min(1.0, k * chance)}
        recalls.append({"k": k, "value": value, "shown": f"{100 * value:.1f}", **limits})
    title = f"{_one(asked).capitalize()} finds its {modality(found).noun}"
    return {"direction": direction, "title": title, "queries": counts[asked], "recalls": recalls}


def _one(name: str) -> str:
    """``a caption``, ``an image``."""
    noun = modality(name).noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


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
        cards.append(Card(key, name.capitalize(), verdict.value, shown, verdict.word, sentence, about))
    return cards + _found_cards(pairs, about) + [_duplicates_card(pairs, about)]


def _found_cards(pairs: Pairs, about: str) -> list[Card]:
    """How often items of the first modality are among the first results, when each of the second searches."""
    rows = pairs.rows(ASKED)
    count, found, asked = len(rows), modality(pairs.first), modality(pairs.second)
    _, found_QK = nearest(pairs.second_PE[rows], pairs.first_PE[rows], min(TOP, count))
    times_G = np.bincount(found_QK.flatten().numpy(), minlength=count)
    most, never = float(times_G.max() / count), float((times_G == 0).mean())
    name = pairs.first_items[int(rows[int(times_G.argmax())])].id
    often = (
        f"One {found.noun} ({name}) is among the first {TOP} results of {100 * most:.1f} % of {count:,} {asked.plural}."
    )
    lost = f"{100 * never:.1f} % of {count:,} {found.plural} are among the first {TOP} results of no {asked.noun}."
    fair = TOP / count
    word = _word(most, max(0.05, min(0.5, 5 * fair)), max(0.15, min(0.7, 10 * fair)))
    return [
        Card("most_found", "Found most often", most, f"{100 * most:.1f} %", word,
             often if word == "good" else often + " Check whether it is blank, broken or near to everything.", about),
        Card("never_found", "Never found", never, f"{100 * never:.1f} %", _word(never, 0.15, 0.4),
             lost if never <= 0.15 else f"{lost} Their {asked.plural} may say too little: see the pairs below.", about),
    ]  # fmt: skip


def _duplicates_card(pairs: Pairs, about: str) -> Card:
    """Items of the first modality that another one nearly equals, as the space sees it."""
    rows = pairs.rows(ASKED)
    items_QE = pairs.first_PE[rows]
    cosine_Q2, place_Q2 = nearest(items_QE, items_QE, 2)
    other_Q = torch.where(place_Q2[:, 0] == torch.arange(len(rows)), cosine_Q2[:, 1], cosine_Q2[:, 0])
    share = float((other_Q >= SAME).double().mean())
    plural = modality(pairs.first).plural
    sentence = f"{100 * share:.1f} % of {len(rows):,} {plural} have another at cosine {SAME} or above."
    if share > 0.05:
        sentence += " Remove copies with cospace check, or the space cannot separate these."
    shown, word = f"{100 * share:.1f} %", _word(share, 0.05, 0.25)
    return Card("near_duplicates", "Near-duplicates", share, shown, word, sentence, about)


def _reliability(
    kept: Mapping[str, Any], calibration: Calibration | None, paired: Sequence[Pairs]
) -> dict[str, Any] | None:
    """Predicted against observed probability: what the run kept of its held-out pairs, else these pairs' own."""
    if kept.get("bins"):
        return {**kept, "source": "held-out pairs", "shown": f"{100 * kept['error']:.1f} %"}
    if calibration is None:
        return None
    sampled = [_scores(pairs) for pairs in paired if len(pairs) >= 2]
    sampled = [(matched, others) for matched, others in sampled if len(matched) and len(others)]
    if not sampled:
        return None
    chance = calibration.probability(np.concatenate([scores for both in sampled for scores in both]))
    is_match = np.concatenate([np.full(len(scores), side == 0) for both in sampled for side, scores in enumerate(both)])
    error = expected_calibration_error(chance, is_match)
    bins = [asdict(one) for one in reliability(chance, is_match)]
    source = "the index's own pairs; where the model was trained on them, they flatter it"
    return {"error": error, "bins": bins, "source": source, "shown": f"{100 * error:.1f} %"}


def _scores(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of matches and of others; rows of equal content of the second modality match each other."""
    contents = [item.hash or item.text for item in pairs.second_items]
    groups = np.unique(contents, return_inverse=True)[1]
    return sample_scores(pairs.second_PE, pairs.first_PE, Relation.of_groups(groups))


def _calibration_card(reliable: Mapping[str, Any]) -> Card:
    error = float(reliable["error"])
    sentence = f"Percentages are off by {100 * error:.1f} points on average, on {reliable['source']}."
    if error > 0.05:
        sentence += " Trust the order of results more than their percentages."
    return Card("calibration", "Calibration error", error, f"{100 * error:.1f} %", _word(error, 0.05, 0.15), sentence)


def _least_agreeing(pairs: Pairs, about: str) -> list[dict[str, Any]]:
    """The pairs of the lowest cosine: wrong pairs are among them, and hard ones."""
    cosine_P = (pairs.first_PE * pairs.second_PE).sum(1)
    return [
        {
            "id": one.id, "other": other.id, "number": int(pairs.numbers_P[place]), "hash": one.hash,
            "modality": one.modality, "width": one.width, "height": one.height,
            "text": other.text or other.path.replace("\\", "/").rpartition("/")[2] or other.id,
            "cosine": round(float(cosine_P[place]), 4), "about": about,
        }
        for place in cosine_P.argsort(stable=True)[:SHOWN].tolist()
        for one, other in [(pairs.first_items[place], pairs.second_items[place])]
    ]  # fmt: skip


def _word(value: float, good: float, look: float) -> str:
    return "good" if value <= good else "look" if value <= look else "bad"
