"""A real process, a seeded moment, a signal; and the same command again. What a seed did, it does again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torture.zygote import Forked, Zygote

PATIENCE = 180.0
"""Seconds after which a process hangs."""

GRACE = 20.0
"""Seconds in which a process that was asked to end has to."""

ATTEMPTS = 20
"""Times that a history is drawn until there is a signal in it."""

FINISHED = "already holds a finished run"
"""What a training says that is given again where the one before was killed between its last word and its end."""


@dataclass
class Killer:
    """Runs ``cospace`` and signals it after a random time; ``history`` is what was done, for reading a failure.

    Processes are new interpreters, or forks of a ``zygote``, which begin ``soonest`` seconds after they are asked for.
    """

    seed: int
    signals: Sequence[signal.Signals] = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    longest: float = 6.0
    soonest: float = 0.5
    zygote: Zygote | None = None
    patches: dict[str, object] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    hung: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def start(self, *arguments: object) -> subprocess.Popen[str] | Forked:
        if self.zygote is not None:
            return self.zygote.start([*map(str, arguments)], self.patches)
        command = [sys.executable, "-m", "cospace", *map(str, arguments)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def strike(self, *arguments: object) -> bool:
        """Start the command and signal it at some moment; whether it was done before."""
        process = self.start(*arguments)
        pause, number = self.dice.uniform(self.soonest, self.longest), self.dice.choice(self.signals)
        try:
            out, said = process.communicate(timeout=pause)
        except subprocess.TimeoutExpired:
            began = time.monotonic()
            process.send_signal(number)
            out, said = self._end(process)
            took = time.monotonic() - began
            self.history.append(f"{number.name} after {pause:.2f} s: exit code {process.returncode} in {took:.1f} s")
            if number == signal.SIGKILL:
                return False
            assert took < GRACE, self.history
            if FINISHED in said:  # and then signalled, perhaps, while the interpreter ends
                return True
            early = process.returncode in (-number, 128 + number) and not said  # before Python has begun
            assert process.returncode == 0 or early, (self.history, said)
            stopped = f"stopped by {number.name}" in said
            assert stopped or early or out, (self.history, said)
            return not stopped and not early
        assert process.returncode == 0 or FINISHED in said, (self.history, said)
        return True

    def finish(self, *arguments: object) -> str:
        """The command, left alone; what it said."""
        process = self.start(*arguments)
        _, said = self._end(process)
        assert process.returncode == 0 or FINISHED in said, (self.seed, self.history, said)
        return said

    def until_done(self, strikes: int, *arguments: object, between: Callable[[], None] = lambda: None) -> int:
        """So many strikes, or fewer where it is done; then it is left alone. How many there were."""
        for number in range(strikes):
            if self.strike(*arguments):
                return number
            between()
        self.finish(*arguments)
        return strikes

    def until_struck(
        self, strikes: int, *arguments: object, again: Callable[[], None], between: Callable[[], None] = lambda: None
    ) -> int:
        """The same from the beginning (``again``) until there was at least one strike."""
        for _ in range(ATTEMPTS):
            again()
            struck = self.until_done(strikes, *arguments, between=between)
            if struck:
                return struck
        raise AssertionError(f"seed {self.seed}: done {ATTEMPTS} times before it was signalled")

    def _end(self, process: subprocess.Popen[str] | Forked) -> tuple[str, str]:
        try:
            return process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.hung += 1
            process.kill()
            process.communicate()
            raise
