"""Processes that are ranks to each other on this machine, over gloo, and do what a test names.

Run as a program it is one of them: it reads a line of JSON for each task and answers with a line.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from safetensors.torch import load_file, save_file
from torch import Tensor


class RankProcesses:
    """``size`` processes, which import everything once and then take any number of tasks of ``rank_tasks.py``."""

    def __init__(self, size: int, folder: Path) -> None:
        self.size, self.folder, self.tasks = size, folder, 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **{name: str(value) for name, value in shared.items()}, "RANK": str(rank)},
            )
            for rank in range(size)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def start(self, task: str, **given: Any) -> None:
        """Let all ranks begin a task."""
        self.tasks += 1
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"task": task, "given": given, "out": str(self._out())}) + "\n")
            process.stdin.flush()

    def answers(self) -> list[str]:
        """What each rank says of the task: nothing where it is done, or the error."""
        found = []
        for process in self.processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            found.append(json.loads(line) if line else "this rank is dead")
        return found

    def __call__(self, task: str, **given: Any) -> list[dict[str, Tensor]]:
        """What a task gives on every rank."""
        self.start(task, **given)
        said = self.answers()
        assert not any(said), "\n".join(said)
        return [load_file(self._out() / f"{rank}.safetensors") for rank in range(self.size)]

    def _out(self) -> Path:
        return self.folder / str(self.tasks)


def main(paths: Sequence[Path]) -> None:
    """One rank: do tasks until the input ends."""
    sys.path[:0] = map(str, paths)
    import rank_tasks
    from cospace.ranks import joined
    from tiny_training import CPU

    ranks = joined(CPU, timeout_seconds=60)
    for line in sys.stdin:
        asked = json.loads(line)
        error = ""
        try:
            found = getattr(rank_tasks, asked["task"])(ranks, **asked["given"])
            out = Path(asked["out"])
            out.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in found.items()}, out / f"{ranks.rank}.safetensors")
        except Exception:  # noqa: BLE001 - the test that asked says what it makes of it
            error = traceback.format_exc()
        sys.stdout.write(json.dumps(error) + "\n")
        sys.stdout.flush()
    ranks.close()


if __name__ == "__main__":
    main([Path(__file__).parent])
