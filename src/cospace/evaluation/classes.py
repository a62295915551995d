"""Lists of classes as people give them: names, other names of a class, prompts of its own, and taught directions.

A list is ``cat,dog`` typed in the command, a text file with one name to a line, a table (``.csv``, ``.tsv``) whose
first column is the name and whose further columns are synonyms, or JSON: ``{"cat": ["kitten"], "dog": []}``, where an
object in place of the list may hold ``synonyms`` and ``prompts``. A folder or file of classes that were saved beside an
index brings directions in place of words.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..reading import lines, parse_json, read_text, understood
from ..types import UserError
from .taught import SAVED, SavedClass, read_saved
from .vectors import unit
from .zero_shot import ENSEMBLE, check_names, data_name, prompt_name, prompts_of, read_names

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Of tables of classes, by the end of the file's name."""

FORMS = "a text file with one name to a line, a .csv of names and synonyms, or a .json object of them"
"""What a list of classes may be, for messages."""


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """A class: what it is called, what it may be called in prompts, whole prompts of its own, a taught direction.

    ``name`` may be written ``automobile = car``: the data's name, and the one for prompts.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    direction: SavedClass | None = None

    def check(self, fingerprint: str | None, width: int, where: str) -> None:
        """Raise :class:`UserError` for a direction that another model than the one of ``where`` was taught."""
        if self.direction is not None:
            self.direction.check(fingerprint, width, where)

    @property
    def shown(self) -> str:
        """What tables and folders call it."""
        return data_name(self.name)


Classes = str | Path | Sequence[str] | Mapping[str, Any] | Sequence[ClassEntry]
"""What a person may give for a list of classes."""


def read_classes(given: Classes, least: int = 2) -> list[ClassEntry]:
    """The classes of a list, in its order; at least ``least`` of them, no two called alike.

    Raises :class:`UserError` that names the file, and the line where there is one.
    """
    if isinstance(given, Mapping):
        return _checked(_of_mapping(given, "the classes"), "the classes", least)
    if not isinstance(given, str | Path):
        return _checked([_named(one) for one in given], "the classes", least)
    path = Path(given)
    if path.is_dir():
        return _checked(_saved_in(path), str(path), least)
    if not path.is_file():
        return _checked(_typed(str(given)), "--classes", least)
    if path.suffix.lower() in SEPARATORS:
        return _checked(_of_table(path), str(path), least)
    if path.suffix.lower() == ".json":
        return _checked(_of_json(path), str(path), least)
    return _checked([ClassEntry(name) for name in read_names(path, least)], str(path), least)


def vectors_of(
    embed_text: Callable[[list[str]], Tensor], classes: Sequence[ClassEntry], templates: Sequence[str] = ENSEMBLE
) -> Tensor:
    """One unit vector per class, ``(C, E)``: the renormalised mean of its prompts' unit vectors, or what was taught.

    Every name and synonym goes into every template; of a class with a name alone the vector is that of
    :func:`~cospace.evaluation.zero_shot.class_vectors`.
    """
    texts: list[str] = []
    spans = []
    for one in classes:
        own = [] if one.direction else prompts_of([prompt_name(one.name), *one.synonyms], templates)
        own += [] if one.direction else one.prompts
        spans.append((len(texts), len(texts) + len(own)))
        texts += own
    text_TE = unit(embed_text(texts), "class texts") if texts else torch.zeros(0, 0)
    rows = [
        text_TE[first:last].mean(0) if one.direction is None else torch.from_numpy(one.direction.direction_E)
        for one, (first, last) in zip(classes, spans, strict=True)
    ]
    return unit(torch.stack(rows), "class vectors")


def _typed(text: str) -> list[ClassEntry]:
    """``cat,dog``; what is written like a file and is none is a mistake."""
    if "," not in text and ("/" in text or Path(text).suffix):
        raise UserError(f"there is no class file {text}; give {FORMS}, or the names themselves: --classes cat,dog")
    return [ClassEntry(name.strip()) for name in text.split(",") if name.strip()]


def _of_table(path: Path) -> list[ClassEntry]:
    """A class to a row: name, then synonyms; a first row that begins with ``name`` or ``class`` is a heading."""
    with understood(path):
        rows = list(csv.reader(lines(read_text(path)), delimiter=SEPARATORS[path.suffix.lower()]))
    rows = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if rows and rows[0][0].casefold() in ("name", "class", "label"):
        rows = rows[1:]
    return [ClassEntry(row[0], tuple(cell for cell in row[1:] if cell)) for row in rows]


def _of_json(path: Path) -> list[ClassEntry]:
    value = parse_json(read_text(path), path)
    if isinstance(value, Mapping) and SAVED in value:
        return [_of_saved(path)]
    if isinstance(value, Mapping):
        return _of_mapping(value, str(path))
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [_named(name) for name in value]
    raise UserError(f'{path} holds no classes; write {{"cat": ["kitten"], "dog": []}}, or a list of names')


def _of_mapping(value: Mapping[str, Any], where: str) -> list[ClassEntry]:
    """Names to synonyms, or to ``synonyms`` and ``prompts``."""
    found = []
    for name, more in value.items():
        given = more if isinstance(more, Mapping) else {"synonyms": more}
        strange = given.keys() - {"synonyms", "prompts"}
        lists = [_texts(given.get(key)) for key in ("synonyms", "prompts")]
        if strange or None in lists:
            raise UserError(
                f"{where}: {name!r} is {more!r:.80}; write a list of synonyms, or an object of the lists synonyms and "
                "prompts"
            )
        synonyms, prompts = (tuple(texts or ()) for texts in lists)
        found.append(ClassEntry(name, synonyms, prompts))
    return found


def _texts(value: Any) -> list[str] | None:
    """A list of texts; one text stands for itself. None for anything else."""
    listed = [] if value is None else [value] if isinstance(value, str) else value
    fine = isinstance(listed, Sequence) and all(isinstance(text, str) and text.strip() for text in listed)
    return list(listed) if fine else None


def _saved_in(folder: Path) -> list[ClassEntry]:
    found = [_of_saved(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise UserError(f"{folder} holds no saved classes; give {FORMS}")
    return found


def _of_saved(path: Path) -> ClassEntry:
    saved = read_saved(path)
    return ClassEntry(saved.name, direction=saved)


def _named(one: Any) -> ClassEntry:
    if isinstance(one, ClassEntry):
        return one
    if not isinstance(one, str):
        raise UserError(f"a class is named by a text, not by {type(one).__name__}: {one!r:.80}")
    return ClassEntry(one.strip())


def _checked(classes: list[ClassEntry], where: str, least: int) -> list[ClassEntry]:
    check_names([(f"name {place}", one.name) for place, one in enumerate(classes, 1)], where, least)
    return classes
