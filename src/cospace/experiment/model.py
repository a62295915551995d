"""A trained space with the verbs that need more than the space: what ``cospace.load`` and ``cospace.train`` return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .. import files
from ..config import read_json
from ..fusion.generate import Generation
from ..fusion.teller import Answer, Teller
from ..pairs import Pairs, open_pairs
from ..preprocess import BadImage
from ..space import Space
from ..types import Metrics, Progress, UserError, silent
from .borrowing import borrowed
from .evaluate import Embedded, classify, decode_for, embed_store, measure
from .matching import rerank
from .prepare import need
from .telling import ANSWERS, CAPTIONS, Told, tell


class Model:
    """A finished run: its space, and what is known about how it was made.

    ``space`` is the :class:`~cospace.space.Space`, ``run`` the run's folder and ``folder`` the model's inside it;
    ``facts`` is the run's ``run.json``, empty for a bare space; ``teller`` is the decoder, where the run has one.
    ``validation`` and ``told`` hold the embedded validation pairs, and what was said of them, of a model that was
    trained just now.
    """

    def __init__(
        self, space: Space, run: Path, folder: Path, facts: dict[str, Any], teller: Teller | None = None
    ) -> None:
        self.space, self.run, self.folder, self.facts = space, run, folder, facts
        self.validation: Embedded | None = None
        self.told = Told()
        self.teller = teller or Teller.load(folder, space)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read a run's folder, or the model folder inside one; nothing else is needed."""
        folder = Path(folder)
        files.settle(folder / "model")
        inner = folder / "model" if (folder / "model").is_dir() else folder
        facts = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
        return cls(Space.load(inner), folder, inner, facts)

    def metrics(self) -> Metrics:
        """What the run measured on its validation pairs when it ended."""
        return dict(read_json(self.run / "metrics.json"))

    def config(self) -> dict[str, Any]:
        """The resolved configuration, empty for a bare space."""
        path = self.run / "config.json"
        return dict(read_json(path)) if path.is_file() else {}

    def embed(self, *, progress: Callable[[int, int], None] | None = None, **items: Sequence[Any]) -> np.ndarray:
        """Unit vectors ``(n, E)``: see :meth:`Space.embed`."""
        return self.space.embed(progress=progress, **items)

    def score(self, *, image: Sequence[Any], text: Sequence[str]) -> np.ndarray:
        """Probabilities ``(n, m)`` that picture and text belong together: see :meth:`Space.score`."""
        return self.space.score(image=image, text=text)

    def match(self, *, image: Sequence[Any], text: Sequence[str]) -> np.ndarray:
        """Probabilities ``(n, m)`` that each text describes each picture, by the decoder, which reads both together.

        Slower than :meth:`score`, and it sees what two separate vectors leave out.
        """
        pictures = [self._picture(one) for one in image]
        pair_P2 = np.stack(np.meshgrid(range(len(pictures)), range(len(text)), indexing="ij"), axis=-1).reshape(-1, 2)
        odds_P = self._teller("judgement of texts").match(self.space, pictures, text, pair_P2)
        chance_NM: np.ndarray = 1 / (1 + np.exp(-odds_P.reshape(len(pictures), len(text))))
        return chance_NM

    def caption(self, images: Sequence[Any], how: Generation = CAPTIONS) -> list[str]:
        """A sentence about each picture: a path, bytes, a PIL image or a ``uint8`` array."""
        pictures = [self._picture(image) for image in images]
        told = self._teller("captions").captions(self.space, iter(pictures), how)
        return [texts[0].text for texts in told]

    def ask(self, image: Any, question: str, how: Generation = ANSWERS) -> list[Answer]:
        """The likeliest answers to a question about a picture, best first, each with its probability.

        A run that was taught captions and no answers says whether a text describes the picture: yes or no.
        """
        if not question.strip():
            raise UserError("the question is empty; ask something about the picture")
        lessons = self._teller("answers").lessons
        if "match" in lessons and "answer" not in lessons:
            chance = float(self.match(image=[image], text=[question])[0, 0])
            return sorted([Answer("yes", chance), Answer("no", 1 - chance)], key=lambda answer: -answer.confidence)
        return self._teller("answers").answers(self.space, iter([(self._picture(image), question)]), how)[0]

    def _teller(self, what: str) -> Teller:
        if self.teller is None:
            raise UserError(
                f"{self.run} has no decoder, so it gives no {what}; train with tell=caption, or on pairs with columns "
                "of questions and answers"
            )
        return self.teller

    def _picture(self, raw: Any) -> Tensor:
        try:
            return self.space.preparers["image"].prepare(raw)
        except BadImage as error:
            name = raw if isinstance(raw, str | Path) else "the picture"
            raise UserError(f"{name} cannot be read: {error}") from error

    def evaluate(
        self, pairs: str | Path | Pairs, classes: Sequence[str] | None = None, templates: Sequence[str] | None = None
    ) -> Metrics:
        """Retrieval both ways on ``pairs``, the space's health, and zero-shot accuracy where ``classes`` are given.

        A run with a decoder is measured on captions, and on answers where ``pairs`` have questions, as well.
        """
        embedded, told = embed_and_tell(self, open_pairs(pairs))
        metrics = measure(self.space, embedded) | told.metrics
        if classes is not None:
            metrics |= classify(self.space, embedded, classes, templates, self.facts.get("bare_names")).metrics
        return metrics


def embed_and_tell(model: Model, pairs: Pairs, progress: Progress = silent) -> tuple[Embedded, Told]:
    """Every different picture and text embedded once, and what the decoder, if there is one, says of the pictures."""
    answers = model.teller is not None and {"question", "answer"} <= pairs.items.keys()
    need(pairs, *(["image"] if answers else model.space.modalities))
    pairs, store = decode_for(model.space, pairs, progress=progress)
    told = Told() if model.teller is None else tell(model.teller, model.space, pairs, store, progress=progress)
    embedded = embed_store(model.space, pairs, store, progress)
    told.metrics |= borrowed(model.teller, model.space, embedded, told)
    told.metrics |= rerank(model.teller, model.space, embedded)
    return embedded, told
