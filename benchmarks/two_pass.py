"""Batches larger than memory: the peak of one training step, and what encoding twice costs in time.

Memory is the peak resident size of a fresh process that builds a batch of the recipe `small` and makes one whole step
on it: augmentation, towers, objective, optimizer. Time is forward and backward pass of one batch, with nothing, half
and all of it encoded twice, in turns within one process; the optimizer is left out, since it would flatter the ratio.
Images are noise and captions are words drawn at random: neither changes the amount of work.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import frame
from cospace.config import part
from cospace.data.batches import TrainingBatches
from cospace.data.sampler import BatchSampler
from cospace.matches import Matches
from cospace.modalities import Batcher
from cospace.modalities.image.batching import ImageBatcher
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.batching import TextBatcher
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.space import Space
from cospace.runs.datasets import CPU_MICRO_BATCH
from cospace.runs.settings import RunConfig, resolve
from cospace.runtime import device
from cospace.training.checkpoint import CheckpointFolder
from cospace.training.loop import Learner, Observers, Trainer
from cospace.training.step import encode, forward_backward

LETTERS = "aeioubdfgklmnprst"
WORDS, SHORTEST, MAX_LENGTH = 2_000, 5, 15
"""Different words, fewest and most words of a caption; MS-COCO's have ten or eleven."""

KILOBYTE = 1 if sys.platform == "darwin" else 1024
"""Unit of ``ru_maxrss``."""


def main() -> None:
    """A row a batch and one a part that is encoded twice, or with ``--one`` a single step."""
    options = arguments()
    if options.one:
        sys.stdout.write(json.dumps(one_step(options.one, options.memory, options.pixels)) + "\n")
        return
    results = []
    for pairs in options.pairs:
        done = in_fresh_process(pairs, options)
        words = f"peak {done['peak'] / 1e9:.2f} GB, {done['seconds']:.1f} s"
        results.append(frame.alone(f"step of {pairs:,} pairs, {options.memory:g} GB of graphs", words))
    for name, ratios in slower(options).items():
        words = f"{frame.spread(ratios)} the plain step's time"
        results.append(frame.alone(f"step of {options.compare:,} pairs, {name}", words, len(ratios)))
    for result in results:
        print(result.line())
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", help="batches for the peak (default: 256 2048 16384)")
    parser.add_argument(
        "--memory", type=float, default=1.0, help="training.activation_memory_gb of these, in GB (default: 1)"
    )
    parser.add_argument("--compare", type=int, help="batch for the ratio of times (default: 1024)")
    parser.add_argument("--pixels", type=int, default=64, help="side of the images (default: 64)")
    parser.add_argument("--one", type=int, metavar="PAIRS", help="one step here and its peak as JSON, nothing else")
    options = parser.parse_args()
    options.pairs = options.pairs or ([256, 1_024] if options.quick else [256, 2_048, 16_384])
    options.compare = options.compare or (256 if options.quick else 1_024)
    return options


def in_fresh_process(pairs: int, options: argparse.Namespace) -> dict[str, float]:
    """Peak and seconds of one step; a peak belongs to a whole process, so each batch gets its own."""
    command = [sys.executable, __file__, "--one", str(pairs)]
    settings = ["--memory", str(options.memory), "--pixels", str(options.pixels)]
    done = subprocess.run([*command, *settings], check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def one_step(pairs: int, memory: float, pixels: int) -> dict[str, float]:
    """One whole training step: its seconds, and the peak resident size of this process in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, batches = training(pairs, memory, pixels, Path(folder))
        seconds = frame.timed(lambda: trainer.step(batches[0], 100))
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE, "seconds": seconds}


def slower(options: argparse.Namespace) -> dict[str, list[float]]:
    """How many times the plain step's seconds, round by round, when a part of the batch is encoded twice."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, batches = training(options.compare, 1e3, options.pixels, Path(folder))
    batch, where, space = batches[0], device(), trainer.low_precision.space
    graphs = sum(part.size for parts in encode(space, batch, where, trainer.room).values() for part in parts)
    print(f"all graphs of {options.compare:,} pairs together: {graphs / 1e9:.2f} GB")

    def with_room(room: int) -> frame.Work:
        return lambda: forward_backward(space, trainer.objective, batch, where, room)

    rooms = {"half encoded twice": graphs // 2, "all encoded twice": 0}
    plain, others = frame.alternate(
        with_room(graphs), {name: with_room(r) for name, r in rooms.items()}, frame.rounds(options)
    )
    return {name: [s / p for s, p in zip(seconds, plain, strict=True)] for name, seconds in others.items()}


def training(pairs: int, memory: float, pixels: int, folder: Path) -> tuple[Trainer, TrainingBatches]:
    """The recipe `small` on noise."""
    overrides = [f"training.batch_size={pairs}", f"training.activation_memory_gb={memory}", "training.steps=100"]
    settings = resolve("small", [*overrides, "training.optim.warmup_steps=5", f"data.image.size={pixels}"])
    captions = sentences(pairs)
    image, text = ImageProcessor(size=pixels), Tokenizer.train(captions[:WORDS])
    torch.manual_seed(0)
    space = Space.build(settings.encoder_parts(), {"image": image, "text": text}, settings.embed_dim).to(device())
    objective = part("objectives", settings.objective).build().to(device())  # type: ignore[attr-defined]
    trainer = Trainer(
        Learner(space), objective, settings.training, CheckpointFolder(folder / "checkpoints"), Observers()
    )
    return trainer, noise(captions, image, text, settings, np.arange(pairs))


def sentences(count: int) -> list[str]:
    """Captions of made-up words."""
    dice = np.random.default_rng(0)
    words = ["".join(dice.choice(list(LETTERS), 5)) for _ in range(WORDS)]
    return [" ".join(dice.choice(words, dice.integers(SHORTEST, MAX_LENGTH + 1))) for _ in range(count)]


def noise(
    captions: list[str], image: ImageProcessor, text: Tokenizer, settings: RunConfig, item_of_row: np.ndarray
) -> TrainingBatches:
    """Batches of rows that each pair one of these captions with its random image."""
    rows = np.arange(len(item_of_row))
    images = torch.randint(0, 256, (len(captions), 3, image.size, image.size), dtype=torch.uint8)
    batchers: dict[str, Batcher] = {
        "image": ImageBatcher(images, item_of_row, image, settings.data.image.augment, 0),
        "text": TextBatcher(text.encode_all(captions), item_of_row, text, 0.0, 0),
    }
    return TrainingBatches(
        batchers,
        Matches.of({"image": rows, "text": rows}),
        BatchSampler(len(rows), settings.training.batch_size or len(rows), 0),
        CPU_MICRO_BATCH,
    )


if __name__ == "__main__":
    main()
