"""The root configuration, and how what a person left open is filled in from their data."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from ..augment import Augment
from ..batches import items_of
from ..config import Config, PartConfig, names, override, part, plain, read_json, unknown, validate
from ..fusion.decoder import Config as DecoderConfig
from ..pairs import Pairs
from ..preprocess import BadImage, decode
from ..training.loop import TrainingConfig
from ..types import WORDS, UserError

_SIDES = re.compile(r"\b(?:left|right|east|west|clockwise|anticlockwise)", re.IGNORECASE)

LOOKS, GROWTH, LEAST_LOOKS, LEAST_LESSONS = 400, 0.608, 12.0, 7.0
"""A run sees ``LOOKS * pictures ** GROWTH`` pairs, and at least every picture ``LEAST_LOOKS`` times; with a decoder, to
which a look is several captions and questions, ``LEAST_LESSONS`` times."""

COARSE = 0.6
"""Share of the steps with coarse pictures where a space is all that is learned."""

SIZES = (32, 64)
"""Sides that pictures are brought to; the largest one that their own size fills is taken."""


class DataConfig(Config):
    """How pairs become inputs; ``None`` is filled in from the data."""

    size: int | None = Field(default=None, ge=8)
    augment: Augment = Augment()
    coarse: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps, from the first, that see pictures at three quarters of their side, at little over half the
    cost; left open, 0.6, and nothing where a decoder learns, since it cannot begin before it sees details."""
    captions: int = Field(default=2, ge=1)
    """How many of its captions a decoder learns to write about a picture at a step; it is encoded once."""
    questions: int = Field(default=3, ge=1)
    """How many of its questions a picture is asked at a step."""
    word_drop: float = Field(default=0.0, ge=0, lt=1)
    vocabulary: int | None = Field(default=None, ge=300)
    length: int = Field(default=64, ge=4)
    bad_share: float = Field(default=0.01, ge=0, le=1)
    """Largest share of rows that may be set aside before the run stops."""


Tell = Literal["auto", "nothing", "caption", "answer", "both"]


class Experiment(Config):
    """Everything that decides a run, complete once :meth:`fitted` has filled it in; saved beside the weights."""

    recipe: str
    encoders: dict[str, dict[str, Any]]
    objective: dict[str, Any]
    width: int = Field(default=256, gt=0)
    locked: str = "nothing"
    """Modality of an earlier run (``--from``) whose encoder does not learn, ``all``, or ``nothing``."""
    lora: int = Field(default=0, ge=0)
    """Rank of the low-rank adapters that learn in place of the weights of an earlier run or a published model; 0 lets
    these learn themselves. In the saved run the adapters are part of the weights."""
    blend: float | Literal["auto"] = 1.0
    """How far on the way from the weights that a run started from to those that it learned the saved ones lie; ``auto``
    looks at every quarter of the way, on the validation pairs and on the reference, and takes the best."""
    tell: Tell = "auto"
    """What a decoder learns to say of pictures: ``both`` captions and answers, as far as the data has them; ``auto``
    is that where there are questions, and nothing elsewhere."""
    decoder: DecoderConfig = DecoderConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    tensorboard: bool = False
    """Also write the log as TensorBoard events into the run (``pip install 'cospace[tensorboard]'``)."""

    @field_validator("encoders", mode="before")
    @classmethod
    def _complete_encoders(cls, given: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(given, Mapping):
            raise UserError(f"encoders are given by modality, e.g. encoders.image=vit; {given!r} was given")
        return {modality: plain(part("encoders", data)) for modality, data in given.items()}

    @field_validator("objective", mode="before")
    @classmethod
    def _complete_objective(cls, given: Any) -> dict[str, Any]:
        return plain(part("objectives", given))

    def encoder_parts(self) -> dict[str, PartConfig]:
        """Each modality's encoder configuration, ready to build."""
        parts = {modality: part("encoders", data) for modality, data in self.encoders.items()}
        for modality, config in parts.items():
            made_for = getattr(config, "modality", modality)
            if made_for != modality:
                raise UserError(
                    f"the encoder {self.encoders[modality]['name']!r} is for {made_for}, not for {modality}"
                )
        return parts

    @property
    def lessons(self) -> list[str]:
        """What the decoder of a fitted experiment is taught; whoever learns captions learns which are true."""
        taught = {"both": ["caption", "answer"], "nothing": []}.get(self.tell, [self.tell])
        return [*taught, *(["match"] if self.decoder.match and "caption" in taught else [])]

    def fitted(self, facts: Facts) -> Experiment:
        """The same experiment with every open setting filled in from the data.

        How many pairs a run sees grows slower than the pictures: 50,000 for 2,800 of them (18 looks at each), and
        from some 8,000 pictures on twelve looks at each. A batch is about a tenth of the data, between 64 and 256, so
        that an epoch has ten steps or more; where few classes share the pictures it is smaller, since a class counts
        once, and where a decoder learns it is at most 128, since that needs steps more than pairs.
        """
        training, data = self.training, self.data
        wanted = max(2.0, min(facts.rows / 10, facts.groups * 10))
        tell = facts.told(self.tell)
        largest = 8 if tell == "nothing" else 7
        batch = min(training.batch or int(2 ** np.clip(round(math.log2(wanted)), 6, largest)), facts.rows)
        looks = LEAST_LOOKS if tell == "nothing" else LEAST_LESSONS
        seen = max(LOOKS * facts.images**GROWTH, looks * facts.images)
        steps = training.steps or max(20, math.ceil(seen / batch))
        warmup = training.optim.warmup
        warmup = min(100, max(1, steps // 20)) if warmup is None else warmup
        optim = training.optim.model_copy(update={"warmup": warmup})
        fits = [size for size in SIZES if size <= facts.side * 1.05]
        size = data.size or (fits[-1] if fits else SIZES[0])
        coarse = data.coarse if data.coarse is not None else COARSE if tell == "nothing" else 0.0
        flip = not facts.names_sides if data.augment.flip is None else data.augment.flip
        augment = data.augment.model_copy(update={"flip": flip})
        return self.model_copy(
            update={
                "encoders": {name: made for name, made in self.encoders.items() if name != "text" or facts.texts},
                "tell": tell,
                "data": data.model_copy(update={"size": size, "augment": augment, "coarse": coarse}),
                "training": training.model_copy(update={"batch": batch, "steps": steps, "optim": optim}),
            }
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What the data says about how to train on it; ``side`` is the median shorter side of the pictures in pixels,
    ``names_sides`` whether any caption says left or right, so that a mirrored picture would contradict it.
    """

    rows: int
    images: int
    texts: int
    groups: int
    side: int
    names_sides: bool
    questions: int = 0

    def told(self, wanted: Tell) -> Tell:
        """What a decoder can be taught on this data. Raises :class:`UserError` where that is not what was asked for."""
        if wanted == "auto":
            wanted = "both" if self.questions else "nothing"
        if wanted == "both":
            return "both" if self.questions and self.texts else "answer" if self.questions else "caption"
        if wanted == "answer" and not self.questions:
            raise UserError("tell=answer needs columns of questions and answers; these pairs have none")
        if wanted == "caption" and not self.texts:
            raise UserError("tell=caption needs captions; these pairs have none")
        return wanted

    def plain(self) -> dict[str, int | bool]:
        """As JSON data."""
        return asdict(self)


def facts_of(pairs: Pairs, sample: int = 64) -> Facts:
    """Count, and look at the size of a few pictures spread over the data."""
    counts = {modality: len(np.unique(keys)) for modality, keys in pairs.keys.items()}
    rows = np.linspace(0, len(pairs) - 1, min(sample, len(pairs))).astype(int)
    sides = [side for row in rows if (side := _side(pairs.items["image"][row]))]
    return Facts(
        rows=len(pairs),
        images=counts["image"],
        texts=counts.get("text", 0),
        groups=len(np.unique(pairs.groups)),
        side=int(np.median(sides)) if sides else SIZES[-1],
        names_sides=any(_SIDES.search(words) for words in words_of(pairs)),
        questions=counts.get("question", 0),
    )


def _side(raw: Any) -> int | None:
    try:
        return int(min(decode(raw).shape[:2]))
    except BadImage:
        return None


def experiment(recipe: str = "small", overrides: Iterable[str] = ()) -> Experiment:
    """A recipe by name (or a run's ``config.json``), with ``dotted.path=value`` overrides applied."""
    data = override({"recipe": recipe, **_skeleton(_recipe(recipe))}, overrides)
    return validate(Experiment, data, where=recipe)


def _recipe(recipe: str) -> dict[str, Any]:
    if recipe.endswith(".json"):
        data = read_json(Path(recipe))
        if not isinstance(data, dict):
            raise UserError(f"{recipe} is no recipe; it must hold a JSON object like a run's config.json")
        return data
    name = recipe.replace("-", "_")
    if name not in names("recipes"):
        raise UserError(unknown(recipe, [n.replace("_", "-") for n in names("recipes")], "there is no recipe"))
    return dict(importlib.import_module(f"cospace.recipes.{name}").RECIPE)


def _skeleton(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with every branch present, so that an override can reach what the recipe does not mention."""
    branches: dict[str, Any] = {"data": {}, "training": {}, "decoder": {}}
    data = json.loads(json.dumps({**branches, **recipe}))
    data["data"].setdefault("augment", {})
    data["training"].setdefault("optim", {})
    data.pop("recipe", None)
    return dict(data)


def words_of(pairs: Pairs) -> list[str]:
    """All different captions, questions and answers: what a tokenizer learns from."""
    return [
        words for name in sorted(WORDS & pairs.items.keys(), reverse=True) for words in unique_items(pairs, name)[0]
    ]


def unique_items(pairs: Pairs, modality: str) -> tuple[Sequence[Any], np.ndarray, np.ndarray]:
    """Different items of a modality in order of appearance, their groups, and the item of every row."""
    first, item_of_row = items_of(pairs.keys[modality])
    column = pairs.items[modality]
    return [column[row] for row in first], pairs.groups[first], item_of_row
