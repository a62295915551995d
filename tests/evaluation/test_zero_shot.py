"""Zero-shot classification: known answers, who has a class, and the class file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cospace.evaluation.zero_shot import (
    BARE,
    ENSEMBLE,
    NO_CLASS,
    class_vectors,
    confused,
    confusion,
    metric_intervals,
    read_names,
    templates_for,
    true_classes,
    without_class,
    zero_shot,
)
from cospace.types import UserError


def test_class_vectors_are_means_of_unit_vectors() -> None:
    table = {"cat": [3.0, 0.0], "a cat": [0.0, 5.0], "fire truck": [2.0, 0.0], "a fire truck": [1.0, 0.0]}
    asked: list[str] = []

    def embed(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([table[text] for text in texts])

    vectors = class_vectors(embed, ["cat", "fire_truck"], ("{}", "a {}"))
    assert asked == ["cat", "a cat", "fire truck", "a fire truck"]
    assert torch.allclose(vectors, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0]]))


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(UserError, match="no place"):
        class_vectors(lambda texts: torch.ones(len(texts), 2), ["a", "b"], ("a photo",))


def test_metrics_and_confusion_on_known_answers() -> None:
    classes = torch.eye(6)
    image = classes[[0, 0, 1, 2, 3, 4]].clone()
    labels = np.array([0, 1, 1, 2, NO_CLASS, 4])
    metrics = zero_shot(image, classes, labels)
    assert metrics["zero_shot/top1"] == pytest.approx(4 / 5)
    assert metrics["zero_shot/mean_per_class_recall"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert metrics["zero_shot/n"] == 5
    assert metrics["zero_shot/n_without_class"] == 1
    assert metrics["n_classes"] == 6
    assert metrics["chance/zero_shot/top1"] == pytest.approx(1 / 6)
    assert metrics["zero_shot/top5"] == pytest.approx(4 / 5)  # the wrong one ties with all others and stands last
    matrix = confusion(image, classes, labels)
    assert matrix.sum() == 5
    assert matrix[1].tolist() == [1, 1, 0, 0, 0, 0]
    low, high = metric_intervals(metrics)["zero_shot/top1"]
    assert low < 4 / 5 < high


def test_top5_needs_more_than_five_classes() -> None:
    assert "zero_shot/top5" not in zero_shot(torch.eye(5), torch.eye(5), np.arange(5))


def test_equal_class_vectors_earn_nothing() -> None:
    assert zero_shot(torch.randn(20, 4), torch.ones(3, 4), np.zeros(20, int))["zero_shot/top1"] == 0


def test_no_labelled_row_is_an_error() -> None:
    with pytest.raises(UserError, match="none of the 3 rows"):
        zero_shot(torch.eye(3), torch.eye(3), np.full(3, NO_CLASS))


def test_true_classes_by_label_folder_and_caption() -> None:
    names = ["Cat", "fire truck"]
    assert true_classes(names, labels=["cat", "FIRE_TRUCK", "dog"]).tolist() == [0, 1, NO_CLASS]
    assert true_classes(names, paths=["x/cat/1.png", Path("x/fire_truck/2.png"), "cat.png"]).tolist() == [0, 1, -1]
    assert true_classes(names, captions=["fire  truck", "a cat", "CAT"]).tolist() == [1, NO_CLASS, 0]
    assert true_classes(names, labels=["", "cat"], captions=["cat", "fire truck"]).tolist() == [0, 0]


def test_a_class_may_have_another_name_in_the_data() -> None:
    names = ["automobile = car", "cat"]
    labels = ["automobile", "car", "Cat", "lorry", "catt", ""]
    paths = ["x/1.png"] * 5 + ["dog/1.png"]
    found = true_classes(names, labels)
    assert found.tolist() == [0, 0, 1, NO_CLASS, NO_CLASS, NO_CLASS]
    seen: list[str] = []
    class_vectors(lambda texts: seen.extend(texts) or torch.eye(2), names, ("a {}",))
    assert seen == ["a car", "a cat"]
    said = without_class(names, found, labels, paths)
    assert "3 of 6 have a name that is no class: 'lorry' (1), 'catt' (1; nearest: cat), 'dog' (1)" in said
    assert said.endswith("lorry = CLASS")
    assert without_class(names, np.array([0, 1]), ["car", "cat"], ["", ""]) == ""
    assert without_class(names, np.array([NO_CLASS, 1]), None, ["", ""]) == ""
    assert without_class(names, np.array([NO_CLASS, 1]), None, ["images/1.png", "images/2.png"]) == ""
    said = without_class(names, np.array([NO_CLASS, 1]), None, ["caar/1.png", "cat/2.png"])
    assert "'caar' (1; nearest: car)" in said and said.endswith("caar = car")


def test_templates_follow_the_captions_seen_in_training() -> None:
    assert templates_for(["cat", "dog", "polar bear"]) == BARE
    assert templates_for(["a man rides a brown horse", "two dogs on the grass"]) == ENSEMBLE
    assert templates_for([]) == ENSEMBLE


def test_class_file(tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes(b"\xef\xbb\xbfcat\r\n\r\n polar bear \n")
    assert read_names(file) == ["cat", "polar bear"]
    for content, words in (
        (b"", "holds 0"),
        (b"cat\n", "holds 1"),
        (b"cat\n\ndog\nCAT\n", "'CAT' more than once .* on lines 1 and 4"),
        (b"a = car\nb = Car\n", "'Car' more than once .* on lines 1 and 2"),
        (b"a = car\na\n", "'a' more than once .* on lines 1 and 2"),
        (b"cat\n= dog\n", "line 2 .* is '= dog'; write NAME, or FOLDER = NAME"),
        (b"\xff\n", "UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(UserError, match=words):
            read_names(file)
    with pytest.raises(UserError, match="no class file"):
        read_names(tmp_path / "none.txt")


def test_confused_rows_by_cell() -> None:
    image = torch.eye(3)[[0, 1, 1, 1, 2, 0]]
    labels = np.array([0, 0, 0, 0, 2, NO_CLASS])
    assert confused(image, torch.eye(3), labels) == {(0, 1): [1, 2]}
