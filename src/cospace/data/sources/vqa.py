"""Questions about images with their answers in json, as easy-VQA and VQA v2 publish them.

easy-VQA (Zhou 2019) is a folder with ``questions.json``, a list of ``[question, answer, image's number]``, and
``images/NUMBER.png``. VQA v2 (Goyal et al. 2017) is a file of questions, one of annotations beside it with ten answers
to each, and a folder of images named like ``COCO_val2014_000000000042.jpg``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ...config import Config as BaseConfig
from ...reading import opened, read_json
from ...types import Problem, UserError
from . import AS_FOUND, ReadOptions, Rows, RowsWriter, modality_of_file

QUESTIONS = "questions.json"
_GLANCE = 1 << 20
"""Bytes of a json file that are read to see whether it holds questions."""


class Config(BaseConfig):
    """A folder with ``questions.json``, or a json file of questions with its annotations beside it."""

    offers: ClassVar[str] = "a folder with questions.json, or a VQA v2 file of questions (.json)"

    path: Path

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """A json file of questions, or a folder with ``questions.json``."""
        path = Path(spec)
        return holds_questions(path) or (path.is_dir() and (path / QUESTIONS).is_file())

    @classmethod
    def from_spec(cls, spec: str, options: ReadOptions = AS_FOUND) -> Config:
        options.only(spec)
        path = Path(spec)
        return cls(path=path / QUESTIONS if path.is_dir() else path)

    def read(self) -> Rows:
        """One row per question. Raises :class:`UserError` where the file is of neither form."""
        data = read_json(self.path)
        if isinstance(data, list):
            return _triples(data, self.path)
        if isinstance(data, dict) and isinstance(data.get("questions"), list):
            return _annotated(data["questions"], self.path)
        raise UserError(
            f"{self.path} holds no questions: it should be a list of [question, answer, image's number], or an "
            "object with a list of 'questions' as VQA v2 has it"
        )


def holds_questions(path: Path) -> bool:
    """Whether a json file begins like a list of lists, or speaks of questions."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with opened(path) as file:
        beginning = file.read(_GLANCE)
    return bool(re.match(rb"\s*\[\s*\[", beginning)) or b'"questions"' in beginning or b'"question_id"' in beginning


class _Reader:
    """Rows of questions as they are found, and what could not be used."""

    def __init__(self, path: Path, images: Mapping[int, Path]) -> None:
        self.path, self.images = path, images
        self._rows = RowsWriter(("image", "question", "answer"), ("answers", "question_type"))
        self._problems: list[Problem] = []

    def add(self, name: str, image: Any, question: Any, answers: list[Any], kind: str = "") -> None:
        """One question; its answer is the most frequent of those given."""
        answer = Counter(answers).most_common(1)[0][0] if answers else None
        file = self.images.get(image) if isinstance(image, int) else None
        self._rows.add(
            f"{self.path.name}:{name}",
            {"image": file, "question": question, "answer": answer},
            {"answers": json.dumps(answers, ensure_ascii=False), "question_type": kind},
        )

    def refuse(self, name: str, reason: str) -> None:
        """An entry of the wrong form."""
        self._problems.append(Problem(f"{self.path.name}:{name}", "malformed question", reason))

    def rows(self) -> Rows:
        """All that was added."""
        return self._rows.finish(self._problems)


def _triples(entries: list[Any], path: Path) -> Rows:
    reader = _Reader(path, _numbered(path.parent.glob("images/*")))
    for number, entry in enumerate(entries):
        if isinstance(entry, list) and len(entry) == 3:
            question, answer, image = entry
            reader.add(str(number), image, question, [] if answer is None else [answer])
        else:
            reader.refuse(str(number), f"entry {number} is not [question, answer, image's number]")
    return reader.rows()


def _annotated(questions: list[Any], path: Path) -> Rows:
    notes = {entry.get("question_id"): entry for entry in _annotations(path)}
    reader = _Reader(path, _numbered(path.parent.rglob("*")))
    for number, entry in enumerate(questions):
        if not isinstance(entry, dict) or "question_id" not in entry:
            reader.refuse(str(number), f"entry {number} has no question_id")
            continue
        note = notes.get(entry["question_id"], {})
        answers = [given["answer"] for given in note.get("answers", []) if isinstance(given.get("answer"), str)]
        kind = str(note.get("answer_type", ""))
        reader.add(str(entry["question_id"]), entry.get("image_id"), entry.get("question"), answers, kind)
    return reader.rows()


def _annotations(path: Path) -> list[dict[str, Any]]:
    """The annotations of the json file beside this one that has them; with several, of that with the likest name."""
    found = {}
    for other in sorted(path.parent.glob("*.json")):
        data = read_json(other) if other != path else None
        if isinstance(data, dict) and isinstance(data.get("annotations"), list):
            found[other] = [entry for entry in data["annotations"] if isinstance(entry, dict)]
    if not found:
        raise UserError(f"{path} has questions, but no json file beside it has their 'annotations'; put it there")
    parts = set(path.stem.split("_"))
    return found[max(found, key=lambda other: len(parts & set(other.stem.split("_"))))]


def _numbered(files: Iterable[Path]) -> dict[int, Path]:
    """Images by the number at the end of their name."""
    numbered = {}
    for file in sorted(files):
        digits = file.stem.rpartition("_")[2]
        if modality_of_file(file) is not None and digits.isascii() and digits.isdigit():
            numbered[int(digits)] = file
    return numbered
