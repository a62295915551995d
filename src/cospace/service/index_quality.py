"""How good the run of an index was on pairs that it had not seen, as the index remembers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..commands.search import SearchableIndex
from ..evaluation.quality import Direction, Level, Quality, directions, judge, shown_chance
from ..modalities import modality
from ..reading import MALFORMED, read_object
from ..types import Metrics, UserError

WORDS: dict[Level, tuple[str, str]] = {
    "good": ("good", "good"),
    "fair": ("fair", "look"),
    "poor": ("poor", "bad"),
    "chance": ("no better than guessing", "bad"),
}
"""What a direction of search is called, and which of the three words its colour is."""


def index_quality(collection: SearchableIndex) -> dict[str, str]:
    """The verdict's sentence and a level (good, fair, poor or unknown), for whoever shows the index."""
    quality = Quality("unmeasured", "What this index says of its model cannot be read.")
    with suppress(UserError, *MALFORMED):
        quality = Known.of(collection).quality()
    levels = {"chance": "poor", "collapsed": "poor", "unmeasured": "unknown"}
    return {"verdict": quality.sentence, "level": levels.get(quality.level, quality.level)}


@dataclass(frozen=True, slots=True)
class Known:
    """What an index says of the run that made its model; all of it is empty of an imported model."""

    metrics: Metrics
    bounds: Mapping[str, Sequence[float]]
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    reliability: Mapping[str, Any]
    modalities: Sequence[str]
    width: int

    @classmethod
    def of(cls, collection: SearchableIndex) -> Known:
        """Read from the model's folder in the index."""
        run, space = collection.model_folder / "run", collection.space
        metrics, cut = _read(run / "metrics.json"), space.truncated_from not in (None, space.width)
        return cls(
            metrics=_at_width(metrics, space.width) if cut else metrics,
            bounds={} if cut else _read(run / "intervals.json"),
            facts=_read(run / "run.json"),
            config=_read(run / "config.json"),
            reliability={} if cut else _read(run / "reliability.json"),
            modalities=list(space.modalities),
            width=space.width,
        )

    def quality(self) -> Quality:
        """One sentence on the space."""
        return judge(self.metrics, self.bounds, self.modalities, self.width)

    @property
    def directions(self) -> list[Direction]:
        """What was measured on held-out pairs, the search by text first."""
        return directions(self.metrics, self.bounds, self.modalities)


def allowed(word: str, level: Level) -> str:
    """A figure's word: nothing is called good where the whole is not."""
    return "" if word == "good" and level != "good" else word


def held_out(directions: Sequence[Direction], level: Level, bootstrapped: bool) -> dict[str, Any] | None:
    """R@k as the run measured it on pairs it had not seen; none where the index knows no run."""
    if not directions:
        return None
    how = "bootstrapped over pairs" if bootstrapped else "by Wilson's score"
    counts = {one.asked: one.queries for one in directions}
    return {
        "n": counts,
        "counts": [{"count": count, "plural": modality(name).plural} for name, count in counts.items()],
        "directions": [_direction(one, level) for one in directions],
        "intervals": f"95 % intervals {how}",
    }


def _direction(direction: Direction, level: Level) -> dict[str, Any]:
    """One direction of search at k = 1, 5 and 10, with a word by its interval against guessing."""
    says, word = WORDS[direction.level]
    recalls = [
        asdict(one) | {"shown": f"{100 * one.value:.1f}", "chance_shown": shown_chance(one.chance)}
        for one in direction.recalls
    ]
    return {
        "direction": direction.name,
        "title": f"{_one(direction.asked).capitalize()} finds its {modality(direction.found).noun}",
        "queries": direction.queries,
        "asked": modality(direction.asked).noun,
        "recalls": recalls,
        "says": says,
        "word": allowed(word, level),
    }


def _at_width(metrics: Metrics, width: int) -> Metrics:
    """What vectors cut to ``width`` numbers find; nothing where the run was not trained for them."""
    start = f"dimensions/{width}/"
    found = {key.removeprefix(start): value for key, value in metrics.items() if key.startswith(start)}
    return {key: value for key, value in metrics.items() if key.startswith("n_")} | found if found else {}


def _one(name: str) -> str:
    """``a caption``, ``an image``."""
    noun = modality(name).noun
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _read(path: Path) -> dict[str, Any]:
    """A file of the run; empty where the index has none, as one made by an older version or from a bare space."""
    return read_object(path) if path.is_file() else {}
