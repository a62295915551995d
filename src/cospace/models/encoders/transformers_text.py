"""Any text encoder of transformers (RoBERTa, XLM-R, MPNet, E5 ...), by its ``config.json``, pooled as published."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ...config import Config as Settings
from ...modalities.text.tokenizer import TokenBatch
from ...types import Features, TextSpec
from ..layers import masked_mean
from ._transformers import BackboneConfig, built, settings_of, tried, without_pooler

Pooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", "pooler"]
"""sentence-transformers' names (Reimers and Gurevych 2019), and ``pooler`` for the model's own."""

Activation = Literal["identity", "tanh", "relu", "gelu"]


class Dense(Settings):
    """A linear map of a text's vector, as sentence-transformers puts one behind the pooling."""

    out_features: int = Field(gt=0)
    """Dimensions that it leads to."""
    bias: bool = True
    """Whether something is added."""
    activation: Activation = "tanh"
    """What follows it."""
    normalize_before: bool = False
    """Whether vectors are made unit vectors before it."""


class Config(BackboneConfig):
    """A text encoder of transformers."""

    modality: ClassVar[str] = "text"
    pooling: Pooling = "mean"
    """What stands for a text, in sentence-transformers' words (``mean``, ``cls``, ``max`` ...), or ``pooler``."""
    dense: tuple[Dense, ...] = ()
    """Linear maps behind the pooling, in their order."""

    @classmethod
    def tiny(cls) -> Config:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        return cls(config={"model_type": "bert", "hidden_dropout_prob": 0, **sizes})

    def build(self, spec: TextSpec) -> TransformersText:
        return TransformersText(self, spec)


class TransformersText(nn.Module):
    """transformers' ``AutoModel`` of these settings, pooling over the real tokens, and linear maps if there are any."""

    precise: ClassVar[tuple[type[nn.Module], ...]] = (nn.BatchNorm2d,)

    def __init__(self, config: Config, spec: TextSpec) -> None:
        super().__init__()
        self.pooling = config.pooling
        settings = settings_of({"vocab_size": spec.vocabulary, **config.config})
        self.backbone = built(settings, "input_ids")
        if self.pooling != "pooler":
            without_pooler(self.backbone)
        self.pad_token_id = int(getattr(settings, "pad_token_id", None) or 0)
        self.dense = nn.ModuleList()
        example = TokenBatch(torch.full((1, 2), min(3, spec.vocabulary - 1)), torch.ones(1, 2, dtype=torch.bool))
        self.width, self.token_width = tried(self, example, "a text of two tokens")
        for layer in config.dense:
            self.dense.append(DenseLayer(self.width, layer))
            self.width = layer.out_features

    def forward(self, texts: TokenBatch) -> Features:
        ids_BT = texts.ids_BT.masked_fill(~texts.mask_BT, self.pad_token_id)
        made = self.backbone(input_ids=ids_BT, attention_mask=texts.mask_BT.long())
        tokens_BTD: Tensor = made.last_hidden_state
        pooled_BD = pooled(made, tokens_BTD, texts.mask_BT, self.pooling)
        for layer in self.dense:
            pooled_BD = layer(pooled_BD)
        return Features(pooled_BD, tokens_BTD, texts.mask_BT)


class DenseLayer(nn.Module):
    """A linear map and an activation."""

    def __init__(self, width: int, config: Dense) -> None:
        super().__init__()
        self.linear = nn.Linear(width, config.out_features, config.bias)
        self.activation, self.normalize_before = config.activation, config.normalize_before

    def forward(self, pooled_BD: Tensor) -> Tensor:
        mapped_BD: Tensor = self.linear(normalize(pooled_BD, dim=-1) if self.normalize_before else pooled_BD)
        if self.activation == "identity":
            return mapped_BD
        activated: Tensor = getattr(torch.nn.functional, self.activation)(mapped_BD)
        return activated


def pooled(made: Any, tokens_BTD: Tensor, mask_BT: Tensor, how: Pooling) -> Tensor:
    """One vector ``(B, D)`` for each text, of its real tokens alone.

    ``weightedmean`` weighs a token by its place (Muennighoff 2022, SGPT), ``mean_sqrt_len_tokens`` divides the sum by
    the root of the count.
    """
    if how == "pooler":
        vectors_BD: Tensor = made.pooler_output
        return vectors_BD
    if how == "cls":
        return tokens_BTD[:, 0]
    count_B = mask_BT.sum(1)
    if how == "lasttoken":
        return tokens_BTD[torch.arange(len(tokens_BTD), device=tokens_BTD.device), count_B - 1]
    if how == "max":
        return tokens_BTD.masked_fill(~mask_BT[..., None], float("-inf")).amax(1)
    if how == "mean":
        return masked_mean(tokens_BTD, mask_BT)
    if how == "mean_sqrt_len_tokens":
        return masked_mean(tokens_BTD, mask_BT) * count_B.sqrt()[:, None].to(tokens_BTD.dtype)
    weights_BT = (torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device) * mask_BT).to(tokens_BTD.dtype)
    return torch.einsum("bt,btd->bd", weights_BT, tokens_BTD) / weights_BT.sum(1, keepdim=True)
