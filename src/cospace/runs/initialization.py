"""What a run starts from: fresh encoders, or those of a pretrained model, some of them frozen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn

from ..data.pairs import Pairs
from ..evaluation.generation import normal_answer
from ..modalities import FIELDS, text_modality
from ..modalities.text.tokenizer import BEGIN_ID, END_ID, Tokenizer
from ..models.generation.generator import TextGenerator
from ..models.generation.prior import FrequencyBaseline
from ..models.space import Space
from ..runtime import device
from ..training.adapters import add_adapters
from .datasets import new_processors, new_tokenizer
from .pretrained import is_whole
from .run import Run
from .settings import RunConfig

KEPT = 20
"""First positions of a text that are left as they are when it may become longer."""


@dataclass(frozen=True, slots=True)
class Initial:
    """The modules of a run before its first step; ``tokenizer`` is what a decoder reads and writes with.

    ``lr_scales`` are learning-rate multipliers of pretrained parameters.
    """

    space: Space
    tokenizer: Tokenizer
    generator: TextGenerator | None
    lr_scales: Mapping[nn.Parameter, float] = field(default_factory=dict)


def stretch(space: Space, length: int) -> None:
    """Let a text tower read up to ``length`` tokens: learned positions are interpolated in a straight line.

    The first :data:`KEPT` stay as they are, since most texts have no more and these have learned most (Zhang et al.
    2024, Long-CLIP, section 3.1).
    """
    name = text_modality()
    encoder, tokenizer = space.encoders[name], cast("Tokenizer", space.processors[name])
    own = tokenizer.length
    if length == own:
        return
    known_TD = cast("nn.Embedding", encoder.positions).weight.detach()
    kept = min(KEPT, own - 2)
    tail_TD = nn.functional.interpolate(known_TD[kept:].T[None], size=length - kept, mode="linear", align_corners=True)
    longer = nn.Embedding(length, known_TD.shape[1])
    longer.weight.data.copy_(torch.cat([known_TD[:kept], tail_TD[0].T]))
    encoder.positions = longer
    if hasattr(encoder, "length"):
        encoder.length = length  # type: ignore[assignment]
    tokenizer.length = length


def initialize(config: RunConfig, train: Pairs, source: Run | None) -> Initial:
    """Fresh modules, or those of the model to start from beside fresh ones; locked encoders do not learn."""
    torch.manual_seed(config.training.seed)
    text = text_modality()
    if source is None:
        processors = new_processors(train, config)
        space = Space.build(config.encoder_parts(), processors, config.embed_dim).to(device())
        tokenizer = cast("Tokenizer", processors.get(text)) or new_tokenizer(train, config)
        return Initial(space, tokenizer, _generator(config, train, space, tokenizer, None))
    if text in source.space.modalities:
        stretch(source.space, config.data.of(text).max_length)
    if is_whole(config, source):
        space, pretrained = source.space, [*source.space.parameters()]
    else:
        space = beside(source.space, config, new_processors(train, config))
        pretrained = [p for name in source.space.modalities for p in space.encoders[name].parameters()]
    tokenizer = _tokenizer(source) or new_tokenizer(train, config)
    space.to(device())
    lock(space, config.locked, set(pretrained))
    lr_scales = _lr_scales(space, pretrained, config)
    return Initial(space, tokenizer, _generator(config, train, space, tokenizer, source), lr_scales)


def _lr_scales(space: Space, pretrained: Iterable[nn.Parameter], config: RunConfig) -> dict[nn.Parameter, float]:
    """Learning-rate multipliers of pretrained parameters; adapters take the place of towers that would learn."""
    optim = config.training.optim
    lr_scales = dict.fromkeys(pretrained, optim.pretrained_lr_mult)
    for encoder in space.encoders.values():
        depth = len(getattr(encoder, "blocks", ()))
        for name, parameter in encoder.named_parameters():
            if parameter in lr_scales:
                lr_scales[parameter] *= optim.layer_decay ** below_the_last(name, depth)
        if config.lora_rank and all(p in lr_scales and p.requires_grad for p in encoder.parameters()):
            lr_scales |= dict.fromkeys(add_adapters(encoder, config.lora_rank), optim.lora_lr_mult)
    return lr_scales


def below_the_last(name: str, depth: int) -> int:
    """How many of ``depth`` blocks stand between a parameter and the end of its encoder."""
    block = re.match(r"blocks\.(\d+)\.", name)
    if block is not None:
        return depth - 1 - int(block[1])
    return depth if name.split(".")[0] in ("embed", "positions", "positions_TD", "first", "norm_in") else 0


def beside(space: Space, config: RunConfig, fresh: Mapping[str, Any]) -> Space:
    """The encoders of a space with fresh ones for what it lacks, all of them led into a new space."""
    parts = config.encoder_parts()
    encoders: dict[str, nn.Module] = {}
    processors: dict[str, Any] = {}
    for name, part in parts.items():
        known = name in space.modalities
        processors[name] = space.processors[name] if known else fresh[name]
        encoders[name] = space.encoders[name] if known else part.build(processors[name].spec)  # type: ignore[attr-defined]
    return Space(encoders, parts, processors, config.embed_dim)


def lock(space: Space, locked: str, pretrained: Set[nn.Parameter]) -> None:
    """Freeze what the modalities of these names, or ``all``, brought along; what an encoder froze itself stays so."""
    wanted = locked.split(",")
    for name in (name for name in space.modalities if "all" in wanted or name in wanted):
        for parameter in (*space.encoders[name].parameters(), *space.projections[name].parameters()):
            if parameter in pretrained:
                parameter.requires_grad_(False)


def _tokenizer(source: Run) -> Tokenizer | None:
    """What a decoder can write with: that of an earlier one, or of a space that was trained here."""
    if source.generator is not None:
        return source.generator.tokenizer
    own = source.space.processors.get(text_modality())
    return own if isinstance(own, Tokenizer) and own.encode([""]) == [[BEGIN_ID, END_ID]] else None


def _generator(
    config: RunConfig, train: Pairs, space: Space, tokenizer: Tokenizer, source: Run | None
) -> TextGenerator | None:
    tasks = config.decoder_tasks
    if not tasks:
        return None
    generator = TextGenerator.build(config.decoder, tokenizer, space, tasks)
    if source is not None and source.generator is not None:
        generator.decoder.load_state_dict(source.generator.decoder.state_dict())
    generator.decoder.to(device())
    asked = list(zip(*(train.items[name] for name in FIELDS), strict=True)) if "vqa" in tasks else []
    captions = train.items[text_modality()] if "caption" in tasks else ()
    generator.prior = FrequencyBaseline.of(
        (caption for caption in captions if caption is not None),
        ((normal_answer(question), answer) for question, answer in asked if question is not None),
        (question for question, _ in asked if question is not None),
    )
    return generator
