"""The end that somebody asks for: SIGTERM, Ctrl-C (SIGINT), or SIGUSR1, which Slurm sends before a job's time is up.

A command that listens finishes the unit of work at hand (a step, a part, an item), says in one line what is done and
which command goes on, and ends with exit code 0 within :data:`PATIENCE` seconds. A second signal ends it at once with
128 + its number. What is on disk then is what :meth:`Stopping.reached` said last.

Work is of two kinds. What can be done again is cut short by :class:`Stopped`, raised wherever the interpreter is; that
is how a block begins. Within :meth:`Stopping.finishing` a signal only asks, and the work ends after a unit.
Signals belong to a process and arrive in its main thread, so there is one listener, which :func:`current` gives.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
"""What asks for the end."""

PATIENCE = 18.0
"""Seconds that the unit of work at hand may still take; torchrun and Slurm kill after thirty."""

TWICE = 0.1
"""Seconds within which two signals are one: a terminal and a launcher both pass on the same Ctrl-C."""


GOING_ON = ("train", "embed", "index", "check", "demo")
"""Commands that a signal ends with what they have done kept, and that go on from there when they are given again."""


def goes_on(arguments: Sequence[str]) -> bool:
    """Whether what was typed is one of these commands."""
    return bool(arguments) and arguments[0] in GOING_ON


def typed(arguments: Sequence[str]) -> str:
    """What was typed, as a shell reads it."""
    return shlex.join(["cospace", *arguments])


def exit_at_once(code: int) -> None:
    """Let a signal from now on end this process with ``code``: all is done, and only the interpreter has to end."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))


def ignore_signals() -> None:
    """For the very end: Python gives up its handlers before its modules, and a signal would then replace the code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Stopped(SystemExit):
    """Raised where a signal ends the work; no ``Exception``, so that nobody takes it for the fault of an item."""

    def __init__(self, sentence: str) -> None:
        super().__init__(0)
        self.sentence = sentence


class Stopping:
    """Whether the end was asked for, and what is on disk should it come now."""

    def __init__(self, command: str = "") -> None:
        self.state = "before anything was changed, so nothing is lost"
        self._command, self._number = command, 0
        self._finishing = 0

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number != 0

    def reached(self, state: str) -> None:
        """Remember what is done and on disk, in words that go on the sentence ``stopped by SIGTERM ...``."""
        self.state = state

    def check(self) -> None:
        """Raise :class:`Stopped` if the end was asked for."""
        if self.asked:
            self.end()

    def end(self) -> NoReturn:
        """Raise :class:`Stopped`; also where another rank heard the signal."""
        raise Stopped(self.sentence())

    def sentence(self, how: str = "") -> str:
        """The one line: what ended it, what is done, and what goes on."""
        by = signal.Signals(self._number).name if self.asked else "a signal to another rank"
        goes_on = f": {self._command}" if self._command else ""
        return f"stopped {how}by {by} {self.state}; the same command goes on from there{goes_on}"

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """A block in which a signal only asks; whoever is in it calls :meth:`check` between units of work."""
        self._finishing += 1
        try:
            yield
        finally:
            self._finishing -= 1

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block within :meth:`finishing` that a signal cuts short: it may take long, and can be done again."""
        before, self._finishing = self._finishing, 0
        try:
            self.check()
            yield
        finally:
            self._finishing = before

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A block in which the signals do what the module says; outside of the main thread they are as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        token = _current.set(self)
        before = {number: signal.getsignal(number) for number in SIGNALS}
        with _Watch(self):
            try:
                for number in SIGNALS:
                    signal.signal(number, self._hear)
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                _current.reset(token)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            return  # what it asks for is under way; if it comes a second time, the watch ends the process
        self._number = number
        if not self._finishing:
            self.end()


_current: ContextVar[Stopping | None] = ContextVar("stopping", default=None)


def current() -> Stopping:
    """The listener of this command; where none listens, as in somebody's script, one that is never asked."""
    return _current.get() or Stopping()


@contextmanager
def unheard() -> Iterator[None]:
    """A block whose new processes hear none of the signals: whoever started them ends them.

    A process inherits which signals are blocked, from its first instruction on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Let this process, which another has started and will end, pass over the signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class _Watch:
    """A thread that hears signals while the main thread is in code that is not Python's, and ends what takes too long.

    The interpreter writes the number of each signal into a pipe at once; its handlers wait for the main thread.
    """

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)

    def __enter__(self) -> None:
        self._before = signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        os.write(self._writes, b"\0")
        self._thread.join()
        os.close(self._reads)
        os.close(self._writes)

    def _watch(self) -> None:
        first, began = 0, 0.0
        while True:
            left = max(0.0, began + PATIENCE - time.monotonic()) if first else None
            if not select.select([self._reads], [], [], left)[0]:
                self._too_long(first)
                first = 0
                continue
            for number in os.read(self._reads, 512):
                if not number:
                    return
                if number not in SIGNALS:
                    continue
                if not first:
                    first, began = number, time.monotonic()
                elif time.monotonic() - began > TWICE:
                    self._end(number, 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM), "at once ")

    def _too_long(self, number: int) -> None:
        """Where one process works alone; the ranks of several end together, or whoever started them kills them."""
        if os.environ.get("WORLD_SIZE", "1") == "1":
            self._end(number, 0, f"after {PATIENCE:g} s in which the work at hand did not end, ")

    def _end(self, number: int, code: int, how: str) -> None:
        self._stopping._number = number
        cursor = "\x1b[?25h\n" if os.isatty(2) else ""  # which a progress display has hidden
        with suppress(OSError):
            sys.stderr.flush()
            os.write(2, f"{cursor}cospace: {self._stopping.sentence(how)}\n".encode("utf-8", "backslashreplace"))
        os._exit(code)
