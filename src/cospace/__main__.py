"""The ``cospace`` command, also ``python -m cospace``: it hears signals before it imports what takes a while."""

from __future__ import annotations

import atexit
import json
import sys
from contextlib import nullcontext

from .stopping import Stopped, Stopping, exit_at_once, goes_on, ignore_signals, typed


def main() -> None:
    """Entry point: run what was typed, and exit with its code."""
    arguments = sys.argv[1:]
    if goes_on(arguments):
        atexit.register(ignore_signals)  # what is registered first is called last
    try:
        with Stopping(typed(arguments)).listening() if goes_on(arguments) else nullcontext():
            from .cli import run
    except Stopped as error:
        sys.stderr.write(f"cospace: {error.sentence}\n")
        if "--json" in arguments:
            sys.stdout.write(json.dumps({"stopped": error.sentence}) + "\n")
        sys.exit(0)
    code = run(arguments)
    if goes_on(arguments):
        exit_at_once(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
