"""Readers that leave before everything is written, as ``| head`` does: no fault of anybody, so nothing is said.

Python ignores SIGPIPE, and the whole process must go on doing so: the service and decoding processes write to pipes and
sockets too, whose other ends may go at any time. So what the signal would do is done where a command ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TextIO

READER_LEFT = 128 + signal.SIGPIPE
"""Exit code of a program whose reader left, as shells count it: 141."""


def reader_left(error: BaseException) -> bool:
    """Whether ``error`` means that nobody reads stdout or stderr any more.

    A broken pipe of anything else does not count; rich makes a ``SystemExit`` of one of its own (and stdout then leads
    nowhere already).
    """
    if isinstance(error, SystemExit):
        return isinstance(error.__context__, BrokenPipeError)
    return isinstance(error, BrokenPipeError) and bool(_unread())


def say_no_more() -> None:
    """Lead streams without a reader nowhere: what they still hold is dropped where Python would complain at its end."""
    with open(os.devnull, "wb") as nowhere:
        for stream in _unread():
            os.dup2(nowhere.fileno(), stream.fileno())


def _unread() -> list[TextIO]:
    """Those of stdout and stderr whose pipe or socket has no other end."""
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            poll = select.poll()
            poll.register(stream.fileno(), 0)
        except (AttributeError, OSError, ValueError):  # no stream, or one without a file, as in a test
            continue
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            found.append(stream)
    return found
