"""Small towers, batches and decoders for tests of the training step, in float64 where a wrong gradient would show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from cospace.data.batches import Batch, MicroBatches
from cospace.data.targets import TaskTargets
from cospace.matches import BatchMatches
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import TokenBatch, Tokenizer
from cospace.models.encoders import cnn, vit
from cospace.models.generation.decoder import Config as DecoderConfig
from cospace.models.generation.decoder import Decoder
from cospace.models.space import Space
from cospace.types import Features, TextSpec

CPU = torch.device("cpu")


ALL = 1 << 40
"""More bytes than any graph here takes."""


class Exact(Space):
    """A space in float64 throughout, where a wrong gradient cannot pass for rounding."""

    def project(self, modality: str, features: Features) -> Tensor:
        projected: Tensor = self.projections[modality](features.pooled_BD)
        return projected


class Contrast(nn.Module):
    """Softmax over groups with a learned scale, in the precision of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, embeddings: Mapping[str, Tensor], matches: BatchMatches) -> Tensor:
        image_BE, text_BE = (normalize(embeddings[name], dim=-1) for name in ("image", "text"))
        logits_BB = self.log_scale.exp() * image_BE @ text_BE.T
        match_BB = matches.relation("image", "text").dense().double()
        target_BB = match_BB / match_BB.sum(1, keepdim=True)
        return -(target_BB * (log_softmax(logits_BB, 1) + log_softmax(logits_BB.T, 1))).sum(1).mean()


WORDS = ["a bus", "two dogs", "a red car on the road", "night"]


CONVOLUTIONS, PATCHES = cnn.Config.tiny(), vit.Config(patch_size=4, width=16, depth=2, heads=2, patch_dropout=0.5)


def space(
    image: Any, text: Any, wrap: Callable[[nn.Module], nn.Module] | None = None, kind: type[Space] = Exact
) -> Space:
    """Towers whose every parameter matters: nothing starts at zero."""
    torch.manual_seed(0)
    made = kind.build(
        {"image": image, "text": text}, {"image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)}, 8
    )
    if wrap:
        for name in made.encoders:
            made.encoders[name] = wrap(made.encoders[name])
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.double() if kind is Exact else made


def batch_of(
    rows: int = 12, images: int = 10, texts: int = 7, micro_batch_size: int = 3, dtype: torch.dtype = torch.float64
) -> Batch:
    """Micro-batches that do not divide the items, texts in order of length, items shared by several rows."""
    torch.manual_seed(1)
    images_U3SS = torch.randn(images, 3, 16, 16, dtype=dtype)
    lengths = torch.arange(texts) // 2 + 2
    ids_UT = torch.randint(3, 200, (texts, int(lengths.max())))
    mask_UT = torch.arange(ids_UT.shape[1]) < lengths[:, None]
    cuts = [slice(i, i + micro_batch_size) for i in range(0, texts, micro_batch_size)]
    inputs = [
        TokenBatch(ids_UT[cut, :longest], mask_UT[cut, :longest]) for cut in cuts if (longest := lengths[cut].max())
    ]
    row_B = torch.arange(rows)
    return Batch(
        0,
        {
            "image": MicroBatches(list(images_U3SS.split(micro_batch_size)), row_B % images),
            "text": MicroBatches(list(inputs), (row_B * 5) % texts),
        },
        BatchMatches.of_groups((row_B * 5) % texts),
        row_B.numpy(),
    )


def gradients(*modules: nn.Module) -> dict[str, Tensor]:
    return {
        f"{type(module).__name__}.{name}": parameter.grad.clone()
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def decoder_and_targets(batch: Batch, dropout: float = 0.0) -> tuple[Decoder, Batch]:
    """A decoder whose every parameter matters, and a batch with captions for some rows, answers for all."""
    torch.manual_seed(4)
    decoder = DecoderConfig(modality="image", width=16, heads=2, dropout=dropout).build(TextSpec(210, 12), 16).double()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    words = [torch.tensor([1, *torch.randint(3, 200, (length,)).tolist(), 2]) for length in (1, 4, 2, 3)]
    rows = len(batch.row_B)
    tasks = {
        "caption": TaskTargets([torch.tensor([1, 2])], np.zeros(rows, int), words, np.arange(rows) % 2, 12),
        "vqa": TaskTargets(words, np.arange(rows) % 3, words, np.arange(rows) % 4, 12),
    }
    images = batch.parts["image"]
    targets = {
        name: task.about(batch.row_B, images.item_B.numpy(), [len(part) for part in images.inputs])
        for name, task in tasks.items()
    }
    return decoder, replace(batch, targets=targets, captions=tasks["caption"].target_ids(batch.row_B))


class Wrapped(nn.Module):
    """Another encoder's vector through a layer of the test's own and a linear map."""

    def __init__(self, inner: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.inner, self.layer = inner, layer
        self.width: int = inner.width
        self.mix = nn.Linear(self.width, self.width)

    def forward(self, inputs: Any) -> Features:
        features = self.inner(inputs)
        return Features(self.mix(self.layer(features.pooled_BD)), features.tokens_BTD, features.mask_BT)
