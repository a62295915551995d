"""Input: an image file to what a model reads, by one thread, against Pillow with torchvision's transforms.

The peer is OpenCLIP's own evaluation transform (open, resize the shorter side by bicubic, crop, to float, normalise).
Ours is ImageProcessor with the same fit: once as a model of our own has it, and once following torchvision to the last
bit, as a published model has it. Files are in the page cache for all, since all read them once untimed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

import frame
from cospace.data.pairs import open_pairs
from cospace.modalities.image.processing import ImageProcessor
from image_files import first_rows, write_images
from peers import import_peer

FILES = {
    "JPEG of 640 x 480 px": ((640, 480), ".jpg"),
    "PNG of 640 x 480 px": ((640, 480), ".png"),
    "JPEG of 200 x 200 px": ((200, 200), ".jpg"),
    "PNG of 200 x 200 px": ((200, 200), ".png"),
}


def main() -> None:
    """One comparison a kind of file."""
    options = arguments()
    torch.set_num_threads(1)
    count = options.files or (24 if options.quick else 200)
    pairs = first_rows(open_pairs(options.pairs), count)
    library = import_peer("open_clip")
    mean, std = library.OPENAI_DATASET_MEAN, library.OPENAI_DATASET_STD
    ours = ImageProcessor(size=options.pixels, fit="crop", mean=mean, std=std)
    followed = ours.model_copy(update={"to_rgb": "resize_convert", "follows": "torchvision"})
    transform = library.image_transform(options.pixels, is_train=False)
    results = []
    for kind, (sides, suffix) in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = write_images(pairs, Path(folder), count, sides, suffix)

            def peer(paths: Sequence[Path] = paths) -> torch.Tensor:
                return torch.stack([transform(Image.open(path)) for path in paths])

            for way, processor in {"": ours, ", to the peer's last bit": followed}.items():

                def prepare(paths: Sequence[Path] = paths, by: ImageProcessor = processor) -> torch.Tensor:
                    return by.batch([by.prepare(path) for path in paths])

                apart = (prepare() - peer()).abs().mean() * torch.tensor(std).mean() * 255
                print(f"{kind}{way}: mean difference of the prepared images {apart:.2f} of 255 levels")
                task = frame.Task(f"{count} files, {kind} to {options.pixels} px{way}, one thread", count, "images")
                results += frame.compare(task, prepare, {"Pillow + torchvision": peer}, frame.rounds(options))
    frame.record(results, options.table)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = frame.parser(__doc__)
    parser.add_argument("--pairs", default="scenes", help="where images come from, e.g. a csv (default: built-in)")
    parser.add_argument("--files", type=int, help="of each kind (default: 200, or 24 with --quick)")
    parser.add_argument("--pixels", type=int, default=224, help="side of the prepared image")
    return parser.parse_args()


if __name__ == "__main__":
    main()
