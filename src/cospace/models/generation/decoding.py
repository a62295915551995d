"""Texts from a decoder: the likeliest by beam search (of one beam: greedily), or sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from ...config import Config
from ...modalities.text.tokenizer import BEGIN_ID, END_ID, PAD_ID
from ...types import Features
from .decoder import MAX_LENGTH, Decoder, State


class Generation(Config):
    """How texts are generated: by beam search, or by sampling."""

    beams: int = Field(default=1, ge=1, le=64)
    """Beams of the search; one is greedy."""
    temperature: float = Field(default=0.0, ge=0)
    """Above 0 one text is sampled at this temperature in place of the search."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sampling is from the likeliest tokens that together have this probability (Holtzman et al. 2020)."""
    max_length: int = Field(default=40, ge=1, le=MAX_LENGTH)
    """Tokens at which a text ends at the latest."""
    length_penalty: float = Field(default=0.0, ge=0)
    """A beam's log-probability is divided by its length to this power (Wu et al. 2016, without their constant)."""
    seed: int = Field(default=0, ge=0)
    """Of the sampling."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Token ids without begin and end, and the log-probability of exactly this text, its end included.

    It is conditional on a text that is not empty.
    """

    ids: tuple[int, ...]
    log_probability: float


@torch.inference_mode()
def generate(
    decoder: Decoder, features: Features, item_B: Tensor, prompts: Sequence[Tensor], how: Generation
) -> list[list[Hypothesis]]:
    """For each prompt the texts that follow it, best first: ``how.beams`` of them at most, or the one sampled.

    ``item_B`` is the place of each prompt's item. Prompts of one length are decoded together.
    """
    predicted: list[list[Hypothesis]] = [[] for _ in prompts]
    for length in sorted({len(prompt) for prompt in prompts}):
        rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
        ids_BT = torch.stack([prompts[row] for row in rows]).to(item_B.device)
        state = decoder.start(features, item_B[torch.tensor(rows, device=item_B.device)])
        room = min(how.max_length, MAX_LENGTH - length)
        found = (
            _drawn(decoder, ids_BT, state, how, room) if how.temperature else _beams(decoder, ids_BT, state, how, room)
        )
        for row, texts in zip(rows, found, strict=True):
            predicted[row] = texts
    return predicted


def _next(decoder: Decoder, ids_BT: Tensor, state: State, first: bool = False) -> Tensor:
    """Log-probabilities ``(B, V)`` of the next token; padding and a second begin never follow.

    Nor is a text empty: its first token is not the end.
    """
    states_BTD, _ = decoder.advance(ids_BT, state)
    logits_BV = decoder.logits(states_BTD[:, -1])
    logits_BV[:, [PAD_ID, BEGIN_ID, *([END_ID] if first else [])]] = float("-inf")
    return logits_BV.log_softmax(-1)


def _beams(decoder: Decoder, ids_BT: Tensor, state: State, how: Generation, room: int) -> Iterator[list[Hypothesis]]:
    """Beam search (Graves 2012): the best ``W`` continuations of every text at each token, ended ones included."""
    texts, width = len(ids_BT), how.beams
    score_BW = torch.zeros(texts, 1, device=ids_BT.device)
    ids_BWL = ids_BT.new_zeros(texts, 1, 0)
    length_BW = score_BW.clone()
    ended_BW = torch.zeros_like(score_BW, dtype=torch.bool)
    log_p = _next(decoder, ids_BT, state, first=True)
    for place in range(room):
        log_p_BWV = log_p.view(texts, -1, log_p.shape[-1])
        log_p_BWV = log_p_BWV.masked_fill(ended_BW[..., None], float("-inf"))
        log_p_BWV[..., END_ID] = log_p_BWV[..., END_ID].masked_fill(ended_BW, 0.0)
        total_BWV = score_BW[..., None] + log_p_BWV
        power_BWV = (length_BW + ~ended_BW).pow(how.length_penalty)[..., None]
        chosen = (total_BWV / power_BWV).flatten(1).topk(min(width, total_BWV[0].numel())).indices
        beam_BW, token_BW = chosen // total_BWV.shape[-1], chosen % total_BWV.shape[-1]
        score_BW = total_BWV.flatten(1).gather(1, chosen)
        was_ended_BW, length_BW = ended_BW.gather(1, beam_BW), length_BW.gather(1, beam_BW)
        length_BW, ended_BW = length_BW + ~was_ended_BW, was_ended_BW | (token_BW == END_ID)
        ids_BWL = torch.cat([ids_BWL.gather(1, _wide(beam_BW, place)), token_BW[..., None]], dim=2)
        if bool(ended_BW.all()) or place + 1 == room:
            break
        before = torch.arange(texts, device=ids_BT.device)[:, None] * log_p_BWV.shape[1]
        state.select((before + beam_BW).flatten())
        log_p = _next(decoder, token_BW.reshape(-1, 1), state)
    for ids_WL, scores in zip(ids_BWL.tolist(), score_BW.tolist(), strict=True):
        yield [
            Hypothesis(_until_end(ids), score)
            for ids, score in zip(ids_WL, scores, strict=True)
            if score > float("-inf")
        ]


def _wide(beam_BW: Tensor, length: int) -> Tensor:
    return beam_BW[..., None].expand(-1, -1, length)


def _drawn(decoder: Decoder, ids_BT: Tensor, state: State, how: Generation, room: int) -> Iterator[list[Hypothesis]]:
    """One text each, token by token at random; its log-probability is the decoder's own, whatever the temperature."""
    dice = torch.Generator(device=ids_BT.device).manual_seed(how.seed)
    predicted, score_B = [], torch.zeros(len(ids_BT), device=ids_BT.device)
    ended_B = torch.zeros_like(score_B, dtype=torch.bool)
    for place in range(room):
        log_p_BV = _next(decoder, ids_BT, state, first=place == 0)
        token_B = torch.multinomial(nucleus(log_p_BV / how.temperature, how.top_p), 1, generator=dice)[:, 0]
        token_B = token_B.masked_fill(ended_B, END_ID)
        score_B += log_p_BV.gather(1, token_B[:, None])[:, 0].masked_fill(ended_B, 0.0)
        predicted.append(token_B)
        ended_B = ended_B | (token_B == END_ID)
        if bool(ended_B.all()):
            break
        ids_BT = token_B[:, None]
    for ids, score in zip(torch.stack(predicted, 1).tolist(), score_B.tolist(), strict=True):
        yield [Hypothesis(_until_end(ids), score)]


def nucleus(logits_BV: Tensor, top_p: float) -> Tensor:
    """Probabilities with the unlikely tail cut off: the fewest tokens that together reach ``top_p``, renormalised."""
    sorted_BV, order_BV = logits_BV.softmax(-1).sort(-1, descending=True)
    before_BV = sorted_BV.cumsum(-1) - sorted_BV
    kept_BV = sorted_BV.masked_fill(before_BV >= top_p, 0.0)
    probability_BV = torch.zeros_like(sorted_BV).scatter(1, order_BV, kept_BV)
    return probability_BV / probability_BV.sum(-1, keepdim=True)


def _until_end(ids: list[int]) -> tuple[int, ...]:
    return tuple(ids[: ids.index(END_ID)] if END_ID in ids else ids)
