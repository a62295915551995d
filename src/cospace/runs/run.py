"""A finished run: its space, its decoder if it has one, and what is known about how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .. import files
from ..evaluation.attribution import Attribution, explain
from ..interop.writing import LogitScale
from ..models.generation.generator import TextGenerator
from ..models.space import Space
from ..reading import read_object, understood
from ..types import Metrics, UserError
from .metrics_log import MetricsLog


@dataclass(frozen=True, slots=True)
class NamedRun:
    """A run as a person names it: its folder, modules that it may import, and the length of its vectors, if chosen."""

    path: Path
    trust: tuple[str, ...] = ()
    dimensions: int | None = None

    def open(self) -> Run:
        """Read it."""
        return Run.load(self.path, self.trust).truncated(self.dimensions)


class Run:
    """What a run's folder holds.

    ``path`` is the run's folder and ``folder`` the model's inside it; ``facts`` is the run's ``run.json``, empty for a
    bare space; ``generator`` writes captions and answers, where the run has a decoder.
    """

    def __init__(
        self, space: Space, path: Path, folder: Path, facts: dict[str, Any], generator: TextGenerator | None = None
    ) -> None:
        self.space, self.path, self.folder, self.facts = space, path, folder, facts
        self.generator = generator or TextGenerator.load(folder, space)

    @classmethod
    def load(cls, folder: str | Path, trust: Iterable[str] = ()) -> Self:
        """Read a run's folder, or the model folder inside one; nothing else is needed.

        Nothing in it is executed. Where its encoders are not cospace's own, ``trust`` names the modules that may be
        imported; without it they are a :class:`UserError`.
        """
        folder = Path(folder)
        files.settle(folder / "model")
        inner = folder / "model" if (folder / "model").is_dir() else folder
        space = Space.load(inner, trust)
        return cls(space, folder, inner, _kept(folder, inner, "run.json"))

    def truncated(self, dimensions: int | None) -> Self:
        """The same run with vectors of their first ``dimensions`` numbers; see :meth:`cospace.Space.truncated`."""
        if dimensions is None:
            return self
        return type(self)(self.space.truncated(dimensions), self.path, self.folder, self.facts, self.generator)

    def metrics(self) -> Metrics:
        """What the run measured on its validation pairs when it ended."""
        return _kept(self.path, self.folder, "metrics.json")

    def config(self) -> dict[str, Any]:
        """The resolved configuration, empty for a bare space."""
        return _kept(self.path, self.folder, "config.json")

    def reliability(self) -> dict[str, Any]:
        """How often its percentages were right on its validation pairs; empty where that was not measured."""
        return _kept(self.path, self.folder, "reliability.json")

    def logit_scale(self) -> LogitScale | None:
        """The scale and bias of the logits: as the run's last step had them, or as the model was published."""
        log = self.path / "metrics.jsonl"
        rows = MetricsLog(log).rows() if log.is_file() and "logits" not in self.facts else []
        rows = [self.facts["logits"]] if "logits" in self.facts else rows
        learned: dict[str, float] = next((row for row in reversed(rows) if "logit_scale" in row), {})
        if learned:
            with understood(log):
                return LogitScale(float(learned["logit_scale"]), float(learned.get("logit_bias", 0.0)))
        published = self.facts.get("published")
        if published is None:
            return None
        bias = 0.0 if self.space.calibration is None else self.space.calibration.offset
        with understood(self.path / "run.json"):
            return LogitScale(float(published["scale"]), bias)

    def explain(self, *, by: Mapping[str, Any], captions: Sequence[str] = (), **item: Any) -> Attribution:
        """Which parts of an item a query's score rests on: ``run.explain(image="a.jpg", by={"text": "a red bus"})``.

        Some ``captions`` of the collection make it point better; see :func:`cospace.evaluation.attribution.explain`.
        """
        return explain(self.space, item, by, captions)

    def need_generator(self, what: str) -> TextGenerator:
        """The decoder, or one sentence that there is none for ``what``."""
        if self.generator is None:
            raise UserError(
                f"{self.path} has no decoder, so it gives no {what}; train with tasks=caption, or on pairs with "
                "columns of questions and answers"
            )
        return self.generator


def _kept(run: Path, model: Path, name: str) -> dict[str, Any]:
    """What a run says of itself, from the sealed copy beside its weights.

    The file of that name in the run's folder is for people and their scripts; it is read where there is no other.
    """
    found = next((path for path in (model / "run" / name, run / name) if path.is_file()), None)
    return {} if found is None else read_object(found)
