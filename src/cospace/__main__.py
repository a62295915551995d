"""``python -m cospace`` is the ``cospace`` command."""

from .cli import main

main()
