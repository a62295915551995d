"""From pairs to a trained, evaluated run that describes itself."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..config import part
from ..evaluation.zero_shot import templates_for
from ..pairs import Pairs, open_pairs
from ..runtime import describe, device
from ..space import Space
from ..training.adapters import merge_adapters
from ..training.loop import Learner, Observers, Trainer
from ..types import Metrics, Progress, UserError, silent
from .adopting import adopted, whole
from .before import OWN, REFERENCE, Before
from .blending import best, blend, sweep
from .board import board
from .borrowing import borrowed
from .evaluate import (
    Embedded,
    calibrate,
    calibrate_search,
    complaint,
    embed_store,
    intervals,
    measure,
    reliability_of,
    watch,
)
from .log import Log
from .matching import rerank
from .model import Model
from .prepare import Store, can_train, decode_all, hold_out, need, training_batches
from .publishing import opened
from .settings import Experiment, experiment, facts_of, unique_items, words_of
from .start import start, stretch
from .telling import Told, tell
from .telling import complaint as constant

VALIDATED = 1000
"""Most pictures looked at by an evaluation on the way, evenly spaced; the end looks at all of them."""

TOLD, TOLD_LAST = 200, 2000
"""Most pictures captioned, and questions answered, by an evaluation on the way and by that at the end."""


@dataclass(slots=True)
class Listener:
    """Whom a run tells: long work, every logged row, plain sentences."""

    progress: Progress = silent
    row: Callable[[dict[str, Any], Experiment], None] = lambda row, settings: None
    say: Callable[[str], None] = lambda sentence: None


@dataclass(slots=True)
class Request:
    """What a person asked for."""

    pairs: str | Path | Pairs
    out: Path
    recipe: str = "small"
    val: str | Path | Pairs | None = None
    overrides: Iterable[str] = ()
    columns: dict[str, str] | None = None
    separator: str | None = None
    source: str | None = None
    """A run or a published model to start from: a folder, ``hf:NAME`` or ``openclip:FOLDER``."""
    reference: str | Path | Pairs | None = None
    """Pairs of another kind, on which a run that goes on from another shows what it has forgotten."""
    command: str = ""
    listener: Listener = field(default_factory=Listener)


def run(request: Request) -> Model:
    """Train as asked and return the model; the same request again goes on where a killed run stopped."""
    open_settings = experiment(request.recipe, request.overrides)
    out = request.out
    files.settle(out / "model")
    if (out / "model" / "space.json").exists():
        raise UserError(
            f"{out} already holds a finished run; measure it with `cospace eval`, choose another --out, or remove it"
        )
    with files.Lock(out):
        data = _open(request, open_settings)
        source = None if request.source is None else opened(request.source)
        settings = adopted(open_settings.fitted(facts_of(data.train)), source, request.overrides, data.train)
        _needs_source(settings, data, source)
        _same_run(out, settings, data, source)
        return _Run(request, settings, data, source).go()


def _needs_source(settings: Experiment, data: _Data, source: Model | None) -> None:
    """Refuse what only a run that goes on from another can do."""
    asked = {"--reference": data.reference is not None, "blend": settings.blend != 1}
    for name in (name for name, given in asked.items() if given):
        if source is None or not whole(settings, source.space):
            raise UserError(f"{name} looks back at a whole space; name the one to start from with --from")
    if settings.lora and source is None:
        raise UserError("lora adapts what was learned before; name a run or a published model with --from")


@dataclass(slots=True)
class _Data:
    train: Pairs
    val: Pairs
    reference: Pairs | None = None


def _open(request: Request, settings: Experiment) -> _Data:
    share = settings.data.bad_share
    pairs = can_train(open_pairs(request.pairs, request.columns, request.separator)).stop_above(share)
    reference = None if request.reference is None else open_pairs(request.reference)
    if reference is not None:
        need(reference, "image", "text")
    if request.val is None:
        return _Data(*hold_out(pairs, settings.training.seed), reference)
    val = can_train(open_pairs(request.val, request.columns, request.separator)).stop_above(share)
    if lacking := sorted(pairs.items.keys() - val.items.keys()):
        raise UserError(
            f"{val.name} has no {' and no '.join(lacking)}, which {pairs.name} has; validate on the same kind"
        )
    if len(np.unique(val.groups)) < 2:
        raise UserError(f"all pairs of {val.name} match each other; validation needs at least two that do not")
    return _Data(pairs, val, reference)


def _same_run(out: Path, settings: Experiment, data: _Data, source: Model | None) -> None:
    """Write what decides the run, or check that a run with checkpoints here was decided by the same."""
    identity = {
        "config": settings.model_dump(mode="json"),
        "data": [data.train.fingerprint, data.val.fingerprint],
        "from": None if source is None else source.space.fingerprint,
    }
    path = out / "identity.json"
    if not path.exists() or not any((out / "checkpoints").glob("step-*")):
        files.write_json(path, identity)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before == json.loads(json.dumps(identity)):
        return
    changed = ", ".join(sorted(_differences(before, json.loads(json.dumps(identity)))))
    raise UserError(f"{out} holds an unfinished run of other settings or data ({changed}); choose another --out")


def _differences(before: Any, now: Any, path: str = "") -> Iterable[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path


def _landscape(image_3SS: Tensor) -> np.ndarray:
    """The upper three quarters of a prepared picture: not square, so it shows how such pictures are made to fit."""
    return np.ascontiguousarray(image_3SS[:, : max(1, image_3SS.shape[1] * 3 // 4)].permute(1, 2, 0).numpy())


class _Run:
    """One run from decoded pictures to the finished folder."""

    def __init__(self, request: Request, settings: Experiment, data: _Data, source: Model | None) -> None:
        self.request, self.settings, self.listener = request, settings, request.listener
        self.out = request.out
        self.source = None if source is None else {"run": str(source.run), "fingerprint": source.space.fingerprint}
        begin = start(settings, data.train, source)
        self.space, self.teller, self.tokenizer = begin.space, begin.teller, begin.tokenizer
        self.paces = begin.paces
        self.train, self.store = self._decode(data.train, "train")
        self.val, self.val_store = self._decode(data.val, "val")
        self.log = Log(self.out / "metrics.jsonl")
        self.board = board(self.out / "tensorboard") if settings.tensorboard else None
        self._collapsed = 0
        self._embedded: Embedded | None = None
        self._told = Told()
        self.before = self._before(data.reference) if source is not None and whole(settings, source.space) else None

    def _before(self, reference: Pairs | None) -> Before:
        sets = {OWN: (self.val, self.val_store)} if "text" in self.val.items else {}
        if reference is not None:
            sets[REFERENCE] = self._decode(reference, "reference")
        return Before(self.out / "before.json", sets)

    def _decode(self, pairs: Pairs, name: str) -> tuple[Pairs, Store]:
        spill = self.out / "cache" / f"{name}.npy"
        kept, store = decode_all(pairs, self.space.preparers["image"], self.listener.progress, spill)  # type: ignore[arg-type]
        return kept.stop_above(self.settings.data.bad_share), store

    def go(self) -> Model:
        objective = part("objectives", self.settings.objective).build().to(device())  # type: ignore[attr-defined]
        batches = training_batches(self.train, self.store, self.space, self.settings, self.tokenizer)
        observers = Observers(self.log.begin, self._row, self._evaluate, watch, self.listener.say)
        decoder = None if self.teller is None else self.teller.decoder
        folder = self.out / "checkpoints"
        if self.before is not None:
            self.before.note(self.space)
        learner = Learner(self.space, decoder, self.paces)
        trainer = Trainer(learner, objective, self.settings.training, folder, observers)
        trainer.fit(batches)
        merge_adapters(self.space)
        swept = self._blend()
        model = self._finish(swept)
        trainer.checkpoints.clear()
        shutil.rmtree(self.out / "cache", ignore_errors=True)
        return model

    def _row(self, row: dict[str, Any]) -> None:
        self.log.write(row)
        if self.board is not None:
            self.board(row)
        self.listener.row(row, self.settings)
        self._warn(row)

    def _warn(self, row: dict[str, Any]) -> None:
        """Speak up when the space is sick for the third look in a row, and then every tenth look."""
        sentence = complaint(row, self.settings.width)
        if "space/effective_rank" in row:
            self._collapsed = self._collapsed + 1 if sentence else 0
        if sentence and self._collapsed % 10 == 3:
            self.listener.say(f"step {row['step']}: {sentence}")

    def _evaluate(self, space: Space, last: bool) -> Metrics:
        """Retrieval and health on some of the validation pictures; after the last step on all, which calibrate."""
        pairs, store = self.val, self.val_store
        items = np.unique(store.item_of_row)
        if not last and len(items) > VALIDATED:
            chosen = items[np.linspace(0, len(items) - 1, VALIDATED).astype(int)]
            rows = np.flatnonzero(np.isin(store.item_of_row, chosen))
            pairs, store = pairs.select(rows), Store(store.images_N3SS, store.item_of_row[rows])
        progress = self.listener.progress if last else silent
        embedded = embed_store(space, pairs, store, progress)
        told = self._tell(pairs, store, last, progress)
        if last:
            if len(embedded.text_NE):
                space.calibration, space.matching = calibrate(embedded), calibrate_search(embedded)
            told.metrics |= borrowed(self.teller, space, embedded, told) | rerank(self.teller, space, embedded)
            self._embedded, self._told = embedded, told
        return measure(space, embedded) | told.metrics

    def _tell(self, pairs: Pairs, store: Store, last: bool, progress: Progress) -> Told:
        if self.teller is None:
            return Told()
        most = TOLD_LAST if last else TOLD
        told = tell(self.teller, self.space, pairs, store, most, greedy=not last, progress=progress)
        if sentence := constant(told):
            self.listener.say(sentence)
        return told

    def _blend(self) -> Metrics:
        """Mix the weights with those that the run started from, where that was asked for."""
        share, source = self.settings.blend, self.request.source
        if self.before is None or share == 1 or source is None:
            return {}
        begun = opened(source).space
        stretch(begun, self.settings.data.length)
        old = begun.state_dict()
        swept = sweep(self.space, old, self.before) if share == "auto" else {}
        share = best(swept) if share == "auto" else share
        blend(self.space, old, dict(self.space.state_dict()), share)
        self._embedded = None
        return {**swept, "blend/share": share}

    def _finish(self, swept: Metrics) -> Model:
        """Save the model, calibrated by its last evaluation, and everything that says where it came from."""
        if self._embedded is None:  # the last step was done by an earlier run that was killed after it
            self._evaluate(self.space, last=True)
        embedded, told = cast("Embedded", self._embedded), self._told
        metrics = measure(self.space, embedded) | told.metrics
        metrics |= swept | ({} if self.before is None else self.before.compared(self.space))
        captions: Sequence[str] = ()
        golden: dict[str, Sequence[Any]] = {"image": [_landscape(image) for image in self.store.images_N3SS[:4]]}
        if "text" in self.space.modalities:
            golden["text"] = words_of(self.train)[:4]
        if len(embedded.text_NE):
            captions = unique_items(self.train, "text")[0]
        facts = {
            "config.json": self.settings.model_dump(mode="json"),
            "metrics.json": metrics,
            "intervals.json": intervals(embedded),
            "reliability.json": reliability_of(self.space, embedded),
            "run.json": self._facts(captions),
        }
        for name, content in facts.items():
            files.write_json(self.out / name, content)
        # Beside the weights too: wherever the model is copied to, e.g. into an index, it says how good it is.
        beside: dict[str, files.Content] = {f"run/{name}": files.as_json(content) for name, content in facts.items()}
        self.space.save(self.out / "model", golden, beside | ({} if self.teller is None else self.teller.content()))
        (self.out / "identity.json").unlink()
        (self.out / "before.json").unlink(missing_ok=True)
        model = Model.load(self.out)
        model.validation, model.told = embedded, told
        return model

    def _facts(self, captions: Any) -> dict[str, Any]:
        from .. import __version__

        kinds: dict[str, int] = {}
        for problem in (*self.train.problems, *self.val.problems):
            kinds[problem.kind] = kinds.get(problem.kind, 0) + 1
        return {
            "cospace": __version__,
            "torch": torch.__version__,
            "machine": describe(device()),
            "command": self.request.command,
            "from": self.source,
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "data": {"name": self.train.name, "fingerprint": self.train.fingerprint, **facts_of(self.train).plain()},
            "validation": {"name": self.val.name, "fingerprint": self.val.fingerprint, "rows": len(self.val)},
            "set_aside": kinds,
            "bare_names": templates_for(captions) == ("{}",),
        }
