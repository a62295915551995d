"""Lists of classes in every form that people have them, and from cosines to probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cospace.evaluation.class_probabilities import contrasted, fit_slope, softmax
from cospace.evaluation.classes import ClassEntry, read_classes, vectors_of
from cospace.evaluation.relevance import expected_calibration_error
from cospace.evaluation.taught import SavedClass, as_file
from cospace.evaluation.zero_shot import ENSEMBLE, class_vectors
from cospace.types import UserError


def embed(texts: list[str]) -> torch.Tensor:
    """Some vector for each text, the same for the same text."""
    return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(sum(t.encode()))) for t in texts])


def test_every_form_of_a_list_gives_the_same_classes(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\n\ndog = hound\n")
    (tmp_path / "names.csv").write_text("name,synonym\ncat,\ndog = hound,\n")
    (tmp_path / "names.json").write_text('{"cat": [], "dog = hound": []}')
    (tmp_path / "list.json").write_text('["cat", "dog = hound"]')
    given = [str(path) for path in sorted(tmp_path.iterdir())]
    for one in (*given, "cat,dog = hound", ["cat", "dog = hound"], {"cat": [], "dog = hound": None}):
        assert [entry.shown for entry in read_classes(one)] == ["cat", "dog"], one
        assert [entry.name for entry in read_classes(one)] == ["cat", "dog = hound"], one


def test_synonyms_and_prompts_have_their_share_of_a_class(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("cat,kitten,puss\ndog\n")
    (tmp_path / "c.json").write_text(
        json.dumps({"cat": {"synonyms": ["kitten", "puss"], "prompts": ["it purrs"]}, "dog": "hound"})
    )
    assert read_classes(tmp_path / "c.csv")[0] == ClassEntry("cat", ("kitten", "puss"))
    cat, dog = read_classes(tmp_path / "c.json")
    assert (cat.prompts, dog.synonyms) == (("it purrs",), ("hound",))
    rows = vectors_of(embed, [cat, dog], ("{}", "a {}"))
    texts = ["cat", "a cat", "kitten", "a kitten", "puss", "a puss", "it purrs"]
    mean = torch.nn.functional.normalize(embed(texts), dim=1).mean(0)
    torch.testing.assert_close(rows[0], mean / mean.norm())


def test_names_alone_have_the_vectors_of_zero_shot() -> None:
    names = ["cat", "fire_truck", "automobile = car"]
    assert torch.equal(
        vectors_of(embed, read_classes(names), ENSEMBLE), class_vectors(lambda texts: embed(texts), names, ENSEMBLE)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cat\n", "holds 1 class names"),
        ("cat\nCat\n", "names 'Cat' more than once (case and _ do not count), on lines 1 and 2"),
        ("cat\n= dog\n", "line 2 of the class file"),
    ],
)
def test_a_bad_list_is_refused_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "names.txt").write_text(content)
    with pytest.raises(UserError) as caught:
        read_classes(tmp_path / "names.txt")
    assert said in str(caught.value)


def test_a_file_that_is_none_is_no_list_of_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no class file nope\.txt"):
        read_classes("nope.txt")
    with pytest.raises(UserError, match="holds no saved classes"):
        read_classes(tmp_path)
    (tmp_path / "c.json").write_text('{"cat": 3, "dog": []}')
    with pytest.raises(UserError, match="'cat' is 3"):
        read_classes(tmp_path / "c.json")
    assert [one.name for one in read_classes("cat", least=1)] == ["cat"], "one will do beside a rest"


def test_saved_classes_bring_directions(tmp_path: Path) -> None:
    direction = np.eye(8, dtype=np.float32)[2]
    (tmp_path / "a.json").write_bytes(as_file(SavedClass("cats", "image", "f1", direction, 0.5)))
    (tmp_path / "b.json").write_bytes(as_file(SavedClass("dogs", "image", "f1", -direction, 0.5)))
    listed = read_classes(tmp_path)
    assert [one.name for one in listed] == ["cats", "dogs"]
    torch.testing.assert_close(vectors_of(embed, listed)[0], torch.from_numpy(direction))
    listed[0].check("f1", 8, "this run")
    with pytest.raises(UserError, match="taught with another model"):
        listed[0].check("f2", 8, "this run")
    with pytest.raises(UserError, match="vectors of 8 numbers, and this run has vectors of 4"):
        listed[0].check("f1", 4, "this run")
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace('"threshold": 0.5', '"threshold": 0.4'))
    with pytest.raises(UserError, match="damaged"):
        read_classes(tmp_path)


def test_the_slope_that_made_the_labels_is_found() -> None:
    dice = np.random.default_rng(0)
    cosine = dice.uniform(-0.3, 0.6, (4000, 7))
    labels = np.array([dice.choice(7, p=row) for row in softmax(9.0 * cosine)])
    slope = fit_slope(cosine, labels)
    assert slope == pytest.approx(9.0, rel=0.1)
    chances = softmax(slope * cosine)
    chosen = chances.argmax(1)
    assert expected_calibration_error(chances.max(1), chosen == labels, 15) < 0.03
    assert expected_calibration_error(softmax(60 * cosine).max(1), chosen == labels, 15) > 0.2, "a wrong one is seen"


def test_labels_that_say_nothing_or_everything_give_a_finite_slope() -> None:
    dice = np.random.default_rng(0)
    cosine = dice.uniform(-1, 1, (500, 4))
    assert fit_slope(cosine, dice.integers(0, 4, 500)) < 0.5
    assert 1 < fit_slope(cosine, cosine.argmax(1)) < 1e4


def test_contrasts_have_the_own_text_first_and_no_text_twice() -> None:
    texts = np.eye(6, dtype=np.float32)
    own = np.array([0, 5, 3, 3])
    items = texts[own] * 0.5 + np.arange(6, dtype=np.float32) * 0.01
    for classes in (2, 4, 6, 50):
        cosine = contrasted(items, texts, own, classes)
        assert cosine.shape == (4, min(classes, 6))
        np.testing.assert_allclose(cosine[:, 0], items[np.arange(4), own], rtol=1e-6)
        assert all(len(np.unique(row)) == len(row) for row in cosine)
