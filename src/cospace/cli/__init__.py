"""The command line: a thin layer that reads arguments, shows progress on stderr and prints results on stdout.

A file holds the commands of one kind; importing it adds them to the application. Nothing heavy is imported until a
command needs it, so that ``--help`` answers at once. Exit codes: 0 done, 2 the person can fix it (one sentence, no
traceback), 1 our fault, 130 or 143 ended at once by a second Ctrl-C or SIGTERM, 141 nobody reads the rest of the output
(``| head``).
"""

from __future__ import annotations

import errno
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

from cyclopts import CycloptsError

from ..stopping import Stopped, Stopping, goes_on, typed
from ..types import UserError
from . import checking, classification, collection, generation, interop, serving, training
from ._app import app
from ._readers import READER_LEFT, reader_left, say_no_more

__all__ = [
    "app",
    "checking",
    "classification",
    "collection",
    "generation",
    "interop",
    "main",
    "run",
    "serving",
    "training",
]

_ADVICE = {
    errno.ENOSPC: "make room on this disk and give the same command again",
    errno.EDQUOT: "make room in your quota and give the same command again",
    errno.EEXIST: "choose another place",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "a file stands where a folder belongs; choose another place",
}


def main() -> None:
    """The command in this process; the installed one begins in ``__main__``, which hears signals sooner."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        return _run(arguments)
    except (BrokenPipeError, SystemExit) as error:
        if not reader_left(error):
            raise
        say_no_more()
        return READER_LEFT


def _run(arguments: Sequence[str]) -> int:
    stopping = Stopping(typed(arguments))
    try:
        with stopping.listening() if goes_on(arguments) else nullcontext():
            code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        if sys.stdout:
            sys.stdout.flush()
    except Stopped as error:
        return _stopped(error.sentence, "--json" in arguments)
    except (UserError, CycloptsError) as error:
        return _refused(str(error))
    except OSError as error:
        if error.errno is None or reader_left(error):
            raise
        return _refused(_os_sentence(error))
    except KeyboardInterrupt:
        again = "; run the same command again to resume" if goes_on(arguments) else " before it was done"
        sys.stderr.write(f"cospace: stopped{again}\n")
        return 128 + signal.SIGINT
    return code if isinstance(code, int) else 0


def _stopped(sentence: str, as_json: bool) -> int:
    """Say what is done, by the first of several ranks; nothing has failed."""
    from ..runtime import rank
    from ._app import show
    from .terminal import printable

    if not rank():
        sys.stderr.write(f"cospace: {printable(sentence)}\n")
        if as_json:
            show({"stopped": sentence}, "", True)
    return 0


LAST_WORDS = 3.0
"""Seconds that a rank which is not the first waits: where the first refuses too, torchrun ends all others meanwhile."""


def _refused(sentence: str) -> int:
    from ..runtime import rank
    from .terminal import printable

    if rank():
        time.sleep(LAST_WORDS)
    who = f"cospace, rank {rank()}" if rank() else "cospace"
    sys.stderr.write(f"{who}: {printable(' '.join(sentence.split()))}\n")
    return 2


def _os_sentence(error: OSError) -> str:
    """What the operating system refused, where, and what to do about it."""
    path = error.filename2 or error.filename
    where = f"{path}: " if path else ""
    advice = _ADVICE.get(error.errno or 0, "check this path and its permissions")
    return f"{where}{str(error.strerror).lower()}; {advice}"
