"""Questions in json: both published forms, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cospace.data.pairs import open_pairs
from cospace.types import UserError


def picture(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(path)
    return path


def easy(folder: Path, entries: list[Any]) -> Path:
    for number in (0, 7):
        picture(folder / "images" / f"{number}.png", number)
    (folder / "questions.json").write_text(json.dumps(entries))
    return folder


def test_a_folder_of_triples(tmp_path: Path) -> None:
    entries = [["what shape?", "circle", 7], ["is it red?", "no", 0], ["is it blue?", "no", 7]]
    folder = easy(tmp_path, entries)
    for spec in (folder, folder / "questions.json"):
        pairs = open_pairs(spec)
        assert pairs.items["question"] == ["what shape?", "is it red?", "is it blue?"]
        assert pairs.items["answer"] == ["circle", "no", "no"]
        assert pairs.items["image"][0] == folder / "images" / "7.png"
        assert pairs.groups.tolist() == [0, 1, 0]  # by picture: an equal answer joins nothing
        assert not pairs.problems


def test_what_is_wrong_in_triples_is_set_aside(tmp_path: Path) -> None:
    entries = [["fine?", "yes", 0], ["no picture?", "yes", 5], ["", "yes", 0], ["no answer?", None, 0], "text"]
    pairs = open_pairs(easy(tmp_path, entries))
    assert list(pairs.ids) == ["questions.json:0"]
    assert {problem.id.partition(":")[2]: problem.kind for problem in pairs.problems} == {
        "1": "missing",
        "2": "empty question",
        "3": "empty answer",
        "4": "malformed question",
    }


def vqa2(folder: Path) -> Path:
    picture(folder / "val2014" / "COCO_val2014_000000000042.jpg", 3)
    questions = {
        "questions": [
            {"image_id": 42, "question": "What is it?", "question_id": 421},
            {"image_id": 42, "question": "Nobody said?", "question_id": 422},
            {"image_id": 42},
        ]
    }
    answers = ["a dog"] * 6 + ["cat"] * 4
    given = [{"answer": answer, "answer_id": i} for i, answer in enumerate(answers)]
    notes = {"annotations": [{"question_id": 421, "answers": given, "answer_type": "other"}]}
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps(questions))
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps(notes))
    (folder / "v2_mscoco_train2014_annotations.json").write_text(json.dumps({"annotations": []}))
    return folder / "v2_OpenEnded_mscoco_val2014_questions.json"


def test_questions_with_annotations_beside_them(tmp_path: Path) -> None:
    pairs = open_pairs(vqa2(tmp_path))
    assert pairs.items["question"] == ["What is it?"]
    assert pairs.items["answer"] == ["a dog"]
    assert json.loads(pairs.extras["answers"][0]).count("cat") == 4
    assert pairs.extras["question_type"] == ["other"]
    assert sorted(problem.kind for problem in pairs.problems) == ["empty answer", "malformed question"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "holds no rows"),
        ('{"question_id": 1}', "no questions"),
        ("{", "not valid JSON"),
        ('{"questions": []}', "annotations"),
        (None, "does not exist"),
    ],
)
def test_other_files_are_refused_with_a_sentence(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        open_pairs(path)
