"""Zero-shot classification of items without labels: classes as vectors, and probabilities that mean something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..evaluation.class_probabilities import FEWEST, UNCALIBRATED, Basis, contrasted, fit_slope, softmax
from ..evaluation.classes import ClassEntry, vectors_of
from ..evaluation.rest import RestModel
from ..evaluation.vectors import unit
from ..evaluation.zero_shot import BARE, ENSEMBLE
from ..modalities import text_modality
from ..models.space import Space
from ..models.truncation import prefix
from ..types import UserError


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out items of one modality, ``(N, E)``, the different texts they match, ``(M, E)``, and which ``(N,)``.

    ``statistics_NS`` are those of :meth:`cospace.modalities.Modality.statistics`, where there are any.
    """

    item_NE: np.ndarray
    text_ME: np.ndarray
    text_N: np.ndarray
    statistics_NS: np.ndarray | None = None

    def truncated(self, width: int) -> HeldOut:
        """The same for a space whose vectors are cut to ``width`` numbers."""
        return replace(self, item_NE=prefix(self.item_NE, width), text_ME=prefix(self.text_ME, width))


@dataclass(frozen=True, slots=True)
class Probabilities:
    """How cosines of one modality become probabilities, and what that rests on."""

    slope: float
    basis: Basis
    rows: int = 0
    """Held-out items that it was fitted on."""
    rest: RestModel | None = None


@dataclass(frozen=True, slots=True)
class Classifier:
    """Classes as unit vectors ``(C, E)``; with ``rest`` a further class for what is none of them."""

    classes: Sequence[ClassEntry]
    class_CE: np.ndarray
    templates: Sequence[str]
    rest: str | None = None
    scales: Mapping[str, Probabilities] = field(default_factory=dict)
    """By modality."""

    @classmethod
    def build(
        cls,
        space: Space,
        classes: Sequence[ClassEntry],
        templates: Sequence[str] | None = None,
        bare: bool | None = None,
        held_out: Mapping[str, HeldOut] | None = None,
        rest: str | None = None,
    ) -> Classifier:
        """For a space; ``held_out`` are items by modality that it was not trained on, with their texts.

        ``templates`` default to the bare name where the space was trained on ``bare`` names, else to a few sentences.
        """
        _check_space(space, classes, rest)
        text = text_modality()
        chosen = tuple(templates or (BARE if bare else ENSEMBLE))

        def embed_text(texts: list[str]) -> torch.Tensor:
            return torch.from_numpy(space.embed(progress=None, **{text: texts}))

        class_CE = vectors_of(embed_text, classes, chosen).numpy()
        known = {name: one.truncated(space.width) for name, one in (held_out or {}).items()}
        scales = {name: _scaled(space, class_CE, known.get(name), rest) for name in space.modalities}
        return cls(classes, class_CE, chosen, rest, scales)

    @property
    def names(self) -> list[str]:
        """What the columns of :meth:`probabilities` are called, the rest last."""
        return [*(one.shown for one in self.classes), *([] if self.rest is None else [self.rest])]

    def probabilities(self, item_NE: np.ndarray, modality: str, statistics_NS: np.ndarray | None = None) -> np.ndarray:
        """``(N, C)``, or ``(N, C + 1)`` with the rest last; each row adds up to 1.

        ``statistics_NS`` of the same items let the rest see what is of another kind altogether.

        Without a rest the most probable class is the one with the highest cosine, as ``eval`` counts it.
        """
        self.check(modality)
        cosine_NC = self.cosines(item_NE)
        scale = self.scales[modality]
        share_NC = softmax(scale.slope * cosine_NC)
        if scale.rest is None:
            return share_NC
        rest_N1 = scale.rest.probability(cosine_NC, statistics_NS)[:, None]
        return np.concatenate([share_NC * (1 - rest_N1), rest_N1], axis=1)

    def check(self, modality: str) -> None:
        """Raise :class:`UserError` where a rest is asked for and nothing says what items of the classes look like."""
        if self.rest is not None and self.scales[modality].rest is None:
            raise UserError(
                "a rest needs held-out pairs with the model, and this one was imported, trained by an earlier version, "
                "or on few pairs; name some that it was not trained on with --calibrate PAIRS, or leave the rest out"
            )

    def cosines(self, item_NE: np.ndarray) -> np.ndarray:
        """With every class, ``(N, C)``, computed as ``eval`` does."""
        return np.asarray((unit(torch.from_numpy(item_NE), "items") @ torch.from_numpy(self.class_CE).T).numpy())

    def basis(self, modality: str) -> str:
        """What the probabilities of a modality rest on, in a sentence for people."""
        scale = self.scales[modality]
        if scale.basis == "held-out pairs":
            said = f"probabilities are calibrated on {scale.rows:,} held-out pairs of the run"
        elif scale.basis == "matches":
            said = "probabilities rest on the run's calibration of matches, not on classes: take them for rough"
        else:
            said = "nothing calibrates these probabilities (the model holds no held-out pairs): only their order counts"
        return said


def _check_space(space: Space, classes: Sequence[ClassEntry], rest: str | None) -> None:
    if text_modality() not in space.modalities:
        raise UserError("this model embeds no texts, so that classes cannot be named; train it on items with captions")
    if rest is not None and any(one.shown.casefold() == rest.casefold() for one in classes):
        raise UserError(f"{rest!r} is the name of a class; call the rest by another name")
    for one in classes:
        one.check(space.fingerprint, space.width, "this run")


def _rest(known: HeldOut, classes: int) -> RestModel:
    return RestModel.fit(known.item_NE, known.text_ME, known.text_N, known.statistics_NS, classes)


def _scaled(space: Space, class_CE: np.ndarray, known: HeldOut | None, rest: str | None) -> Probabilities:
    """The slope for one modality, fitted on what there is, and the rest."""
    if known is not None and len(known.item_NE) >= FEWEST and len(known.text_ME) >= 2:
        cosine_NC = contrasted(known.item_NE, known.text_ME, known.text_N, max(2, len(class_CE)))
        slope = fit_slope(cosine_NC, np.zeros(len(cosine_NC), np.int64))
        made = None if rest is None else _rest(known, len(class_CE))
        return Probabilities(slope, "held-out pairs", len(known.item_NE), made)
    if space.calibration is not None and space.calibration.slope > 0:
        return Probabilities(space.calibration.slope, "matches")
    return Probabilities(UNCALIBRATED, "nothing")
