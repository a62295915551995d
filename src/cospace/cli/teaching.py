"""What ``search`` finds where results were marked, or a saved class is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..types import UserError

if TYPE_CHECKING:
    from ..commands.collection import Collection
    from ..commands.search import Answer
    from .collection import SearchOptions


def search_or_teach(opened: Collection, options: SearchOptions, query: Mapping[str, Any]) -> Answer:
    """A search as its options say; marks, a class or a name to save under lead through :meth:`Collection.taught`."""
    from ..commands.collection import Marks
    from ..commands.search import How

    given = {name: raw for name, raw in query.items() if raw is not None}
    marks = Marks(tuple(listed(options.right)), tuple(listed(options.wrong)), options.save_class)
    how = How(
        options.k, options.find, options.rerank, tuple(options.where or ()), options.at_least, options.hybrid
    )  # fmt: skip
    if marks == Marks() and options.in_class and not given:
        return opened.class_answer(options.in_class, how)
    among = (*how.where, *([f"class:{options.in_class}"] if options.in_class else []))
    how = replace(how, where=among)
    if marks == Marks():
        return opened.find(how, **query)
    if options.rerank or options.hybrid or len(given) > 1:
        raise UserError("marks go with one text or one file, and without --rerank or --hybrid; leave the others out")
    return opened.taught(_asked(given), marks, how)


def listed(given: Sequence[str] | None) -> list[str]:
    """Ids that were given with commas between them, or one by one."""
    return [name for text in given or () for name in text.split(",") if name.strip()]


def _asked(given: Mapping[str, Any]) -> Any:
    """The query as :meth:`Collection.teach` takes it: a text as itself, a file by its modality."""
    from ..modalities import text_modality

    text = given.get(text_modality())
    return text if text is not None else (dict(given) or None)
