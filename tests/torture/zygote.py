"""A process that has imported cospace and forks a command whenever it is asked: a history of kills costs no imports.

From the fork on a command is what a process of its own is: the same entry point, signals, files, and end of the
interpreter. Nothing was computed before it, so no thread and no lock of a library is lost in the fork.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

IMPORTED = ("cli", "commands.train", "commands.embed", "commands.index", "runs.report", "runs.held_out", "stores.local")
"""What the commands import by and by."""

LONGEST = 2400
"""Seconds for a hundred histories: pytest ends other tests by force after seven minutes."""


class Zygote:
    """Start it once, then :meth:`start` commands; ``patches`` are constants, as ``{"module:Class.NAME": 8}``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        self._answer()

    def start(self, arguments: list[str], patches: Mapping[str, object] | None = None) -> Forked:
        self._count += 1
        said = [str(self._folder / f"{self._count}.{end}") for end in ("out", "err")]
        asked = {"arguments": arguments, "patches": dict(patches or {}), "said": said}
        return Forked(self, int(self.ask(asked)["pid"]), said)

    def ask(self, what: Mapping[str, object]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


class Forked:
    """A command that runs, with what ``subprocess.Popen`` has of it."""

    def __init__(self, zygote: Zygote, pid: int, said: list[str]) -> None:
        self._zygote, self._pid, self._said = zygote, pid, said
        self.watched = os.pidfd_open(pid)
        self.returncode: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self.watched, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote, once it has ended."""
        if self.returncode is None:
            if not select.select([self.watched], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("cospace", timeout or 0.0)
            self.returncode = int(self._zygote.ask({"wait": self._pid})["code"])
            os.close(self.watched)
        out, said = (Path(path).read_text("utf-8", "replace") for path in self._said)
        return out, said


def _request(waiting: bytearray) -> dict[str, Any] | None:
    """The next line, without reading a byte beyond it into a buffer that a fork would have too."""
    while b"\n" not in waiting:
        more = os.read(0, 1 << 16)
        if not more:
            return None
        waiting += more
    line, _, rest = bytes(waiting).partition(b"\n")
    waiting[:] = rest
    found: dict[str, Any] = json.loads(line)
    return found


def _become(asked: Mapping[str, Any]) -> None:
    """The fork: a command, until it exits."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in enumerate([os.devnull, *asked["said"]]):
        descriptor = os.open(path, writing if number else os.O_RDONLY, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for named, value in asked["patches"].items():
        module, _, path = named.partition(":")
        *owners, name = path.split(".")
        setattr(reduce(getattr, owners, importlib.import_module(module)), name, value)
    sys.argv = ["cospace", *asked["arguments"]]
    importlib.import_module("cospace.__main__").main()


def serve() -> None:
    for name in IMPORTED:
        importlib.import_module(f"cospace.{name}")
    waiting = bytearray()
    os.write(1, b"{}\n")
    while (asked := _request(waiting)) is not None:
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if not pid:
                _become(asked)
                return
            answer = {"pid": pid}
        os.write(1, json.dumps(answer).encode() + b"\n")


def timed(zygote: Zygote, arguments: list[str], patches: Mapping[str, object] | None = None) -> float:
    """Seconds that a command takes that is left alone, before its histories, which may take longer than other tests."""
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    began = time.monotonic()
    running = zygote.start(arguments, patches)
    _, said = running.communicate(300)
    assert running.returncode == 0, said
    return time.monotonic() - began


if __name__ == "__main__":
    serve()
