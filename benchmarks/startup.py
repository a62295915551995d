"""Start-up: seconds until the package is imported, a command has answered, a first search has its hits.

Every round is a fresh process, timed from outside; files are in the page cache for both, since both ran once untimed.
The peers are imported as their manuals do it; what they need beyond that before they could search is not counted.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cospace
import frame

PROLOGUE = "import sys; sys.path.insert(0, {here!r}); from peers import import_peer; import_peer({name!r})"
"""The peers' import, with the two operators declared that a torchvision built for another torch needs."""

PEERS = {"OpenCLIP": "open_clip", "sentence-transformers": "sentence_transformers", "transformers": "transformers"}


def main() -> None:
    """Three comparisons: the import, the help, the first search."""
    options = frame.parser(__doc__).parse_args()
    rounds = frame.rounds(options)
    imports = {f"import of {name}": fresh(python(module)) for name, module in PEERS.items()}
    with tempfile.TemporaryDirectory() as folder:
        index = small_index(Path(folder))
        search = ["search", str(index), "a large red circle", "--json"]
        tasks = {
            "import cospace": [sys.executable, "-c", "import cospace"],
            "cospace --help": [sys.executable, "-m", "cospace", "--help"],
            "first search among 500 images": [sys.executable, "-m", "cospace", *search],
        }
        results = []
        for work, command in tasks.items():
            results += frame.compare(frame.Task(work), fresh(command), imports, rounds)
    frame.record(results, options.table)


def python(module: str) -> list[str]:
    """A process that imports a peer and ends."""
    return [sys.executable, "-c", PROLOGUE.format(here=str(Path(__file__).parent), name=module)]


def fresh(command: Sequence[str]) -> frame.Work:
    """One process from start to end."""
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def small_index(folder: Path) -> Path:
    """An index over built-in images, by towers of the default recipe after two steps."""
    overrides = ["training.steps=2", "training.batch_size=32"]
    model = cospace.train("scenes/heldout", out=folder / "run", overrides=overrides)
    cospace.index(model, "scenes/heldout", out=folder / "index")
    return folder / "index"


if __name__ == "__main__":
    main()
