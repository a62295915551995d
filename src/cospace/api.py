"""What ``import cospace`` offers: the verbs of the command line, on the same objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .commands.ask import ask, match
from .commands.caption import caption
from .commands.classify import Classification
from .commands.classify import classify as name_classes
from .commands.collection import Collection
from .commands.evaluate import evaluate
from .commands.index import build_index
from .commands.train import TrainArguments, train_on_ranks
from .data.pairs import Pairs, Spec, open_pairs
from .data.sources import AS_FOUND, ReadOptions
from .evaluation.classes import Classes
from .evaluators.generation import ANSWERS, CAPTIONS
from .models.generation.decoding import Generation
from .models.generation.generator import Answer
from .runs.overrides import named_modules
from .runs.run import Run
from .stores.entries import AS_ITEMS, Input
from .types import Metrics


class Model(Run):
    """A finished run with the verbs as methods: what :func:`load` and :func:`train` return."""

    def embed(self, *, progress: Callable[[int, int], None] | None = None, **items: Sequence[Any]) -> np.ndarray:
        """Unit vectors ``(n, E)`` of the items of one modality: see :meth:`cospace.Space.embed`."""
        return self.space.embed(progress=progress, **items)

    def score(self, **items: Sequence[Any]) -> np.ndarray:
        """Probabilities ``(n, m)`` that items of two modalities match: see :meth:`cospace.Space.score`."""
        return self.space.score(**items)

    def match(self, items: Sequence[Any], texts: Sequence[str]) -> np.ndarray:
        """Probabilities ``(n, m)`` that each text describes each item, by the decoder, which reads both together.

        Slower than :meth:`score`, and it sees what two separate vectors leave out.
        """
        return match(self, items, texts)

    def caption(self, items: Sequence[Any], how: Generation = CAPTIONS) -> list[str]:
        """A sentence about each item: a path, bytes or a decoded array, images also PIL's."""
        return caption(self, items, how)

    def ask(self, item: Any, question: str, how: Generation = ANSWERS) -> list[Answer]:
        """The likeliest answers to a question about an item, best first, each with its probability."""
        return ask(self, item, question, how)

    def evaluate(
        self,
        pairs: Spec | Sequence[Spec],
        classes: Classes | None = None,
        templates: Sequence[str] | None = None,
        options: ReadOptions = AS_FOUND,
    ) -> Metrics:
        """Retrieval between every two modalities of ``pairs``, the space's health, zero-shot accuracy for ``classes``.

        A run with a decoder is measured on captions, and on answers where ``pairs`` have questions, as well.
        """
        return evaluate(self, open_pairs(pairs, options=options), classes, templates).metrics

    def classify(
        self,
        source: Spec,
        classes: Classes,
        *,
        templates: Sequence[str] | None = None,
        rest: str | None = None,
        calibrate: Spec | None = None,
        options: ReadOptions = AS_ITEMS,
    ) -> Classification:
        """The class of every file of ``source``, which needs no labels: ``classify("photos/", ["cat", "dog"])``.

        ``classes`` are names, ``{name: [synonyms]}``, or a file of them. ``rest`` names a further class for what is
        none of them. ``calibrate`` are pairs the model was not trained on, for one that was imported.
        ``.write("table.csv")`` of the result writes it; each row has ``item``, ``name``, ``probability``, ``classes``.
        """
        given = source if isinstance(source, Pairs) else Input(source, replace(options, pairs=False))
        how = {"templates": templates, "rest": rest, "calibrate": calibrate}
        return name_classes(self, given, classes, **how)  # type: ignore[arg-type]


def train(
    pairs: Spec | Sequence[Spec],
    out: str | Path,
    *,
    val: Spec | Sequence[Spec] | None = None,
    recipe: str = "small",
    overrides: Iterable[str] = (),
    source: str | Path | None = None,
    trust: Iterable[str] = (),
) -> Model:
    """Train a space on ``pairs`` (or several sets of them) into the folder ``out``.

    ``overrides`` are ``dotted.path=value`` texts; with ``training.minutes=5`` as many steps are trained as fit into
    five minutes. ``source`` is what to start from: the folder of a run or of a
    published model, or ``hf:NAME``. Pairs that have to be read in a certain way are opened before:
    ``train(open_pairs("t.csv", options=ReadOptions(exclude=("raw",))), "run")``. The same call again goes on where a
    killed one stopped. Processes that `torchrun` started train together, and all get the model. Modules that
    ``overrides`` name are imported; those that ``recipe`` or ``source`` names only where ``trust`` has them.
    """
    begin, changes = None if source is None else str(source), tuple(overrides)
    modules = (trust,) if isinstance(trust, str) else tuple(trust)
    train_on_ranks(TrainArguments(pairs, Path(out), recipe, val, changes, source=begin, trust=modules))
    return Model.load(out, (*modules, *named_modules(changes)))


def load(folder: str | Path, trust: Iterable[str] = ()) -> Model:
    """A trained model from a run's folder, of which nothing is executed.

    A run with encoders or objectives from outside the package is refused unless ``trust`` names their modules.
    """
    return Model.load(folder, trust)


def index(
    model: Run,
    source: Spec,
    out: str | Path,
    *,
    precision: str | None = None,
    keep_missing: bool = False,
    max_bad_fraction: float = 0.01,
    options: ReadOptions = AS_ITEMS,
) -> Collection:
    """Make files (or pairs) searchable: ``index(model, "photos/", out="idx").search(text="a red bus", k=10)``.

    ``out`` is a folder, ``lance:FOLDER``, ``s3://BUCKET/PATH`` or ``postgresql://USER@HOST/DATABASE``. Where it is an
    index already, only what is new or changed in ``source`` is embedded, and what ``source`` no longer holds is
    removed, unless ``keep_missing``; items of other sources stay. ``precision`` of the stored vectors (float32,
    bfloat16 or int8; outside a folder float32 or float16) is chosen when an index is made. Of ``model.truncated(64)``
    an index stores vectors of 64 numbers, and every query against it then has as many. Items that cannot be read are
    left out; more than ``max_bad_fraction`` of them is a :class:`UserError`. ``options`` says how ``source`` is read.
    """
    given = source if isinstance(source, Pairs) else Input(source, replace(options, pairs=False))
    settings = {"precision": precision, "keep_missing": keep_missing, "max_bad_fraction": max_bad_fraction}
    return Collection.of(build_index(model, given, out, **settings).index)  # type: ignore[arg-type]


def open_index(target: str | Path, trust: Iterable[str] = ()) -> Collection:
    """An index made by :func:`index` or ``cospace index``, by its folder or its address; no run is needed.

    ``trust`` names modules that its model may import, as in :func:`load`.
    """
    return Collection.open(target, trust)
