"""What ranks do in tests, each in a process of its own (``rank_processes.py``); one process alone to compare with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cospace.config import lookup
from cospace.data.batches import Batch, MicroBatches, Share, TrainingBatches
from cospace.data.pairs import build
from cospace.data.prepared import on_demand_rows, prepare_on_demand
from cospace.data.sampler import BatchSampler
from cospace.data.sources import Rows
from cospace.matches import Matches, RowVectors, modality_pairs
from cospace.modalities.audio.processor import AudioBatch, AudioProcessor
from cospace.modalities.image.augmentation import Augment
from cospace.modalities.image.batching import ImageBatcher
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.batching import TextBatcher
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import bag, linear, spectrogram, transformer
from cospace.objectives import _tiled, softmax
from cospace.ranks import Ranks
from cospace.training.checkpoint import CheckpointFolder
from cospace.training.distributed import held_whole, pieces
from cospace.training.loop import Learner, Observers, Trainer, TrainingConfig
from cospace.training.optim import OptimConfig
from cospace.training.selection import Evaluation
from cospace.training.sharded import sharded_copy
from cospace.training.shards import local, whole
from cospace.training.step import NOTHING, forward_backward
from photographs import encoded, photograph
from tiny_training import ALL, CONVOLUTIONS, CPU, PATCHES, WORDS, Exact, Wrapped, batch_of, decoder_and_targets

# ------------------------------------------------------------------------------------------------ one step

ROWS = 12
IMAGES: Mapping[str, Callable[[], Any]] = {
    "plain": lambda: CONVOLUTIONS,
    "patch dropout": lambda: PATCHES,
    "batch norm": linear.Config.tiny,
}


def towers(images: str) -> Exact:
    """Towers for images, texts and sounds, in float64."""
    torch.manual_seed(0)
    made = Exact.build(
        {"audio": spectrogram.Config.tiny(), "image": IMAGES[images](), "text": transformer.Config.tiny()},
        {"audio": AudioProcessor(), "image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)},
        8,
    )
    if images == "batch norm":
        inner = made.encoders["image"]
        made.encoders["image"] = Wrapped(inner, nn.BatchNorm1d(cast(Any, inner).width))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.double()


def batch_of_three(micro_batch_size: int, judged: bool = False) -> Batch:
    """Images and texts that rows share without being groups, and sounds of some of the rows.

    Of ``judged`` rows some count more than others, and a teacher knows the images and the texts.
    """
    batch = batch_of(rows=ROWS, micro_batch_size=micro_batch_size)
    row_B = np.arange(ROWS)
    bins = AudioProcessor().mel_bins
    sounds = [
        AudioBatch(
            torch.randn(size, 24, bins, dtype=torch.float64),
            torch.arange(24)[None] < torch.arange(10, 10 + size)[:, None],
        )
        for size in (2, 2, 1)
    ]
    heard = MicroBatches(sounds, torch.arange(9) % 5)
    codes = {
        "audio": np.where(row_B < 9, row_B % 5, -1),
        "image": batch.parts["image"].item_B.numpy(),
        "text": batch.parts["text"].item_B.numpy(),
    }
    matches = Matches.of(codes)
    if judged:
        dice = np.random.default_rng(3)
        taught = {name: RowVectors(dice.standard_normal((12, 5)), codes[name]) for name in ("image", "text")}
        matches = replace(matches, weight_N=np.where(row_B == 4, 0.0, 1 + dice.random(ROWS)), teacher=taught)
    return replace(batch, parts={"audio": heard, **batch.parts}, matches=matches.batch(row_B))


def of_rank(batch: Batch, share: Share) -> Batch:
    """What a rank's loader makes of a batch: the inputs of other ranks are left out."""
    parts = {}
    for name, one in batch.parts.items():
        sizes = [len(inputs if isinstance(inputs, Tensor) else inputs.mask_BT) for inputs in one.inputs]
        own = share.own(len(sizes))
        inputs = [given if here else None for given, here in zip(one.inputs, own, strict=True)]
        parts[name] = MicroBatches(inputs, one.item_B, sizes, None if any(own) else one.inputs[0])
    return replace(batch, parts=parts, share=share)


def step(
    ranks: Ranks,
    objective: str = "softmax",
    images: str = "plain",
    micro_batch_size: int = 3,
    room: int = ALL,
    decoder: bool = False,
    tiled: bool = False,
    least: int | None = 0,
    sharded: bool = False,
    tile: Sequence[int] | None = None,
    judged: bool = False,
) -> dict[str, Tensor]:
    """Losses, gradients and running statistics of one step, and how many numbers of the towers this rank holds.

    ``tile`` are the rows and columns of a tile; the number of tiles that were read is then given as well.

    With ``least`` None it is the plain step of one process; otherwise the ranks share at least so many micro-batches.
    """
    tower, batch = towers(images), batch_of_three(micro_batch_size, judged)
    written, batch = decoder_and_targets(batch)
    batch = batch if decoder else replace(batch, targets={}, captions=())
    config: Any = lookup("objectives", objective)()
    made = config.build(modality_pairs(tower.modalities)).double()
    if least is not None:
        batch = of_rank(batch, Share(ranks.rank, ranks.size, max(least, cast(int, pieces("ddp", ranks)))))
    if sharded:
        tower = cast(Exact, sharded_copy(tower, ranks, torch.float32))
    torch.manual_seed(7)
    with tiles_of(tile, small=0 if tiled else _tiled.SMALL) as read:
        done = forward_backward(
            tower, made, batch, CPU, NOTHING if sharded else room, written if decoder else None, ranks
        )
    if sharded:
        for parameter, gradient in zip(held_whole(tower), done.gradients or (), strict=True):
            parameter.grad = gradient
        done = replace(done, gradients=None)
    modules = [*tower.named_parameters(), *(written.named_parameters("decoder") if decoder else ())]
    gradients = done.gradients or [parameter.grad for _, parameter in modules]
    found = {
        name: whole(gradient) for (name, _), gradient in zip(modules, gradients, strict=True) if gradient is not None
    }
    found |= {f"objective.{name}": p.grad for name, p in made.named_parameters() if p.grad is not None}
    found |= {f"loss/{name}": loss.detach() for name, loss in done.losses.items()}
    found |= {f"embeddings/{name}": rows for name, rows in done.embeddings.items()}
    if tile is not None:
        found["tiles"] = torch.tensor(len(read))
    if sharded:
        found["held"] = torch.tensor(sum(local(parameter).numel() for parameter in tower.parameters()))
    return found | {f"buffer/{name}": buffer.clone() for name, buffer in tower.named_buffers()}


@contextmanager
def tiles_of(shape: Sequence[int] | None, small: int) -> Iterator[list[int]]:
    """A block in which tiles have a shape, and losses on more than ``small`` rows are tiled; gives each tile's rows."""
    read: list[int] = []
    real = _tiled.Tiles._tile

    def counting(self: _tiled.Tiles, rows: slice, *rest: Any) -> _tiled.Tile:
        read.append(rows.start)
        return real(self, rows, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiled, "SMALL", small)
        patch.setattr(_tiled.Tiles, "_tile", counting)
        if shape is not None:
            patch.setattr(_tiled, "tile_shape", lambda rows: tuple(shape))
        yield read


def learned(objective: str) -> list[str]:
    """Names of the numbers that an objective learns."""
    config: Any = lookup("objectives", objective)()
    return [name for name, _ in config.build(modality_pairs(["audio", "image", "text"])).named_parameters()]


# ------------------------------------------------------------------------------------------------ a run


def batches(space: Exact, micro_batch_size: int) -> TrainingBatches:
    """48 images with 6 captions, augmented, 16 at a step."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (48, 3, 16, 16), dtype=np.uint8))
    tokenizer = space.processors["text"]
    assert isinstance(tokenizer, Tokenizer)
    tokens = [torch.tensor(ids) for ids in tokenizer.encode([*WORDS, "a blue bird", "rain"])]
    columns = {"image": np.arange(48), "text": np.arange(48) % 6}
    batchers = {
        "image": ImageBatcher(images, columns["image"], ImageProcessor(size=16), Augment(translate=0.1), 0),
        "text": TextBatcher(tokens, columns["text"], tokenizer, 0.2, 0),
    }
    return TrainingBatches(batchers, Matches.of(columns), BatchSampler(48, 16, 0), micro_batch_size)


class Halt(Exception):
    """Ends a run where a test wants it to end."""


def run(
    ranks: Ranks,
    folder: str,
    steps: int = 8,
    halt_after: int | None = None,
    micro_batch_size: int = 4,
    parallel: str = "ddp",
    broken: int | None = None,
    optimizer: str = "muon",
) -> dict[str, Tensor]:
    """Train in float64 and return losses and weights; the folder keeps the checkpoints of a run that was halted."""
    torch.manual_seed(0)
    images, text = PATCHES, bag.Config.tiny()
    tower = Exact.build(
        {"image": images, "text": text}, {"image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)}, 8
    ).double()
    if not ranks.first:  # what counts are the first rank's weights
        nn.init.normal_(tower.projections["image"].weight)
    losses: list[float] = []
    settings = TrainingConfig(
        steps=steps,
        precision="float32",
        optim=OptimConfig(name=cast(Any, optimizer), warmup_steps=1),
        checkpoint_seconds=0,
        parallel=cast(Any, parallel),
        evaluations=1,
    )
    said: list[str] = []
    if ranks.first:
        scores = Observers(
            evaluate=lambda space: Evaluation({}, np.array([1.0])),
            row=lambda row: losses.append(row["loss"]),
            say=said.append,
        )
    else:
        scores = Observers()
    objective = softmax.Config().build().double()
    trainer = Trainer(Learner(tower), objective, settings, CheckpointFolder(Path(folder)), scores, ranks=ranks)
    real = trainer.step

    def stepping(batch: Batch, steps: int) -> Any:
        if batch.step == halt_after:
            raise Halt
        if broken is not None and batch.step >= broken and batch.parts["image"].inputs[-1] is not None:
            inputs = batch.parts["image"].inputs
            inputs[-1] = inputs[-1].to(CPU) * float("nan")
        return real(batch, steps)

    trainer.step = stepping  # type: ignore[method-assign]
    with suppress(Halt):
        trainer.fit(batches(tower, micro_batch_size))
    if not ranks.first and parallel == "fsdp":  # which has no whole weights
        return {}
    found = {f"weights/{name}": value for name, value in tower.state_dict().items()}
    found |= {f"objective/{name}": value for name, value in objective.state_dict().items()}
    return found | {"losses": torch.tensor(losses, dtype=torch.float64)}


def exchanges(ranks: Ranks) -> dict[str, Tensor]:
    """What the ranks give each other, in vectors of awkward lengths."""
    found = {}
    for length in (1, 5, 64):
        own = torch.randn(length, generator=torch.Generator().manual_seed(ranks.rank), dtype=torch.float64)
        found[f"sum/{length}"] = ranks.tree_sum(own)
    counts = [3 * rank for rank in range(ranks.size)]
    found["rows"] = ranks.gather(torch.full((counts[ranks.rank], 2), float(ranks.rank)), counts)
    found["any"] = torch.tensor([ranks.any(ranks.rank == 1), ranks.any(False)])
    found["plain"] = torch.tensor(ranks.from_first([1, 2, 3] if ranks.first else "something else"))
    given = {"step": torch.tensor(7), "mask": torch.tensor([True, False]), "rough": torch.ones(2, 2).bfloat16()}
    return found | ranks.tensors_from_first(given if ranks.first else {}, CPU)


# ------------------------------------------------------------------------------------------------ items on demand


def on_demand(ranks: Ranks, cache: str, bad: Sequence[int], steps: int = 6) -> dict[str, Tensor]:
    """Batches of 48 images that are decoded on demand: rows by step, what this rank encodes, and what it decoded."""
    os.environ["XDG_CACHE_HOME"] = f"{cache}/{ranks.rank}"
    items = {
        "image": [b"no image %d" % row if row in bad else encoded(photograph(20, 20, row), "PNG") for row in range(48)],
        "text": [f"caption {row}" for row in range(48)],
    }
    pairs = build("made", Rows([str(row) for row in range(48)], items))
    processors = {"image": ImageProcessor(size=16), "text": Tokenizer.train(WORDS)}
    prepared = prepare_on_demand(pairs, processors)
    made = {
        "image": ImageBatcher(prepared.items["image"], prepared.item_of_row["image"], processors["image"], Augment(), 0)
    }
    rows = on_demand_rows(prepared, 0, 1.0, None)
    whole = TrainingBatches(made, pairs.matches, BatchSampler(48, 16, 0), 4, None, rows)
    found: dict[str, Tensor] = {}
    for batch in whole.shared(Share(ranks.rank, ranks.size, 4), ranks).stream(0, steps, 0):
        found[f"rows/{batch.step}"] = torch.from_numpy(batch.row_B)
        for place, inputs in enumerate(batch.parts["image"].inputs):
            if inputs is not None:
                found[f"images/{batch.step}/{place}"] = inputs.images_B3SS
    assert rows is not None
    found["set_aside"] = torch.tensor(sorted(rows.set_aside))
    return found | {"decoded": torch.tensor(len(rows.items["image"].in_memory_now()))}
