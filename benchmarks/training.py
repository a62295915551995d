"""Training: samples a second of whole steps (forward, loss, backward, optimizer) at the same towers and batch.

Both sides get the same images at the same size with the same captions. Ours includes everything that its loop does
with a batch: gathering decoded images, augmentation, normalising, padding texts. OpenCLIP runs its own
train_one_epoch on batches that are ready in memory, which spares it its data loader. The embedding tables are equally
large. Every patch is kept. Ours takes its shipped optimizer (Muon, which costs more than the peer's AdamW) unless
--optimizer says otherwise. Warm-up is left out.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import frame
from cospace.config import part
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.prepared import prepare_pairs
from cospace.models.space import Space
from cospace.runs.datasets import training_batches
from cospace.runs.settings import RunConfig
from cospace.runtime import device
from cospace.training.checkpoint import CheckpointFolder
from cospace.training.loop import Learner, Observers, Trainer
from image_files import captions_of, first_rows
from peers import OpenClip, import_peer, worth_trying
from towers import SIZES, Size, settings, space

PRECISIONS = ("fp32", "amp", "amp_bf16")
"""float32, OpenCLIP's default (float16 autocast), and bfloat16 autocast."""

BATCHES = 2
"""Different batches that the steps go through."""

Step = Callable[[], object]


def main() -> None:
    """One comparison a size of towers."""
    options = arguments()
    results = []
    for name in options.towers:
        with tempfile.TemporaryDirectory() as folder:
            results += measure(SIZES[name], options, Path(folder))
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--pairs", default="scenes", help="images and captions, e.g. a csv (default: built-in)")
    parser.add_argument("--towers", choices=SIZES, nargs="+", help="default: small b32, or small with --quick")
    parser.add_argument("--batch", type=int, help="default: 256 for 64 px, 64 for 224 px; 64 with --quick")
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon", help="of ours")
    options = parser.parse_args()
    options.towers = options.towers or (["small"] if options.quick else ["small", "b32"])
    return options


def measure(size: Size, options: argparse.Namespace, folder: Path) -> list[frame.Result]:
    """Ours in turns with OpenCLIP at each of its precisions."""
    batch = options.batch or (64 if options.quick or size.pixels > 64 else 256)
    overrides = [f"training.batch_size={batch}", "training.steps=100000", f"training.optim.name={options.optimizer}"]
    everything = open_pairs(options.pairs)
    pairs = first_rows(everything, BATCHES * batch)
    chosen = settings(size, overrides).fitted(pairs)
    built = space(chosen, captions_of(everything))
    ours, batches = our_step(built, pairs, chosen, folder)
    precisions = worth_trying(PRECISIONS, options.quick)
    peers = {f"OpenCLIP {name}": peer_step(size, name, batches, folder) for name in precisions}
    works = {name: repeated(step, options.steps) for name, step in peers.items()}
    work = f"{size.name}, {size.pixels} px, batch {batch}, {options.optimizer}"
    task = frame.Task(work, batch * options.steps, "samples")
    return frame.compare(task, repeated(ours, options.steps), works, frame.rounds(options))


def repeated(step: Step, times: int) -> frame.Work:
    """A round: so many steps."""

    def work() -> None:
        for _ in range(times):
            step()

    return work


Ready = list[tuple[Tensor, list[str]]]
"""Batches for the peer: normalised images, and captions."""


def our_step(built: Space, pairs: Pairs, chosen: RunConfig, folder: Path) -> tuple[Step, Ready]:
    """A step of ours, and the same rows as batches for a peer."""
    prepared = prepare_pairs(pairs, built.processors)
    batches = training_batches(prepared, built, chosen, built.processors["text"])  # type: ignore[arg-type]
    objective: Any = part("objectives", chosen.objective)
    trainer = Trainer(
        Learner(built),
        objective.build().to(device()),
        chosen.training,
        CheckpointFolder(folder / "checkpoints"),
        Observers(),
    )
    number = iter(range(chosen.training.steps or 0))

    def step() -> None:
        trainer.step(batches[next(number)], chosen.training.steps or 0)

    ready = []
    for place in range(BATCHES):
        rows = batches[place].row_B
        images = prepared.items["image"][torch.from_numpy(prepared.item_of_row["image"][rows])]
        captions = [str(prepared.pairs.items["text"][row]) for row in rows]
        ready.append((built.processors["image"].normalise(images), captions))  # type: ignore[attr-defined]
    return step, ready


class Loader(list[tuple[Tensor, Tensor]]):
    """One batch as OpenCLIP's loop expects a data loader, and the holder of that loader, in one."""

    num_batches = 1

    @property
    def num_samples(self) -> int:
        return sum(len(images) for images, _ in self)

    @property
    def dataloader(self) -> Loader:
        return self

    def set_epoch(self, epoch: int) -> None:
        """Nothing is shuffled here."""


def peer_step(size: Size, precision: str, batches: Sequence[tuple[Tensor, list[str]]], folder: Path) -> Step:
    """A step of OpenCLIP: its model, loss and loop, with the optimizer of its training program."""
    logging.getLogger().setLevel(logging.ERROR)
    params, loop = import_peer("open_clip_train.params"), import_peer("open_clip_train.train")
    peer = OpenClip(size, folder)
    peer.model.output_dict = True
    arguments = ["--model", peer.name, "--device", device().type, "--precision", precision, "--skip-scheduler"]
    options = params.parse_args([*arguments, "--batch-size", str(len(batches[0][0]))])
    vars(options).update(rank=0, world_size=1, distill=False, wandb=False)
    loaders = [Loader([(images, peer.tokenize(captions))]) for images, captions in batches]
    loss = import_peer("open_clip").create_loss(options)
    scaler = torch.amp.GradScaler(device=device().type) if precision == "amp" else None
    optimizer = peer_optimizer(peer.model, options)
    state = {"number": 0}

    def step() -> None:
        data = {"train": loaders[state["number"] % len(loaders)]}
        loop.train_one_epoch(peer.model, data, loss, state["number"], optimizer, scaler, None, None, options)
        state["number"] += 1

    return step


def peer_optimizer(model: torch.nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """AdamW as OpenCLIP's training program makes it: no decay for vectors."""
    vectors = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": vectors, "weight_decay": 0.0}, {"params": matrices, "weight_decay": options.wd}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(options.beta1, options.beta2), eps=options.eps)


if __name__ == "__main__":
    main()
