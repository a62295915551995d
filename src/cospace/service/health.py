"""The health of a space in an index, for people: what its run measured, what its vectors look like, what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration import Calibration
from ..evaluation.geometry import geometry, verdicts
from ..evaluation.intervals import wilson
from ..evaluation.platt import expected_calibration_error, reliability, sample_scores
from ..evaluation.retrieval import nearest
from ..evaluation.vectors import unit
from ..experiment.evaluate import HEALTH_ROWS
from ..experiment.search import SearchableIndex
from ..stores import Item, of_modality
from ..types import Metrics

PAIRS = 20_000
"""Pairs of a picture and its text that are looked at; of a larger index that many are drawn."""
ASKED = 4000
"""Pairs among which everything is searched by everything, to see what is found too often and what never."""
SHOWN = 20
"""Least-agreeing pairs that are shown."""
TOP = 10
"""Results of a query that count as found."""
SAME = 0.99
"""Cosine of two pictures from which on they are called near-duplicates."""

_READ = 5000
_TITLES = {"text_to_image": "A text finds its picture", "image_to_text": "A picture finds its text"}
_ADVICE = {
    "effective rank": "Train longer or on more varied pairs, or with objective=softmax.",
    "mean cosine": "Train with objective=softmax or objective=vicreg.",
    "modality gap": "Search one modality at a time, or train longer.",
    "hubness": "Read the most frequent results with care.",
}
_GEOMETRY = ("modality gap", "hubness", "effective rank", "mean cosine")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures and one text of each, by their place: items and unit vectors; ``total`` is how many the index has."""

    pictures: list[Item]
    texts: list[Item]
    numbers_P: np.ndarray
    image_PE: Tensor
    text_PE: Tensor
    total: int


@dataclass(frozen=True, slots=True)
class Card:
    """One figure with a word (good, look or bad) and a sentence that says what it means and what to do."""

    key: str
    title: str
    value: float
    shown: str
    word: str
    sentence: str


def space_health(collection: SearchableIndex, seed: int = 0) -> dict[str, Any]:
    """Everything the Health view shows, as JSON; a large index is sampled by ``seed``, and ``sampled`` says so."""
    run = collection.model_folder / "run"
    pairs = _pairs(collection, seed)
    reliable = _reliability(_read(run / "reliability.json"), collection.space.calibration, pairs)
    enough = len(pairs.pictures) >= 2
    cards = (_cards(pairs, collection.store.width) if enough else []) + (
        [_calibration_card(reliable)] if reliable else []
    )
    sampled = f"{len(pairs.pictures):,} of {pairs.total:,} pairs, drawn by seed {seed}"
    return {
        "version": collection.store.version,
        "facts": _facts(_read(run / "run.json"), collection, pairs),
        "held_out": _held_out(_read(run / "metrics.json"), _read(run / "intervals.json")),
        "cards": [asdict(card) for card in cards],
        "calibration": reliable,
        "pairs": _least_agreeing(pairs),
        "sampled": sampled if len(pairs.pictures) < pairs.total else None,
    }


def _read(path: Path) -> dict[str, Any]:
    """A file of the run; empty where the index has none, as one made by an older version or from a bare space."""
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def _pairs(collection: SearchableIndex, seed: int) -> Pairs:
    """Pictures whose own row has a text in the index: its id is ``text/`` and the picture's."""
    store = collection.store
    pictures = store.select([of_modality("image")])
    ids = [
        item.id
        for start in range(0, len(pictures), _READ)
        for item in store.items(pictures[start : start + _READ].tolist())
    ]
    partners = store.numbers([f"text/{name}" for name in ids]) if ids else np.zeros(0, np.int64)
    both = np.flatnonzero(partners >= 0)
    kept = np.sort(np.random.default_rng(seed).permutation(both)[:PAIRS])
    width = store.width
    vectors = [
        unit(torch.from_numpy(store.vectors(numbers[kept]))) if len(kept) else torch.zeros(0, width)
        for numbers in (pictures, partners)
    ]
    items = [store.items(numbers[kept].tolist()) for numbers in (pictures, partners)]
    return Pairs(items[0], items[1], pictures[kept], vectors[0], vectors[1], len(both))


def _facts(run: Mapping[str, Any], collection: SearchableIndex, pairs: Pairs) -> list[dict[str, str]]:
    """Where the model came from and what the index holds, in the order to be read."""
    data, checked = run.get("data", {}), run.get("validation", {})
    store = collection.store
    facts = {
        "Index": f"{len(store):,} items, version {store.version}",
        "Pairs": f"{pairs.total:,} pictures with a text of their own",
        "Model": str(store.fingerprint),
        "Trained": str(run.get("finished", "")),
        "Trained on": f"{data['name']}, {data.get('rows', 0):,} rows" if "name" in data else "",
        "Data": str(data.get("fingerprint", ""))[:16],
        "Held out": f"{checked['rows']:,} rows of {checked['name']}" if {"rows", "name"} <= checked.keys() else "",
        "cospace": str(run.get("cospace", "")),
    }
    return [{"name": name, "value": value} for name, value in facts.items() if value]


def _held_out(metrics: Mapping[str, Any], bounds: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """R@k both ways as the run measured it on pairs it had not seen; none where the index knows no run.

    Chance for ``R@k`` is ``k`` times that of ``R@1``: exact where a query has one match, never too low. Without the
    run's own intervals, Wilson's with as many trials as there are items on the smaller side.
    """
    counts = {name: int(metrics.get(f"n_{name}s", 0)) for name in ("image", "text")}
    directions = []
    for direction, title in _TITLES.items():
        if f"{direction}/R@1" not in metrics:
            continue
        chance = float(metrics.get(f"chance/{direction}/R@1", 0.0))
        recalls = []
        for k in (1, 5, 10):
            key, value = f"{direction}/R@{k}", float(metrics[f"{direction}/R@{k}"])
            low, high = bounds.get(key) or wilson(value, max(1, min(counts.values())))
            recalls.append(
                {
                    "k": k,
                    "value": value,
                    "low": low,
                    "high": high,
                    "shown": f"{100 * value:.1f}",
                    "chance": min(1.0, k * chance),
                }
            )
        directions.append(
            {
                "direction": direction,
                "title": title,
                "queries": counts[direction.partition("_to_")[0]],
                "recalls": recalls,
            }
        )
    if not directions:
        return None
    how = "95 % intervals over pairs, bootstrapped" if bounds else "95 % intervals by Wilson's score"
    return {"n": counts, "directions": directions, "intervals": how}


def _cards(pairs: Pairs, width: int) -> list[Card]:
    """The figures of the index's own vectors."""
    rows = torch.linspace(0, len(pairs.pictures) - 1, min(HEALTH_ROWS, len(pairs.pictures))).long()
    metrics: Metrics = geometry(pairs.image_PE[rows], pairs.text_PE[rows])
    by_name = {verdict.name: verdict for verdict in verdicts(metrics, width)}
    cards = []
    for name in _GEOMETRY:
        verdict = by_name[name]
        shown = f"{verdict.value:.1f} of {width}" if name == "effective rank" else f"{verdict.value:.2f}"
        sentence = verdict.sentence if verdict.word == "good" else f"{verdict.sentence} {_ADVICE[name]}"
        cards.append(Card(name.replace(" ", "_"), name.capitalize(), verdict.value, shown, verdict.word, sentence))
    return cards + _found_cards(pairs) + [_duplicates_card(pairs)]


def _found_cards(pairs: Pairs) -> list[Card]:
    """How often pictures are among the first results, when each text searches."""
    rows = torch.linspace(0, len(pairs.pictures) - 1, min(ASKED, len(pairs.pictures))).long()
    count = len(rows)
    _, found_QK = nearest(pairs.text_PE[rows], pairs.image_PE[rows], min(TOP, count))
    times_G = np.bincount(found_QK.flatten().numpy(), minlength=count)
    most, never = float(times_G.max() / count), float((times_G == 0).mean())
    place = int(times_G.argmax())
    name = pairs.pictures[int(rows[place])].id
    often = f"One picture ({name}) is among the first {TOP} results of {100 * most:.1f} % of {count:,} texts."
    lost = f"{100 * never:.1f} % of {count:,} pictures are among the first {TOP} results of no text."
    fair = TOP / count
    word = _word(most, max(0.05, min(0.5, 5 * fair)), max(0.15, min(0.7, 10 * fair)))
    return [
        Card("most_found", "Found most often", most, f"{100 * most:.1f} %", word,
             often if word == "good" else often + " Look whether it is blank, broken or near to everything."),
        Card("never_found", "Never found", never, f"{100 * never:.1f} %", _word(never, 0.15, 0.4),
             lost if never <= 0.15 else lost + " Their texts may say too little: see the pairs below."),
    ]  # fmt: skip


def _duplicates_card(pairs: Pairs) -> Card:
    """Pictures that another picture nearly equals, as the space sees it."""
    rows = torch.linspace(0, len(pairs.pictures) - 1, min(ASKED, len(pairs.pictures))).long()
    images_QE = pairs.image_PE[rows]
    cosine_Q2, place_Q2 = nearest(images_QE, images_QE, 2)
    other_Q = torch.where(place_Q2[:, 0] == torch.arange(len(rows)), cosine_Q2[:, 1], cosine_Q2[:, 0])
    share = float((other_Q >= SAME).double().mean())
    sentence = f"{100 * share:.1f} % of {len(rows):,} pictures have another at cosine {SAME} or above."
    if share > 0.05:
        sentence += " Remove copies with cospace check, or the space cannot tell these apart."
    return Card("near_duplicates", "Near-duplicates", share, f"{100 * share:.1f} %", _word(share, 0.05, 0.25), sentence)


def _reliability(kept: Mapping[str, Any], calibration: Calibration | None, pairs: Pairs) -> dict[str, Any] | None:
    """Predicted against observed probability: what the run kept of its held-out pairs, else these pairs' own."""
    if kept.get("bins"):
        return {**kept, "source": "held-out pairs", "shown": f"{100 * kept['error']:.1f} %"}
    if calibration is None or len(pairs.pictures) < 2:
        return None
    groups = np.unique([text.text for text in pairs.texts], return_inverse=True)[1]
    matched, unmatched = sample_scores(pairs.text_PE, pairs.image_PE, (groups, groups))
    if not len(matched) or not len(unmatched):
        return None
    chance = calibration.probability(np.concatenate([matched, unmatched]))
    is_match = np.arange(len(chance)) < len(matched)
    error = expected_calibration_error(chance, is_match)
    bins = [asdict(one) for one in reliability(chance, is_match)]
    source = "the index's own pairs; where the model was trained on them, they flatter it"
    return {"error": error, "bins": bins, "source": source, "shown": f"{100 * error:.1f} %"}


def _calibration_card(reliable: Mapping[str, Any]) -> Card:
    error = float(reliable["error"])
    sentence = f"Percentages are off by {100 * error:.1f} points on average, on {reliable['source']}."
    if error > 0.05:
        sentence += " Trust the order of results more than their percentages."
    return Card("calibration", "Calibration error", error, f"{100 * error:.1f} %", _word(error, 0.05, 0.15), sentence)


def _least_agreeing(pairs: Pairs) -> list[dict[str, Any]]:
    """The pairs of the lowest cosine: wrong pairs are among them, and hard ones."""
    cosine_P = (pairs.image_PE * pairs.text_PE).sum(1)
    return [
        {
            "id": picture.id, "other": text.id, "number": int(pairs.numbers_P[place]), "hash": picture.hash,
            "width": picture.width, "height": picture.height, "text": text.text,
            "cosine": round(float(cosine_P[place]), 4),
        }
        for place in cosine_P.argsort(stable=True)[:SHOWN].tolist()
        for picture, text in [(pairs.pictures[place], pairs.texts[place])]
    ]  # fmt: skip


def _word(value: float, good: float, look: float) -> str:
    return "good" if value <= good else "look" if value <= look else "bad"
