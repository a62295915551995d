"""A decoder on top of a space, with everything it needs to be used: captions of items, answers to questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import exp
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ... import files, tensors
from ...config import validate
from ...modalities.text.tokenizer import Tokenizer
from ...reading import read_object, understood
from ...types import Features, UserError
from ..formats import check_format, needs_conversion
from ..space import Progress, Space, chunks
from .decoder import Config, Decoder
from .decoding import Generation, Hypothesis, generate
from .itm import ITMBatch
from .prior import FrequencyBaseline
from .questions import TaughtQuestions

FORMAT = 4
"""Version of the saved folder; a reader refuses what it does not know."""

FOLDER = "decoder"
"""Inside the folder of a space."""

OLD_FOLDER = "fusion"
"""Its name in version 0.1."""

AT_ONCE = 64
"""Items that are decoded at a time."""

CANDIDATES_AT_ONCE = 256
"""Texts that are matched with items at a time."""


_TRAINED = {"caption": "captions", "vqa": "answers", "itm": "image-text matching"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A text and the probability that the decoder gives to exactly it."""

    text: str
    confidence: float


class TextGenerator:
    """Writes about items of one modality of a space; its ``tasks`` are among ``caption``, ``vqa`` and ``itm``."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, tasks: Sequence[str]) -> None:
        self.decoder, self.tokenizer, self.tasks = decoder, tokenizer, tuple(tasks)
        self.prior = FrequencyBaseline()

    @cached_property
    def taught(self) -> TaughtQuestions:
        """What it was asked in training."""
        return TaughtQuestions(self.prior.answers)

    @property
    def modality(self) -> str:
        """What the decoder attends to."""
        return str(self.decoder.config.modality)

    @classmethod
    def build(cls, config: Config, tokenizer: Tokenizer, space: Space, tasks: Sequence[str]) -> TextGenerator:
        """A fresh decoder for the modality of a space that ``config.modality`` names."""
        encoder = space.encoders[str(config.modality)]
        width = cast("int", getattr(encoder, "token_width", encoder.width))
        return cls(config.build(tokenizer.spec, width), tokenizer, tasks)

    def captions(
        self,
        space: Space,
        items: Iterator[Tensor],
        how: Generation,
        progress: Progress | None = None,
        total: int = 0,
    ) -> list[list[Answer]]:
        """For every prepared item the captions found, best first."""
        self._need("caption", "captions")
        prompt = self.tokenizer.prepare("")
        return self._generate(space, ((item, prompt) for item in items), how, progress, total)

    def answers(
        self,
        space: Space,
        asked: Iterator[tuple[Tensor, str]],
        how: Generation,
        progress: Progress | None = None,
        total: int = 0,
    ) -> list[list[Answer]]:
        """For every prepared item with a question the answers found, best first."""
        self._need("vqa", "answers to questions")
        prompted = ((item, self.tokenizer.prepare(question)) for item, question in asked)
        return self._generate(space, prompted, how, progress, total)

    @torch.inference_mode()
    def match(self, space: Space, items: Sequence[Tensor], texts: Sequence[str], pair_P2: np.ndarray) -> np.ndarray:
        """Log-odds ``(P,)`` that texts describe prepared items; ``pair_P2`` holds the places of both."""
        self._need("itm", "image-text matching")
        where = space.device
        space.eval()
        self.decoder.to(where).eval()
        ids = [self.tokenizer.prepare(text) for text in texts]
        length_P = np.array([len(text) for text in ids])[pair_P2[:, 1]]
        odds_P = np.zeros(len(pair_P2), np.float32)
        for shown in chunks(iter(np.unique(pair_P2[:, 0]).tolist()), AT_ONCE):
            seen = self._features(space, [items[place] for place in shown], where)
            about = np.flatnonzero(np.isin(pair_P2[:, 0], shown))
            about = about[np.argsort(length_P[about], kind="stable")]
            for part in np.split(about, range(CANDIDATES_AT_ONCE, len(about), CANDIDATES_AT_ONCE)):
                item_C = np.searchsorted(shown, pair_P2[part, 0]).tolist()
                candidates = ITMBatch.of([ids[text] for text in pair_P2[part, 1]], item_C)
                odds_P[part] = self.decoder.itm(candidates.to(where), seen).cpu().numpy()
        return odds_P

    def _generate(
        self,
        space: Space,
        asked: Iterator[tuple[Tensor, Tensor]],
        how: Generation,
        progress: Progress | None,
        total: int,
    ) -> list[list[Answer]]:
        written: list[list[Answer]] = []
        where = space.device
        space.eval()
        self.decoder.to(where).eval()
        for chunk in chunks(asked, AT_ONCE):
            prompts = [prompt for _, prompt in chunk]
            features, item_B = self._different(space, [item for item, _ in chunk], where)
            texts = generate(self.decoder, features, item_B, prompts, how)
            written += [[self._answer(hypothesis) for hypothesis in found] for found in texts]
            if progress is not None:
                progress(len(written), total)
        return written

    @torch.inference_mode()
    def _different(self, space: Space, items: Sequence[Tensor], where: torch.device) -> tuple[Features, Tensor]:
        """Features of the different items, and which of them stands at each place."""
        places = {id(item): item for item in items}
        number = {key: place for place, key in enumerate(places)}
        item_B = torch.tensor([number[id(item)] for item in items], device=where)
        return self._features(space, list(places.values()), where), item_B

    def _features(self, space: Space, items: Sequence[Tensor], where: torch.device) -> Features:
        inputs: Any = space.processors[self.modality].batch(items)
        return space.features(self.modality, inputs.to(where))

    def _answer(self, hypothesis: Hypothesis) -> Answer:
        return Answer(self.tokenizer.decode(hypothesis.ids), exp(hypothesis.log_probability))

    def _need(self, task: str, what: str) -> None:
        if task not in self.tasks:
            trained = " and ".join(_TRAINED[name] for name in self.tasks)
            raise UserError(f"this run's decoder was not trained for {what}, only for {trained}; train on such pairs")

    def content(self) -> dict[str, files.Content]:
        """Files by name, to be written into the folder of the space that this belongs to."""
        settings = {"format": FORMAT, "tasks": self.tasks, "decoder": self.decoder.config.model_dump(mode="json")}
        return {
            f"{FOLDER}/decoder.json": files.as_json(settings),
            f"{FOLDER}/tokenizer.json": files.as_json(self.tokenizer.state()),
            f"{FOLDER}/prior.json": files.as_json(asdict(self.prior)),
            f"{FOLDER}/decoder.safetensors": tensors.writer(self.decoder.state_dict()),
        }

    @classmethod
    def load(cls, model: Path, space: Space) -> TextGenerator | None:
        """The decoder in the folder of a space that was loaded from there, so its hashes are checked; if it has one."""
        folder = model / FOLDER
        if (model / OLD_FOLDER).is_dir():
            raise UserError(needs_conversion(model))
        if not folder.is_dir():
            return None
        generator = cls._described(folder, space)
        try:
            generator.decoder.load_state_dict(tensors.read(folder / "decoder.safetensors"))
        except RuntimeError as error:
            raise UserError(
                f"the decoder in {folder} does not fit its settings; load it with the version of cospace that wrote it"
            ) from error
        prior = read_object(folder / "prior.json")
        with understood(folder / "prior.json"):
            generator.prior = FrequencyBaseline(**prior)
        generator.decoder.eval()
        return generator

    @classmethod
    def _described(cls, folder: Path, space: Space) -> TextGenerator:
        """The decoder that the settings in a folder describe, its weights still random."""
        settings, state = read_object(folder / "decoder.json"), read_object(folder / "tokenizer.json")
        check_format(settings, FORMAT, folder)
        with understood(folder / "tokenizer.json"):
            tokenizer = Tokenizer.from_state(state)
        with understood(folder / "decoder.json"), tensors.no_more_than(folder / "decoder.safetensors"):
            config = validate(Config, settings["decoder"], where=str(folder))
            return cls.build(config, tokenizer, space, settings["tasks"])
