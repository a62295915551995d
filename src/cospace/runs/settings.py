"""The configuration of a run, and how what a person left open is filled in from their data."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, create_model, field_validator

from ..config import Config, PartConfig, names, part, plain, unknown, validate
from ..data.on_demand import SECONDS, preparation_seconds
from ..data.pairs import Pairs
from ..data.prepared import some_items
from ..modalities import FIELDS, all_modalities, is_text, modality, text_modality
from ..models.generation.decoder import Config as DecoderConfig
from ..objectives import fitted_to
from ..reading import read_object
from ..training.loop import TrainingConfig
from ..trust import trusting
from ..types import UserError
from .overrides import named_modules, overridden

SAMPLES_SEEN, GROWTH, MIN_EPOCHS, MIN_EPOCHS_GENERATION = 400, 0.608, 12.0, 7.0
"""A run sees ``SAMPLES_SEEN * items ** GROWTH`` pairs, and at least every item ``MIN_EPOCHS`` times; with a decoder,
which learns several captions and questions from each, ``MIN_EPOCHS_GENERATION`` times."""

LEARNED_FROM = 200_000
"""Different texts of a column that a tokenizer learns from at most, evenly spaced: more change hardly any merge."""

ENCODERS = "models.encoders"
"""Where encoders are registered."""


class _DataConfig(Config):
    """How pairs become inputs, a branch for each modality."""

    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Largest share of rows that may be set aside before the run stops."""
    on_demand: bool | None = None
    """Whether images and sounds are prepared while the training runs, not before its first step; from the data: where
    preparing all of them is estimated to take a core more than 10 seconds. Frozen encoders see all items first."""
    stream: bool | None = None
    """Whether tar shards or parquet files are read window by window while the training goes on; left open, where they
    are on object storage, or several with 4 GB together."""
    window_shards: int | None = Field(default=None, ge=1)
    """Most shards that are in memory together where pairs are streamed; their pairs are shuffled among each other. Left
    open, 16, or so many that they have some 4,000 pairs."""
    window_gb: float = Field(default=0.5, gt=0)
    """Most gigabytes of them; two windows are in memory, one that is trained on and the next."""
    shard_cache_gb: float = Field(default=32.0, ge=0)
    """Gigabytes of shards from object storage that are kept on this machine beside those of the two windows."""

    def of(self, name: str) -> Any:
        """The settings of a modality."""
        return getattr(self, name)


DataConfig: Any = create_model(
    "DataConfig",
    __base__=_DataConfig,
    **{one.name: (one.settings_class(), one.settings_class()()) for one in all_modalities()},  # type: ignore[call-overload]
)
"""How pairs become inputs; every modality adds a branch of its name."""

TASKS = ("caption", "vqa")
"""What a decoder can be trained for: image captioning, visual question answering (of whatever it describes)."""


class RunConfig(Config):
    """Everything that decides a run, complete once :meth:`fitted` has filled it in; saved beside the weights."""

    recipe: str
    """The recipe that the settings started from."""
    encoders: dict[str, dict[str, Any]]
    """The encoder of each modality, by name, with its settings."""
    objective: dict[str, Any]
    """The loss on the embeddings, by name, with its settings."""
    embed_dim: int = Field(default=256, gt=0)
    """Dimensions of the embedding space."""
    towers: dict[str, str] = Field(default_factory=dict)
    """Published towers by modality, each from a source of its own: what ``--from image=SOURCE`` sets."""
    teacher: str | None = None
    """A run or a published model whose similarities the run learns to agree with, by ``objective=distillation``: what
    ``--teacher`` sets."""
    tta: bool = False
    """Test-time augmentation of the towers: features of an image are the mean over four views of it."""
    heads: Literal["linear", "closed_form"] = "linear"
    """What leads features into the space: a ``linear`` map that is learned, or heads that are fitted in
    ``closed_form`` on the features of published towers before the first step (``training.steps=0`` ends there)."""
    locked: str = "auto"
    """Modalities of pretrained models (``--from``) whose encoders are frozen, e.g. ``image,text``, ``all``, or ``none``
    (LiT, Zhai 2022); ``auto``: single towers are frozen where the data are few, whole models are not."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of low-rank adapters that learn in place of pretrained weights; 0 trains the weights themselves. In the
    saved run the adapters are merged."""
    wise_ft_alpha: float | Literal["auto"] = 1.0
    """Interpolation between pretrained (0) and fine-tuned (1) weights (WiSE-FT, Wortsman 2022); ``auto`` tries every
    quarter on the validation pairs and on the reference, and takes the best."""
    tasks: str = "auto"
    """What a decoder learns: ``caption``, ``vqa``, ``caption,vqa`` or ``none``; ``all``: every task that the data has;
    ``auto``: the same if the data has questions, otherwise none."""
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
        return {name: plain(part(ENCODERS, data)) for name, data in given.items()}

    @field_validator("objective", mode="before")
    @classmethod
    def _complete_objective(cls, given: Any) -> dict[str, Any]:
        return plain(part("objectives", given))

    @field_validator("tasks")
    @classmethod
    def _known_tasks(cls, given: str) -> str:
        known = ("auto", "all", "none", *TASKS, ",".join(TASKS))
        if given not in known:
            raise UserError(unknown(given, known, "there are no tasks"))
        return given

    def encoder_parts(self) -> dict[str, PartConfig]:
        """Each modality's encoder configuration, ready to build."""
        parts = {name: part(ENCODERS, data) for name, data in self.encoders.items()}
        for name, config in parts.items():
            made_for = getattr(config, "modality", name)
            if made_for != name:
                raise UserError(f"the encoder {self.encoders[name]['name']!r} is for {made_for}, not for {name}")
        return parts

    def with_steps(self, steps: int) -> RunConfig:
        """The same, fitted configuration with a number of steps, as if a person had given it."""
        return self.model_copy(update={"training": _with_steps(self.training, steps)})

    def smaller(self, asked: RunConfig) -> RunConfig | None:
        """The same, fitted configuration with items read at a size that costs less; nothing where none can be.

        Sizes stay that a person ``asked`` for, and those that other encoders than the usual ones read.
        """
        data = {}
        for name, encoder in self.encoders.items():
            one = modality(name)
            found, given = one.smaller(self.data.of(name)), asked.data.of(name)
            left_open = all(getattr(given, setting) is None for setting in one.decided)
            if found is not None and left_open and encoder["name"] == one.default_encoder:
                data[name] = found
        return self.model_copy(update={"data": self.data.model_copy(update=data)}) if data else None

    def phases(self) -> list[tuple[float, float]]:
        """The parts of a training whose steps are alike: the shares of its steps, 0 to 1, where each begins and ends.

        Images are small at first, and a decoder learns image-text matching in the end.
        """
        between = [share for name in self.encoders for share in modality(name).phases(self.data.of(name))]
        between += [1 - self.decoder.itm_fraction] if "itm" in self.decoder_tasks else []
        ends = [0.0, *sorted({share for share in between if 0 < share < 1}), 1.0]
        return list(pairwise(ends))

    @property
    def decoder_tasks(self) -> list[str]:
        """What the decoder of a fitted configuration learns; with captions, image-text matching (ITM) as well."""
        chosen = [] if self.tasks == "none" else self.tasks.split(",")
        return [*chosen, *(["itm"] if self.decoder.itm_fraction and "caption" in chosen else [])]

    def fitted(self, pairs: Pairs) -> RunConfig:
        """The same configuration with every open setting filled in from the data.

        How many pairs a run sees grows slower than the items: 50,000 for 2,800 images (18 epochs), and from some 8,000
        on twelve epochs. A batch is about a tenth of the data, between 64 and 256, so that an epoch has ten steps or
        more; where few classes share the items it is smaller, since a class counts once, and where a decoder learns
        it is at most 128, since that needs steps more than pairs.
        """
        facts = facts_of(pairs)
        tasks = resolve_tasks(self.tasks, pairs)
        generates = tasks != "none"
        training = _fitted_training(self._until_fitted(generates), facts, generates)
        texts = texts_of(pairs)
        encoders = self._encoders_for(pairs.modalities)
        data = {
            name: modality(name).fit_settings(self.data.of(name), some_items(pairs, name), texts, generates)
            for name in encoders
        }
        if self.data.on_demand is None:
            data["on_demand"] = preparation_seconds(pairs, list(encoders)) > SECONDS
        described = self.decoder.modality or next((name for name in pairs.modalities if not is_text(name)), None)
        return self.model_copy(
            update={
                "encoders": encoders,
                "tasks": tasks,
                "decoder": self.decoder.model_copy(update={"modality": described}),
                "data": self.data.model_copy(update=data),
                "training": training,
            }
        )

    def with_fitted_objective(self) -> RunConfig:
        """With what the objective's settings leave to the width of the embeddings filled in."""
        return self.model_copy(update={"objective": fitted_to(self.objective, self.embed_dim)})

    def _until_fitted(self, generates: bool) -> TrainingConfig:
        """Heads that were fitted in closed form are not trained further where nobody asks for steps."""
        training, fits = self.training, self.heads == "closed_form"
        if training.steps == 0 and not fits:
            raise UserError("training.steps=0 trains nothing; it is for heads=closed_form, e.g. --recipe towers")
        if not fits or training.steps is not None or generates or self.lora_rank:
            return training
        return training.model_copy(update={"steps": 0, "minutes": None})

    def _encoders_for(self, modalities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The recipe's encoders of these modalities; one that it does not name gets the modality's own default."""
        chosen = {name: data for name, data in self.encoders.items() if name in modalities}
        defaults = {name: modality(name).default_encoder for name in modalities if name not in chosen}
        return chosen | {name: plain(part(ENCODERS, encoder)) for name, encoder in defaults.items()}


def _fitted_training(training: TrainingConfig, facts: Facts, generates: bool) -> TrainingConfig:
    """Batch size, steps and warm-up; where minutes were given, steps and warm-up are left open."""
    wanted = max(2.0, min(facts.rows / 10, facts.distinct * 10))
    largest = 7 if generates else 8
    batch_size = min(training.batch_size or int(2 ** np.clip(round(math.log2(wanted)), 6, largest)), facts.rows)
    training = training.model_copy(update={"batch_size": batch_size})
    if training.minutes is not None:
        return training
    steps = usual_steps(facts.n_items, batch_size, generates) if training.steps is None else training.steps
    return _with_steps(training, steps)


def _with_steps(training: TrainingConfig, steps: int) -> TrainingConfig:
    warmup = training.optim.warmup_steps
    warmup = min(100, max(1, steps // 20)) if warmup is None else warmup
    optim = training.optim.model_copy(update={"warmup_steps": warmup})
    return training.model_copy(update={"steps": steps, "minutes": None, "optim": optim})


def usual_steps(items: int, batch_size: int, generates: bool) -> int:
    """How many steps a run of so many different items takes where nobody asks for a number."""
    epochs = MIN_EPOCHS_GENERATION if generates else MIN_EPOCHS
    seen: float = max(SAMPLES_SEEN * items**GROWTH, epochs * items)
    return max(20, math.ceil(seen / batch_size))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a data set's counts say about how to train on it: rows, and different items of each column."""

    rows: int
    counts: Mapping[str, int]

    @property
    def n_items(self) -> int:
        """Different items that are files: images, sounds."""
        files = sum(count for name, count in self.counts.items() if not is_text(name))
        return files or max(self.counts.values(), default=self.rows)

    @property
    def distinct(self) -> int:
        """Different items of the modality that has the fewest: the classes of a set of classes."""
        return min((count for name, count in self.counts.items() if name not in FIELDS), default=self.rows)

    def plain(self) -> dict[str, int]:
        """As JSON data: ``rows``, ``images``, ``texts``, ``questions`` ..."""
        plurals = {one.name: one.plural for one in all_modalities()}
        return {"rows": self.rows} | {plurals.get(name, f"{name}s"): count for name, count in self.counts.items()}


def facts_of(pairs: Pairs) -> Facts:
    """Count; of a sample, estimate.

    Items of which a sample has nearly one a row are as many in all, in proportion; items that repeat are classes, of
    which a sample shows all.
    """
    found = {name: keys[keys >= 0] for name, keys in pairs.keys.items()}
    counts = {name: len(np.unique(keys)) for name, keys in found.items()}
    if pairs.rows_in_all is None or not len(pairs):
        return Facts(len(pairs), counts)
    factor = pairs.rows_in_all / len(pairs)
    many = {name: 5 * count > len(found[name]) for name, count in counts.items()}  # an image may have five captions
    return Facts(
        pairs.rows_in_all, {name: round(count * factor) if many[name] else count for name, count in counts.items()}
    )


def resolve_tasks(wanted: str, pairs: Pairs) -> str:
    """What a decoder can learn from these pairs. Raises :class:`UserError` where that is not what was asked for."""
    asks, captioned = set(FIELDS) <= pairs.items.keys(), text_modality() in pairs.items
    if wanted == "auto" and not asks:
        return "none"
    if wanted in ("auto", "all"):
        return ",".join(task for task, there in zip(TASKS, (captioned, asks), strict=True) if there)
    if "vqa" in wanted.split(",") and not asks:
        raise UserError("tasks=vqa needs columns of questions and answers; these pairs have none")
    if "caption" in wanted.split(",") and not captioned:
        raise UserError("tasks=caption needs captions; these pairs have none")
    return wanted


def resolve(recipe: str = "small", overrides: Iterable[str] = ()) -> RunConfig:
    """A recipe by name (or a run's ``config.json``), with ``dotted.path=value`` overrides applied.

    Settings of an encoder that the recipe does not name are those of the modality's default one. A module that the
    file names as a part is imported only where the person trusts it.
    """
    overrides, data = list(overrides), {"recipe": recipe, **_skeleton(recipe_data(recipe))}
    for one in all_modalities():
        if isinstance(data.get("encoders"), dict) and any(
            text.startswith(f"encoders.{one.name}.") for text in overrides
        ):
            data["encoders"].setdefault(one.name, one.default_encoder)
    with trusting(named_modules(overrides)):
        return validate(RunConfig, overridden(data, overrides), where=recipe)


def recipe_data(recipe: str) -> dict[str, Any]:
    """What a recipe sets, as plain data."""
    if recipe.endswith(".json"):
        return read_object(Path(recipe))
    name = recipe.replace("-", "_")
    if name not in names("recipes"):
        raise UserError(unknown(recipe, [n.replace("_", "-") for n in names("recipes")], "there is no recipe"))
    return dict(importlib.import_module(f"cospace.recipes.{name}").RECIPE)


def _skeleton(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with every branch present, so that an override can reach what the recipe does not mention."""
    branches: dict[str, Any] = {"data": {}, "training": {}, "decoder": {}, "towers": {}}
    data = json.loads(json.dumps({**branches, **recipe}))
    for one in all_modalities():
        branch = data["data"].setdefault(one.name, {})
        for name, field in one.settings_class().model_fields.items():
            if isinstance(field.default, Config):
                branch.setdefault(name, {})
    data["training"].setdefault("optim", {})
    data.pop("recipe", None)
    return dict(data)


def texts_of(pairs: Pairs) -> list[str]:
    """The different captions, questions and answers, of very many some: what a tokenizer learns from."""
    typed = [name for name in (text_modality(), *FIELDS) if name in pairs.items]
    return [text for name in typed for text in some_items(pairs, name, LEARNED_FROM)]


def all_recipes() -> Sequence[str]:
    """The recipes' names, as people type them."""
    return [name.replace("_", "-") for name in names("recipes")]
