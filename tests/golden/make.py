"""Makes the golden folders of this release, which later versions have to open: ``python tests/golden/make.py FOLDER``.

A run, an index and what embed writes, each as small as it gets. What a release has written is never made again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / below) for below in ("", "interop", "../benchmarks")]

from conftest import write_shapes  # noqa: E402
from cospace.commands import train as training  # noqa: E402
from cospace.commands.embed import embed_to_file  # noqa: E402
from cospace.commands.index import build_index  # noqa: E402
from cospace.data.pairs import open_pairs  # noqa: E402

SETTINGS = (
    "encoders.image=linear", "encoders.image.width=8", "encoders.text=bag", "encoders.text.width=8", "embed_dim=8",
    "data.image.size=8", "data.text.vocab_size=300", "training.batch_size=4", "training.steps=4",
    "training.evaluations=0",
)  # fmt: skip


def main(folder: Path) -> None:
    """Everything, into a folder that is not there yet."""
    folder = folder.absolute()
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        training.describe = lambda where: "a machine"  # type: ignore[assignment]
        pairs = open_pairs(write_shapes(Path("in"), 1))
        run = training.train(
            training.TrainArguments(pairs, Path("run"), overrides=SETTINGS, command="cospace train")
        ).run
        build_index(run, pairs, Path("index")).index.thumbnails.close()  # type: ignore[attr-defined]
        for suffix in ("npz", "parquet"):
            embed_to_file(run, pairs, folder / f"vectors.{suffix}")
        for name in ("run", "index"):
            shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("LOCK", "*-shm", "*-wal"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
