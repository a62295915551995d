"""Does the heat map point at the thing that a query names? ``python benchmarks/attribution.py RUN`` on built-in scenes.

The pointing game (Zhang et al. 2018): of every scene of the validation set one thing is named, "a red circle", and the
part that matters most must lie in the cell of the 3 x 3 grid in which that thing is. Chance is one of nine. Beside the
occlusion that the product uses, the gradient of the score at the encoder's tokens is measured in the same way, and both
also for the whole score, without leaving out what all short queries share.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import numpy as np
import torch
from torch.nn.functional import normalize

from cospace.data.pairs import open_pairs
from cospace.data.sources.scenes import SceneImage
from cospace.evaluation.attribution import attribution, own_part, shared_direction
from cospace.models.space import Space
from cospace.runs.run import Run


def cell_of(x: float, y: float) -> int:
    """The cell of the 3 x 3 grid, in reading order."""
    return 3 * min(2, int(3 * y)) + min(2, int(3 * x))


def by_tokens(space: Space, pixels: np.ndarray, towards_E: np.ndarray) -> int:
    """The cell of the token whose features times the score's gradient at them is largest (as in Grad-CAM)."""
    processor = space.processors["image"]
    features = space.features("image", processor.batch([processor.prepare(pixels)]))
    tokens_BTD = features.tokens_BTD
    score = normalize(space.project("image", features), dim=-1)[0] @ torch.from_numpy(towards_E)
    (gradient_BTD,) = torch.autograd.grad(score, tokens_BTD)
    heat_T = (gradient_BTD * tokens_BTD).sum(-1)[0]
    side = round(len(heat_T) ** 0.5)
    row, column = divmod(int(heat_T.argmax()), side)
    return cell_of((column + 0.5) / side, (row + 0.5) / side)


def by_occlusion(space: Space, pixels: np.ndarray, towards_E: np.ndarray) -> int:
    """The cell of the middle of the region without which the score falls most."""
    left, top, right, bottom = attribution(space, "image", pixels, towards_E).most()
    return cell_of((left + right) / 2, (top + bottom) / 2)


def main() -> None:
    """Print the share of scenes in which each way points at the thing named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--scenes", type=int, default=200)
    given = parser.parse_args()
    space = Run.load(given.run).space.eval()
    scenes = [SceneImage(0, "val", index, 64) for index in range(given.scenes)]
    dice = np.random.default_rng(0)
    named = [image.scene().things[dice.integers(len(image.scene().things))] for image in scenes]
    towards_NE = space.embed(text=[f"a {thing.colour} {thing.shape}" for thing in named])
    captions = [text for text in open_pairs("scenes/val").items["text"] if text]
    shared_E = shared_direction(space, captions)
    assert shared_E is not None
    own_NE = np.stack([own_part(towards_E, [shared_E]) for towards_E in towards_NE])
    ways = [("occlusion", by_occlusion), ("gradient at tokens", by_tokens)]
    for (name, way), (of, directions_NE) in product(ways, (("own part", own_NE), ("whole score", towards_NE))):
        began = time.perf_counter()
        hits = [
            way(space, image.load(), towards_E) == thing.cell
            for image, thing, towards_E in zip(scenes, named, directions_NE, strict=True)
        ]
        took = 1000 * (time.perf_counter() - began) / len(scenes)
        print(
            f"{name}, {of}: {100 * np.mean(hits):.1f} % of {len(hits)} things hit (chance 11.1 %), {took:.0f} ms each"
        )


if __name__ == "__main__":
    main()
