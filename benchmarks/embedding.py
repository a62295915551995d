"""Embedding: JPEG files to vectors and captions to vectors, with towers of the same size and random weights.

Ours is Space.embed. The peers are OpenCLIP as its manual uses it (one thread prepares images, float32, every text
padded to 77 tokens), OpenCLIP at its best (a thread a core prepares images, every precision that it has), and
sentence-transformers' encode. Warm-up is left out; reading and decoding files and tokenising are in.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

import frame
from cospace.data.pairs import open_pairs
from cospace.models.space import Space
from cospace.runtime import compute_dtype, cores, device
from image_files import captions_of, write_images
from peers import PRECISIONS, OpenClip, SentenceTransformer, worth_trying
from towers import SIZES, Size, settings, space

BATCH = 64
"""The peers' batch; OpenCLIP's manual leaves it open."""


def main() -> None:
    """Both comparisons, the model's share of the machine's peak, and the cosine to float32."""
    logging.getLogger().setLevel(logging.ERROR)  # OpenCLIP warns that the weights are random
    options = arguments()
    size = SIZES[options.towers]
    pairs = open_pairs(options.pairs)
    captions = captions_of(pairs)
    ours = space(settings(size), captions).eval()
    captions = captions[: options.texts]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write_images(pairs, folder / "images", options.images, (640, 480))
        peers = build_peers(size, folder, options.quick)
        task = frame.Task(f"{len(paths)} JPEGs of 640 x 480 px, {size.name}", len(paths), "images")
        works = image_works(peers, paths)
        results = frame.compare(task, lambda: ours.embed(image=paths), works, frame.rounds(options))
        tokens = np.mean([len(ids) for ids in ours.processors["text"].encode(captions)])  # type: ignore[attr-defined]
        clip_tokens = peers["OpenCLIP fp32"].lengths(captions).float().mean()
        note = f"{len(captions)} captions of {tokens:.1f} tokens (CLIP's: {clip_tokens:.1f}), {size.name}"
        task, works = frame.Task(note, len(captions), "texts"), text_works(peers, captions)
        results += frame.compare(task, lambda: ours.embed(text=captions), works, frame.rounds(options))
        report_model(ours, size, paths, captions, float(tokens))
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--pairs", default="scenes", help="images and captions, e.g. a csv (default: built-in)")
    parser.add_argument("--towers", choices=SIZES, default="b32")
    parser.add_argument("--images", type=int, help="default: 256, or 24 with --quick")
    parser.add_argument("--texts", type=int, help="default: 512, or 64 with --quick")
    options = parser.parse_args()
    options.images = options.images or (24 if options.quick else 256)
    options.texts = options.texts or (64 if options.quick else 512)
    return options


def build_peers(size: Size, folder: Path, quick: bool) -> dict[str, Any]:
    """Every peer by the words that the table uses for it."""
    peers: dict[str, Any] = {
        f"OpenCLIP {name}": OpenClip(size, folder, name) for name in worth_trying(PRECISIONS, quick)
    }
    for name in worth_trying(("fp32", "bf16"), quick):
        peers[f"sentence-transformers {name}"] = SentenceTransformer(size, folder, name)
    return peers


def image_works(peers: dict[str, Any], paths: Sequence[Path]) -> dict[str, Callable[[], object]]:
    """What each peer does with image files."""
    works: dict[str, Callable[[], object]] = {}
    for name, peer in peers.items():
        if isinstance(peer, OpenClip):
            works[f"{name}, {cores()} threads decode"] = partial(peer.images, paths, BATCH, cores())
            if peer.precision == "fp32":
                works[f"{name}, as in its manual"] = partial(peer.images, paths, BATCH)
        else:
            works[f"{name}, encode()"] = partial(peer.images, paths, 32)
    return works


def text_works(peers: dict[str, Any], captions: Sequence[str]) -> dict[str, Callable[[], object]]:
    """What each peer does with captions; 32 is sentence-transformers' own default batch."""
    return {
        f"{name}, batch {batch}": partial(peer.texts, captions, batch)
        for name, peer in peers.items()
        for batch in ((BATCH,) if isinstance(peer, OpenClip) else (32,))
    }


def report_model(ours: Space, size: Size, paths: Sequence[Path], captions: Sequence[str], tokens: float) -> None:
    """How near the towers come to the machine's peak without the input, and how near the vectors are to float32."""
    peak = matmul_peak()
    for modality, raws, flops in (("image", paths, size.image_flops()), ("text", captions, size.text_flops(tokens))):
        processor = ours.processors[modality]
        prepared = [processor.prepare(raw) for raw in raws]
        fast: list[np.ndarray] = []
        seconds = frame.timed(lambda: fast.extend(ours.embed_prepared(modality, iter(prepared))))  # noqa: B023
        reached = flops * len(raws) / seconds
        cosine = lowest_cosine(ours, modality, prepared[:32], np.concatenate(fast))
        print(
            f"{modality} model part: {len(raws) / seconds:.4g}/s, {reached / 1e9:.0f} GFLOP/s, {reached / peak:.0%} of "
            f"the matmul peak ({peak / 1e9:.0f} GFLOP/s); lowest cosine to float32 {cosine:.6f}"
        )


def matmul_peak(side: int = 2048, repeats: int = 3) -> float:
    """Floating-point operations a second of a large product in the format that ours computes in."""
    left = torch.randn(side, side).to(device(), compute_dtype("auto", device()))
    best = min(frame.timed(lambda: left @ left) for _ in range(repeats + 1))
    return 2 * side**3 / best


def lowest_cosine(ours: Space, modality: str, prepared: Sequence[torch.Tensor], fast: np.ndarray) -> float:
    """Of the vectors at hand to those of the same weights in float32."""
    with torch.inference_mode():
        inputs = ours.processors[modality].batch(prepared).to(device())
        exact = normalize(ours.encode(modality, inputs), dim=-1).cpu()
    return float((exact.numpy() * fast[: len(prepared)]).sum(1).min())


if __name__ == "__main__":
    main()
