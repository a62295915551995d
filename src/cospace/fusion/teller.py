"""A decoder on top of a space, with everything it needs to be used: captions of pictures, answers to questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import exp
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import files, tensors
from ..config import read_json, validate
from ..space import Progress, Space, check_format, chunks
from ..tokens import Tokenizer
from ..types import Features, UserError
from .decoder import Config, Decoder
from .generate import Generation, Said, generate
from .matching import Claims
from .prior import Prior

FORMAT = 3
"""Version of the saved folder; a reader refuses what it does not know."""

FOLDER = "fusion"
"""Inside the folder of a space."""

AT_ONCE = 64
"""Pictures that are told about at a time."""

CLAIMS = 256
"""Texts that are compared with pictures at a time."""


_TAUGHT = {"caption": "captions", "answer": "answers", "match": "which text describes a picture"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A text and the probability that the decoder gives to exactly it."""

    text: str
    confidence: float


class Teller:
    """Writes about pictures of one space: ``lessons`` names what its decoder was taught, ``caption`` or ``answer``."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, lessons: Sequence[str]) -> None:
        self.decoder, self.tokenizer, self.lessons = decoder, tokenizer, tuple(lessons)
        self.prior = Prior()

    @classmethod
    def build(cls, config: Config, tokenizer: Tokenizer, space: Space, lessons: Sequence[str]) -> Teller:
        """A fresh decoder for the pictures of a space."""
        encoder = space.encoders["image"]
        width = cast("int", getattr(encoder, "token_width", encoder.width))
        return cls(config.build(tokenizer.spec, width), tokenizer, lessons)

    def captions(
        self,
        space: Space,
        pictures: Iterator[Tensor],
        how: Generation,
        progress: Progress | None = None,
        total: int = 0,
    ) -> list[list[Answer]]:
        """For every prepared picture the captions found, best first."""
        self._need("caption", "captions")
        prompt = self.tokenizer.prepare("")
        return self._tell(space, ((picture, prompt) for picture in pictures), how, progress, total)

    def answers(
        self,
        space: Space,
        asked: Iterator[tuple[Tensor, str]],
        how: Generation,
        progress: Progress | None = None,
        total: int = 0,
    ) -> list[list[Answer]]:
        """For every prepared picture with a question the answers found, best first."""
        self._need("answer", "answers to questions")
        prompted = ((picture, self.tokenizer.prepare(question)) for picture, question in asked)
        return self._tell(space, prompted, how, progress, total)

    @torch.inference_mode()
    def match(self, space: Space, pictures: Sequence[Tensor], texts: Sequence[str], pair_P2: np.ndarray) -> np.ndarray:
        """Log-odds ``(P,)`` that texts describe prepared pictures; ``pair_P2`` holds the places of both."""
        self._need("match", "which text describes a picture")
        where = next(space.parameters()).device
        space.eval()
        self.decoder.to(where).eval()
        ids = [self.tokenizer.prepare(text) for text in texts]
        length_P = np.array([len(text) for text in ids])[pair_P2[:, 1]]
        odds_P = np.zeros(len(pair_P2), np.float32)
        for shown in chunks(iter(np.unique(pair_P2[:, 0]).tolist()), AT_ONCE):
            seen = _features(space, [pictures[place] for place in shown], where)
            about = np.flatnonzero(np.isin(pair_P2[:, 0], shown))
            about = about[np.argsort(length_P[about], kind="stable")]
            for part in np.split(about, range(CLAIMS, len(about), CLAIMS)):
                item_C = np.searchsorted(shown, pair_P2[part, 0]).tolist()
                claims = Claims.of([ids[text] for text in pair_P2[part, 1]], item_C)
                odds_P[part] = self.decoder.match(claims.to(where), seen).cpu().numpy()
        return odds_P

    def _tell(
        self,
        space: Space,
        asked: Iterator[tuple[Tensor, Tensor]],
        how: Generation,
        progress: Progress | None,
        total: int,
    ) -> list[list[Answer]]:
        told: list[list[Answer]] = []
        where = next(space.parameters()).device
        space.eval()
        self.decoder.to(where).eval()
        for chunk in chunks(asked, AT_ONCE):
            prompts = [prompt for _, prompt in chunk]
            picture, item_B = _seen(space, [picture for picture, _ in chunk], where)
            texts = generate(self.decoder, picture, item_B, prompts, how)
            told += [[self._answer(said) for said in found] for found in texts]
            if progress is not None:
                progress(len(told), total)
        return told

    def _answer(self, said: Said) -> Answer:
        return Answer(self.tokenizer.decode(said.ids), exp(said.log_probability))

    def _need(self, lesson: str, what: str) -> None:
        if lesson not in self.lessons:
            taught = " and ".join(_TAUGHT[name] for name in self.lessons)
            raise UserError(f"this run's decoder was not taught {what}, only {taught}; train on pairs that have them")

    def content(self) -> dict[str, files.Content]:
        """Files by name, to be written into the folder of the space that this belongs to."""
        settings = {"format": FORMAT, "lessons": self.lessons, "decoder": self.decoder.config.model_dump(mode="json")}
        return {
            f"{FOLDER}/fusion.json": files.as_json(settings),
            f"{FOLDER}/tokenizer.json": files.as_json(self.tokenizer.state()),
            f"{FOLDER}/prior.json": files.as_json(asdict(self.prior)),
            f"{FOLDER}/decoder.safetensors": tensors.writer(self.decoder.state_dict()),
        }

    @classmethod
    def load(cls, model: Path, space: Space) -> Teller | None:
        """The decoder in the folder of a space that was loaded from there, so its hashes are checked; if it has one."""
        folder = model / FOLDER
        if not folder.is_dir():
            return None
        settings = read_json(folder / "fusion.json")
        check_format(settings, FORMAT, folder)
        tokenizer = Tokenizer.from_state(read_json(folder / "tokenizer.json"))
        config = validate(Config, settings["decoder"], where=str(folder))
        teller = cls.build(config, tokenizer, space, settings["lessons"])
        try:
            teller.decoder.load_state_dict(load_file(folder / "decoder.safetensors"))
        except RuntimeError as error:
            raise UserError(
                f"the decoder in {folder} does not fit its settings; load it with the version of cospace that wrote it"
            ) from error
        teller.prior = Prior(**read_json(folder / "prior.json"))
        teller.decoder.eval()
        return teller


@torch.inference_mode()
def _seen(space: Space, pictures: Sequence[Tensor], where: torch.device) -> tuple[Features, Tensor]:
    """Features of the different pictures, and which of them each place shows."""
    places = {id(picture): picture for picture in pictures}
    number = {key: place for place, key in enumerate(places)}
    item_B = torch.tensor([number[id(picture)] for picture in pictures], device=where)
    return _features(space, list(places.values()), where), item_B


def _features(space: Space, pictures: Sequence[Tensor], where: torch.device) -> Features:
    inputs: Any = space.preparers["image"].batch(pictures)
    return space.features("image", inputs.to(where))
