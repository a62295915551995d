"""A causal decoder with cross-attention (Vaswani et al. 2017, section 3.1) over an item's tokens, e.g. an image's.

One decoder writes captions and answers: its output follows a prompt, which is empty for a caption and the question for
an answer. Its state at the last token of a text decides whether that text describes the item (image-text matching).
Training reads whole sequences at once; :class:`State` keeps what is needed to go on token by token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

from ...config import Config as BaseConfig
from ...modalities.text.sequences import SequenceBatch
from ...modalities.text.tokenizer import STRIDE
from ...types import Features, TextSpec
from ..layers import MLP, Norm, attend, heads_of, merged, unit
from .itm import ITMBatch

MAX_LENGTH = 128
"""Most tokens of a prompt and what follows it together."""


class Config(BaseConfig):
    """The decoder's size, what it attends to, and how much it learns about each item at a step."""

    modality: str | None = None
    """The modality that is described; from the data: the first one that is not text."""
    width: int = Field(default=128, gt=0)
    """Width of the decoder."""
    depth: int = Field(default=2, gt=0)
    """Number of blocks."""
    heads: int = Field(default=8, gt=0)
    """Attention heads; they divide the width."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the residual branches."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a token's target that is spread over the vocabulary."""
    itm_fraction: float = Field(default=0.25, ge=0, le=1)
    """Share of the steps, the last ones, that also train image-text matching (with captions only). A
    decoder that cannot read images yet learns nothing from that."""
    captions_per_item: int = Field(default=2, ge=1)
    """How many of its captions are learned for an item at a step, which encodes it once."""
    questions_per_item: int = Field(default=3, ge=1)
    """How many of its questions are learned for an item at a step."""

    def build(self, spec: TextSpec, memory_width: int) -> Decoder:
        return Decoder(self, spec, memory_width)


@dataclass(slots=True)
class Memory:
    """A layer's unit keys and values: of the item ``(B, H, M, d)`` for cross-attention, and of the tokens so far."""

    cross: tuple[Tensor, Tensor]
    past: tuple[Tensor, Tensor] | None = None

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order: what a beam search goes on with."""
        self.cross = (self.cross[0][rows], self.cross[1][rows])
        if self.past is not None:
            self.past = (self.past[0][rows], self.past[1][rows])


@dataclass(slots=True)
class State:
    """Where a batch of unfinished texts stands: every layer's memory, the last token's embedding, tokens so far."""

    layers: list[Memory]
    mask_BM: Tensor | None
    """Where the items' tokens are real; nothing where all of them are."""
    last_B1D: Tensor | None = None
    length: int = 0

    def select(self, rows: Tensor) -> None:
        """Keep these rows of everything."""
        for layer in self.layers:
            layer.select(rows)
        self.mask_BM = None if self.mask_BM is None else self.mask_BM[rows]
        self.last_B1D = None if self.last_B1D is None else self.last_B1D[rows]


class Decoder(nn.Module):
    """Token embeddings, blocks with self- and cross-attention, and the embeddings again as output (weight tying)."""

    def __init__(self, config: Config, spec: TextSpec, memory_width: int) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.embed = nn.Embedding(spec.vocabulary, config.width)
        self.positions = nn.Embedding(MAX_LENGTH, config.width)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.before = nn.Parameter(0.5 * torch.randn(config.width))
        self.blocks = nn.ModuleList(DecoderBlock(config, memory_width) for _ in range(config.depth))
        self.norm = Norm(config.width)
        self.itm_head = nn.Linear(config.width, 1)

    def forward(self, ids_BT: Tensor, features: Features, item_B: Tensor) -> Tensor:
        """The states of all tokens, ``(B, T, D)``; :meth:`logits` of them score the next token."""
        states_BTD, _ = self.advance(ids_BT, self.start(features, item_B))
        return states_BTD

    def loss(self, targets: SequenceBatch, features: Features) -> Tensor:
        """The summed cross-entropy of every target token.

        The last block computes those places alone: of a question with its answer, two in a dozen.
        """
        at_BS, real_BS = places(targets.target_mask_BT)
        states_BSD, _ = self.advance(targets.ids_BT, self.start(features, targets.item_B), at_BS)
        return cross_entropy(
            self.logits(states_BSD[real_BS]),
            targets.next_BT.gather(1, at_BS)[real_BS],
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )

    def itm(self, candidates: ITMBatch, features: Features) -> Tensor:
        """Logits ``(C,)`` that each text describes its item, from the state of the text's last token."""
        at_C1 = candidates.length_C[:, None] - 1
        states_C1D, _ = self.advance(candidates.ids_CT, self.start(features, candidates.item_C), at_C1)
        logits_C1: Tensor = self.itm_head(states_C1D[:, 0])
        return logits_C1[:, 0].float()

    def itm_loss(self, candidates: ITMBatch, features: Features) -> Tensor:
        """The summed cross-entropy of true or false."""
        return binary_cross_entropy_with_logits(self.itm(candidates, features), candidates.true_C, reduction="sum")

    def start(self, features: Features, item_B: Tensor) -> State:
        """The state before the first token, of texts about the items at ``item_B``."""
        layers = [cast("DecoderBlock", block).remember(features.tokens_BTD, item_B) for block in self.blocks]
        return State(layers, None if bool(features.mask_BT.all()) else features.mask_BT[item_B])

    def advance(self, ids_BT: Tensor, state: State, at_BS: Tensor | None = None) -> tuple[Tensor, State]:
        """Read further tokens; texts in a state are equally long, except for padding after their end.

        Gives the states of all of them, or of those at ``at_BS``, their places among the new tokens.
        """
        length = ids_BT.shape[1]
        if state.length + length > MAX_LENGTH:
            raise ValueError(f"{state.length + length} tokens are more than the {MAX_LENGTH} that a decoder reads")
        embedded_BTD = self.embed(ids_BT)
        first_B1D = torch.zeros_like(embedded_BTD[:, :1]) if state.last_B1D is None else state.last_B1D
        before_BTD = torch.cat([first_B1D, embedded_BTD[:, :-1]], dim=1)
        place_T = torch.arange(state.length, state.length + length, device=ids_BT.device)
        tokens_BTD = embedded_BTD + before_BTD * self.before + self.positions(place_T)
        for number, (block, memory) in enumerate(zip(self.blocks, state.layers, strict=True), 1):
            tokens_BTD = block(tokens_BTD, memory, state.mask_BM, at_BS if number == len(self.blocks) else None)
        state.last_B1D, state.length = embedded_BTD[:, -1:], state.length + length
        return self.norm(tokens_BTD), state

    def logits(self, states_BTD: Tensor) -> Tensor:
        """Scores ``(..., V)`` of what comes next, float32."""
        scores: Tensor = (states_BTD * self.width**-0.5) @ self.embed.weight.T
        return scores.float()


class DecoderBlock(nn.Module):
    """Causal self-attention, cross-attention to the item, an MLP; pre-norm, and every branch starts at zero."""

    def __init__(self, config: Config, memory_width: int) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.self_norm, self.qkv = Norm(width), nn.Linear(width, 3 * width, bias=False)
        self.self_out = nn.Linear(width, width, bias=False)
        self.cross_norm, self.query = Norm(width), nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(memory_width, 2 * width, bias=False)
        self.cross_out = nn.Linear(width, width, bias=False)
        self.scales = nn.Parameter(torch.full((2, config.heads, 1, 1), (width / config.heads) ** 0.5))
        self.mlp_norm, self.mlp = Norm(width), MLP(width, 4 * width)
        self.dropout = nn.Dropout(config.dropout)
        for last in (self.self_out, self.cross_out, self.mlp.down):
            nn.init.zeros_(last.weight)

    def remember(self, tokens_UMD: Tensor, item_B: Tensor) -> Memory:
        """Keys and values of the items, once for all tokens that will attend to them."""
        key_UMD, value_UMD = self.key_value(tokens_UMD).chunk(2, dim=-1)
        return Memory((unit(heads_of(key_UMD, self.heads))[item_B], heads_of(value_UMD, self.heads)[item_B]))

    def forward(
        self, tokens_BTD: Tensor, memory: Memory, mask_BM: Tensor | None = None, at_BS: Tensor | None = None
    ) -> Tensor:
        """New tokens, or those at ``at_BS`` alone, after all of them were taken into the memory."""
        known_BTD = self.self_norm(tokens_BTD)
        tokens_BTD = chosen(tokens_BTD, at_BS)
        attended = self._self_attention(chosen(known_BTD, at_BS), known_BTD, memory, at_BS)
        tokens_BTD = tokens_BTD + self.dropout(self.self_out(attended))
        query = heads_of(self.query(self.cross_norm(tokens_BTD)), self.heads)
        real = None if mask_BM is None else mask_BM[:, None, None, :]
        seen = attend(query, *memory.cross, self.scales[1], real)
        tokens_BTD = tokens_BTD + self.dropout(self.cross_out(merged(seen)))
        made: Tensor = tokens_BTD + self.dropout(self.mlp(self.mlp_norm(tokens_BTD)))
        return made

    def _self_attention(self, asking_BSD: Tensor, new_BTD: Tensor, memory: Memory, at_BS: Tensor | None) -> Tensor:
        """Every asking token attends to those before it and to itself."""
        width, past = asking_BSD.shape[-1], 0
        query = heads_of(linear(asking_BSD, self.qkv.weight[:width]), self.heads)
        key, value = (heads_of(part, self.heads) for part in linear(new_BTD, self.qkv.weight[width:]).chunk(2, dim=-1))
        key = unit(key)
        if memory.past is not None:
            past = memory.past[0].shape[2]
            key, value = (torch.cat(pair, dim=2) for pair in zip(memory.past, (key, value), strict=True))
        memory.past = (key, value)
        if new_BTD.shape[1] == 1:  # the newest token sees everything
            return merged(attend(query, key, value, self.scales[0]))
        own_BS = torch.arange(new_BTD.shape[1], device=key.device)[None] if at_BS is None else at_BS
        visible_B1SM = torch.arange(key.shape[2], device=key.device) <= past + own_BS[:, None, :, None]
        return merged(attend(query, key, value, self.scales[0], visible_B1SM))


def chosen(tokens_BTD: Tensor, at_BS: Tensor | None) -> Tensor:
    """The tokens at some places of each row, or all of them."""
    return tokens_BTD if at_BS is None else tokens_BTD.gather(1, at_BS[..., None].expand(-1, -1, tokens_BTD.shape[-1]))


def places(target_mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Where each row is true, ``(B, S)`` in order, and which of these are real: rows with fewer are filled up."""
    count_B = target_mask_BT.sum(1)
    most = int(count_B.max()) if len(count_B) else 0
    most = min(most + -most % STRIDE, target_mask_BT.shape[1])
    at_BS = target_mask_BT.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return at_BS, torch.arange(most, device=target_mask_BT.device) < count_B[:, None]
