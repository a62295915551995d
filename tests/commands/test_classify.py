"""Files without labels: the table, agreement with eval, folders of classes, the contact sheet, the rest."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from conftest import COLOURS, SHAPES, TINY, Cospace, Shell, shape_picture
from cospace.api import Model, load
from cospace.commands.classify import classify
from cospace.data.pairs import built_in, open_pairs
from cospace.evaluation.relevance import expected_calibration_error
from cospace.evaluators.embedded import embed_pairs, prepare_for
from cospace.evaluators.measures import classify as measured_classes
from cospace.runs.held_out import PATH, read_held_out
from cospace.types import UserError

CLASSES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class, with pictures that nobody has trained on."""
    return pictures(tmp_path_factory.mktemp("labelled"), range(500, 512))


@pytest.fixture(scope="module")
def plain(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in one folder, under names that say nothing, and one that cannot be read."""
    out = tmp_path_factory.mktemp("plain")
    for number, path in enumerate(sorted(labelled.rglob("*.png"))):
        shutil.copy(path, out / f"{number:03d}.png")
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A run on folders of classes, with enough held-out pictures to fit probabilities on."""
    from cospace.commands.train import TrainArguments, train

    folder = tmp_path_factory.mktemp("classes")
    train(
        TrainArguments(
            pictures(folder / "train", range(40)),
            folder / "run",
            val=[pictures(folder / "val", range(300, 320))],
            overrides=(*TINY, "training.steps=250", "training.evaluations=1"),
        )
    )
    return load(folder / "run")


def pictures(folder: Path, seeds: range) -> Path:
    for colour in COLOURS:
        for shape in SHAPES:
            (folder / f"{colour}_{shape}").mkdir(parents=True, exist_ok=True)
            for seed in seeds:
                image = shape_picture(colour, shape, seed)  # and no two are the same
                image.putpixel((0, 0), (240 + seed % 8, 240 + seed // 8 % 8, 240 + seed // 64))
                image.save(folder / f"{colour}_{shape}" / f"{seed}.png")
    return folder


def test_the_table_agrees_with_eval_to_the_item(model: Model, labelled: Path, plain: Path) -> None:
    found = model.classify(plain, CLASSES)
    pairs = open_pairs(labelled)
    embedded = embed_pairs(model.space, prepare_for(model.space, pairs))
    (zero_shot,) = measured_classes(model.space, embedded, CLASSES, bare=model.facts["bare_names"])
    nearest = (embedded.vectors["image"] @ zero_shot.class_CE.T).argmax(1)
    by_hash = dict(
        zip(
            [pairs.contents["image"][row] for row in embedded.first_row["image"]],
            [CLASSES[place] for place in nearest.tolist()],
            strict=True,
        )
    )
    assert len(found) == len(list(plain.iterdir())) == 96
    assert {row.item.hash: row.name for row in found} == by_hash
    right = [row.name == CLASSES[zero_shot.labels_N[list(by_hash).index(row.item.hash)]] for row in found]
    assert zero_shot.metrics["zero_shot/top1"] > 0.6, "a model that has learned something"
    assert expected_calibration_error(np.array([row.probability for row in found]), np.array(right), 5) < 0.15
    assert found.basis == ["probabilities are calibrated on 160 held-out pairs of the run"]


def test_every_row_has_its_five_best_and_the_sum_is_shown(
    model: Model, plain: Path, shell: Shell, tmp_path: Path
) -> None:
    (plain / "notes.md").write_text("not a picture")
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    command = ("classify", model.path, plain, "--classes", tmp_path / "names.txt")
    said = shell.text(*command, "--out", tmp_path / "t.csv")
    (plain / "notes.md").unlink()
    assert "97 read = 96 used + 1 left alone" in said
    assert "mean probability of the chosen class" in said
    assert re.search(r"red circle +\d+\n", said)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert list(rows[0])[:4] == ["id", "path", "class", "probability"]
    assert list(rows[0])[-2:] == ["class_5", "probability_5"]
    assert rows[0]["path"] == str(plain / "000.png")
    for row in rows:
        chances = [float(row["probability"]), *(float(row[f"probability_{place}"]) for place in range(2, 6))]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1.00001
    shell.text(*command, "--out", tmp_path / "t.parquet")
    shell.text(*command, "--out", tmp_path / "t.jsonl")
    table = pq.read_table(tmp_path / "t.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["class"] for row in table] == [row["class"] for row in lines] == [row["class"] for row in rows]
    assert len(lines[0]["best"]) == 5
    data = shell.json(*command)
    assert data["results"] == lines
    assert sum(data["classes"].values()) == data["used"] == 96


def test_what_is_in_a_tar_or_a_table_or_alone_is_classified_too(model: Model, plain: Path, tmp_path: Path) -> None:
    import tarfile

    some = sorted(plain.iterdir())[::12]
    expected = {path.name: row for path in some for row in model.classify(path, CLASSES)}
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for path in some:
            tar.add(path, path.name)
    (tmp_path / "some.csv").write_text("image\n" + "".join(f"{path}\n" for path in some))
    for source in (tmp_path / "some.tar", tmp_path / "some.csv"):
        found = model.classify(source, CLASSES)
        assert [row.name for row in found] == [one.name for one in expected.values()]
        np.testing.assert_allclose(
            [row.probability for row in found], [one.probability for one in expected.values()], atol=1e-4
        )


def test_an_unreadable_file_is_set_aside_and_counted(model: Model, plain: Path, tmp_path: Path) -> None:
    for path in plain.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    found = model.classify(tmp_path, CLASSES)
    assert (len(found), found.counts.set_aside) == (96, 1)
    assert found.problems[0].id == "broken.png"
    (tmp_path / "broken2.png").write_bytes(b"\x89PNG\r\n\x1a\n nor here")
    with pytest.raises(UserError, match="2 of 98 rows cannot be used"):
        model.classify(tmp_path, CLASSES)


def test_sorting_links_what_has_a_file_and_overwrites_nothing(
    model: Model, labelled: Path, shell: Shell, cospace: Cospace, tmp_path: Path
) -> None:
    """Every class folder of the source has a 500.png: names collide, and each file is found again."""
    before = {path: path.read_bytes() for path in labelled.rglob("*.png")}
    command = ("classify", model.path, labelled, "--classes", ",".join(CLASSES), "--sort-into", tmp_path / "by")
    first = shell.json(*command)
    assert first["links"] == first["used"] == 96
    links = list((tmp_path / "by").rglob("*.png"))
    assert {Path(os.readlink(path)) for path in links} == {path.resolve() for path in before}
    assert {path.parent.name for path in links} <= set(CLASSES)
    again = shell.json(*command)
    assert (again["links"], again["unchanged"]) == (0, 96)
    links[0].unlink()
    assert shell.json(*command)["links"] == 1, "what is missing is made again"
    assert {path: path.read_bytes() for path in labelled.rglob("*.png")} == before
    other = cospace(*command[:3], "--classes", "red,blue", "--sort-into", tmp_path / "by")
    assert "was sorted by other classes" in other.refusal()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    refused = cospace(*command[:5], "--sort-into", tmp_path / "mine")
    assert "is not empty" in refused.refusal()


def test_copies_are_files_of_their_own(model: Model, labelled: Path, shell: Shell, tmp_path: Path) -> None:
    command = (
        "classify",
        model.path,
        labelled,
        "--classes",
        ",".join(CLASSES),
        "--sort-into",
        tmp_path / "by",
        "--copy",
    )
    assert shell.json(*command)["copies"] == 96
    copied = sorted(path.read_bytes() for path in (tmp_path / "by").rglob("*.png"))
    assert copied == sorted(path.read_bytes() for path in labelled.rglob("*.png"))
    assert not any(path.is_symlink() for path in (tmp_path / "by").rglob("*"))
    assert shell.json(*command)["unchanged"] == 96


def test_class_names_that_are_no_folder_names_have_folders(model: Model, plain: Path, tmp_path: Path) -> None:
    from cospace.commands.sort_into import folder_names

    names = folder_names(["a/b", "a:b", "..", "sorted.json", "CAT", "cat", "x" * 300])
    assert len({name.casefold() for name in names.values()}) == 7
    assert not any("/" in name or name in ("..", ".", "", "sorted.json") or len(name) > 200 for name in names.values())


def test_the_contact_sheet_shows_every_class_without_a_script(
    model: Model, plain: Path, shell: Shell, tmp_path: Path
) -> None:
    page = tmp_path / "sheet.html"
    shell.text("classify", model.path, plain, "--classes", ",".join([*CLASSES, "<b>purple</b> star"]), "--report", page)
    text = page.read_text()
    assert len(text) < 2_000_000
    assert "<script" not in text
    assert "<b>purple</b>" not in text
    assert "&lt;b&gt;purple&lt;/b&gt; star" in text
    assert text.count("<img ") >= 30
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_rest_takes_what_is_of_no_class(model: Model, plain: Path, tmp_path: Path) -> None:
    glyphs = built_in("glyphs")
    odd = [glyphs.items["image"][row] for row in np.linspace(0, len(glyphs) - 1, 60).astype(int)]
    from cospace.data.pairs import build
    from cospace.data.sources import Rows

    strange = build("odd", Rows([str(number) for number in range(60)], {"image": odd}))
    found = classify(model, strange, CLASSES, rest="none of these")
    assert np.mean([row.name == "none of these" for row in found]) >= 0.9
    known = classify(model, plain, CLASSES, rest="none of these")
    assert np.mean([row.name == "none of these" for row in known]) <= 0.2
    assert known.names[-1] == "none of these"
    only = classify(model, plain, ["red circle"], rest="other")
    assert set(only.class_counts()) == {"red circle", "other"}
    with pytest.raises(UserError, match="is the name of a class"):
        classify(model, plain, CLASSES, rest="Red Circle")


def test_a_model_without_held_out_pairs_says_so(
    model: Model, labelled: Path, plain: Path, cospace: Cospace, tmp_path: Path
) -> None:
    """As an imported one is: no held-out vectors, no calibration."""
    assert read_held_out(model.folder).keys() == {"image"}
    bare = load(model.path)
    bare.folder = tmp_path
    assert classify(bare, plain, CLASSES).basis[0].startswith("probabilities rest on the run's calibration of matches")
    bare.space.calibration = None
    assert classify(bare, plain, CLASSES).basis[0].startswith("nothing calibrates these probabilities")
    with pytest.raises(UserError, match="--calibrate PAIRS"):
        classify(bare, plain, CLASSES, rest="other")
    fitted = classify(bare, plain, CLASSES, rest="other", calibrate=labelled)
    assert fitted.basis == ["probabilities are calibrated on 96 held-out pairs of the run"]
    assert (model.folder / PATH).stat().st_size < 200_000


def test_mistakes_are_refused_before_any_work(model: Model, plain: Path, cospace: Cospace, tmp_path: Path) -> None:
    run = ("classify", model.path, plain)
    assert (
        "ends in .csv, .jsonl or .parquet" in cospace(*run, "--classes", "a,b", "--out", tmp_path / "t.xls").refusal()
    )
    assert "at least two" in cospace(*run, "--classes", "cat").refusal()
    assert "there is no class file" in cospace(*run, "--classes", "names.txt").refusal()
    (tmp_path / "texts.txt").write_text("a\nb\n")
    refused = cospace("classify", model.path, tmp_path / "texts.txt", "--classes", "a,b").refusal()
    assert "holds no images" in refused


def test_vectors_of_held_out_items_are_kept_as_they_were(model: Model) -> None:
    kept = read_held_out(model.folder)["image"]
    assert kept.item_NE.shape == (160, model.space.width)
    assert len(kept.text_ME) == 8
    norms = torch.from_numpy(kept.item_NE).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(160), atol=1e-3, rtol=0)
