"""Captions and answers, through the command line: trained beside a space, alone, refused where there is no decoder."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cospace as library
from conftest import TINY, Cospace, Shell, shape_picture
from cospace import cli
from cospace.data.pairs import open_pairs
from cospace.evaluation.generation import caption_metrics
from cospace.evaluators.embedded import embed_pairs, prepare_for
from cospace.evaluators.generation import GenerationResults, Prediction, complaint, generate_predictions
from cospace.evaluators.reranking import CANDIDATES
from cospace.models.generation.generator import Answer
from cospace.runs.report import generated_examples
from cospace.types import UserError

DECODER = ("decoder.width=32", "decoder.depth=1", "decoder.heads=2")
QUICK = (*TINY, *DECODER, "training.evaluations=1")
LOSSES = ("alignment", "caption", "vqa", "itm")
KINDS = [(colour, shape) for colour in ("red", "green", "blue") for shape in ("circle", "square")]


def asked(colour: str, shape: str) -> Iterator[dict[str, str]]:
    yield {"question": "what colour is it?", "answer": colour, "kind": "colour"}
    yield {"question": "what shape is it?", "answer": shape, "kind": "shape"}
    yield {"question": f"is it a {colour} {shape}?", "answer": "yes", "kind": "check"}


def write(folder: Path, name: str, first: int, copies: int, captions: bool = True) -> Path:
    """A table of questions about coloured shapes, with captions or without."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(first, first + copies):
        for colour, shape in KINDS:
            path = f"images/{colour}-{shape}-{seed}.png"
            shape_picture(colour, shape, seed).save(folder / path)
            text = {"text": f"a {colour} {shape}"} if captions else {}
            rows += [{"image": path, **text, **question} for question in asked(colour, shape)]
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


@pytest.fixture(scope="module")
def generating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that captions and answers, on questions about shapes; beside it, ``val.csv`` and images."""
    folder = tmp_path_factory.mktemp("generating")
    train, val = write(folder, "train.csv", 0, 8), write(folder, "val.csv", 100, 3)
    assert (
        cli.run(
            [
                "train",
                str(train),
                "--val",
                str(val),
                "--out",
                str(folder / "run"),
                *QUICK,
                "training.steps=80",
                "decoder.itm_fraction=0.75",
            ]
        )
        == 0
    )
    return folder / "run"


def test_a_run_on_questions_captions_and_answers(generating: Path, shell: Shell) -> None:
    metrics = shell.json("eval", generating, generating.parent / "val.csv")
    assert metrics["vqa/accuracy"] > 0.75  # two in three are answered without looking, see below
    assert metrics["vqa/accuracy/colour"] > 0.6  # chance is a third
    assert metrics["vqa/accuracy/check"] == 1.0
    assert metrics["vqa/question_only"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert metrics["caption/CIDEr-D"] > 0
    assert {f"caption/BLEU-{order}" for order in (1, 2, 3, 4)} < metrics.keys()
    assert "text_to_image/R@1" in metrics

    rows = [json.loads(line) for line in (generating / "metrics.jsonl").read_text().splitlines()]
    assert all({f"loss/{name}" for name in LOSSES} - row.keys() <= {"loss/itm"} for row in rows)
    assert ["loss/itm" in row for row in rows] == [row["step"] > 20 for row in rows]  # the last 0.75
    assert rows[-1]["loss/vqa"] < 0.5 * rows[0]["loss/vqa"]
    assert rows[-1]["loss"] == pytest.approx(sum(rows[-1][f"loss/{n}"] for n in LOSSES))

    page = (generating / "report.html").read_text(encoding="utf-8")
    assert "Captions and answers" in page
    assert "what colour is it?" in page


def test_caption_and_ask(generating: Path, shell: Shell) -> None:
    images = [generating.parent / "images" / f"{name}-100.png" for name in ("red-circle", "blue-square")]
    made = shell.json("caption", generating, *images)["results"]
    assert [row["id"] for row in made] == [str(path) for path in images]
    assert all(row["caption"].startswith("a ") for row in made)
    drawn = shell.json("caption", generating, images[0], "--temperature", "1.0", "--top-p", "0.9")["results"]
    assert drawn[0]["caption"]

    found = shell.json("ask", generating, images[0], "What colour is it?")
    assert found["answer"] == found["top"][0]["answer"]
    assert 0 < found["confidence"] <= 1
    sure = [answer["confidence"] for answer in found["top"]]
    assert sure == sorted(sure, reverse=True)
    assert sum(sure) <= 1 + 1e-6
    assert "%" in shell.text("ask", generating, images[0], "is it a red circle?")

    model = library.load(generating)
    assert model.caption([str(images[0])]) == [made[0]["caption"]]
    assert model.ask(images[0], "What colour is it?")[0].text == found["answer"]


def ordered(model: Any, chance_N: np.ndarray, results: list[dict[str, Any]]) -> bool:
    """Whether results stand in the order of what the decoder and the calibrated space say together."""
    odds = np.log(chance_N / (1 - chance_N)) + model.space.calibration.log_odds([row["score"] for row in results])
    return bool((np.diff(odds) <= 1e-3).all())  # log-odds of a rounded probability


def test_the_decoder_tells_which_text_describes_an_image(generating: Path, shell: Shell, cospace: Cospace) -> None:
    model = library.load(generating)
    images = [generating.parent / "images" / f"{colour}-{shape}-100.png" for colour, shape in KINDS]
    texts = [f"a {colour} {shape}" for colour, shape in KINDS]
    chance_NM = model.match(images, texts)
    assert chance_NM.shape == (6, 6)
    assert chance_NM.diagonal().mean() > np.delete(chance_NM.ravel(), slice(None, None, 7)).mean() + 0.1
    assert model.match(images[1:2], texts[2:3])[0, 0] == pytest.approx(chance_NM[1, 2], abs=1e-5)

    metrics = model.metrics()
    for way in ("text_to_image", "image_to_text"):
        assert 0 <= metrics[f"rerank/{way}/R@1"] <= 1
        assert metrics[f"rerank/{way}/R@1_before"] == pytest.approx(metrics[f"{way}/R@1"])  # of all queries here

    shell.text("index", generating, generating.parent / "val.csv", "--out", generating.parent / "idx")
    plain = shell.json("search", generating.parent / "idx", texts[0], "-k", 18)["results"]
    again = shell.json("search", generating.parent / "idx", texts[0], "-k", 18, "--rerank")["results"]
    assert {row["id"] for row in plain} == {row["id"] for row in again}
    first = again[:CANDIDATES]
    assert {row["id"] for row in first} == {row["id"] for row in plain[:CANDIDATES]}
    assert again[CANDIDATES:] == plain[CANDIDATES:], "as many are re-ranked whatever is asked for"
    assert ordered(model, model.match([row["path"] for row in first], texts[:1])[:, 0], first)
    for k in (1, 5, 17):
        fewer = shell.json("search", generating.parent / "idx", texts[0], "-k", k, "--rerank")
        assert (fewer["results"], fewer["not_reranked"]) == (again[:k], [])
    by_image = shell.json("search", generating.parent / "idx", "--image", images[0], "--find", "text", "--rerank")[
        "results"
    ]
    assert ordered(model, model.match(images[:1], [row["text"] for row in by_image])[0], by_image)
    refusal = cospace("search", generating.parent / "idx", "--image", images[0], "--rerank").refusal()
    assert "search images by a text" in refusal


def test_a_broken_file_costs_no_other_its_caption_or_answer(
    generating: Path, shell: Shell, cospace: Cospace, tmp_path: Path
) -> None:
    images = generating.parent / "images"
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    good = [images / "red-circle-100.png", images / "blue-square-100.png"]
    given = [good[0], tmp_path / "broken.jpg", tmp_path / "gone.png", good[1], good[0]]
    said = cospace("caption", generating, *given)
    assert said.code == 0
    assert [line.split("  ")[0] for line in said.out.splitlines()] == [*map(str, good), str(good[0])]
    assert f"2 set aside (first: {given[1]}: " in said.err
    made = shell.json("caption", generating, *given)
    assert [row["id"] for row in made["results"]] == [*map(str, good), str(good[0])]
    assert made["results"] == shell.json("caption", generating, *good, good[0])["results"]
    assert [(one["id"], one["kind"]) for one in made["problems"]] == [
        (str(given[1]), "undecodable"),
        (str(given[2]), "missing"),
    ]
    assert (made["items"], made["used"], made["set_aside"]) == (5, 3, 2)
    asked = shell.json("ask", generating, *given, "what colour is it?")
    assert [row["id"] for row in asked["results"]] == [row["id"] for row in made["results"]]
    alone = shell.json("ask", generating, good[1], "what colour is it?")
    assert alone["answer"] == asked["results"][1]["answer"] and alone.keys() == {"answer", "confidence", "top"}
    assert "2 set aside" in cospace("ask", generating, *given, "is it red?").err
    for command in (("caption", generating, *given[1:3]), ("ask", generating, *given[1:3], "x")):
        assert f"there is no image that can be read; the first: {given[1]}: " in cospace(*command).refusal()


def test_captions_and_answers_of_folders_tables_and_tars_read_as_everywhere(
    generating: Path, shell: Shell, cospace: Cospace, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, (colour, shape) in enumerate(KINDS[:4]):
        shape_picture(colour, shape, seed).save(folder / f"{seed}.png")
    shutil.copy(folder / "1.png", folder / "again.png")
    (folder / "3.png").write_bytes(b"broken")
    (folder / "notes.doc").write_text("x")
    (folder / "a.wav").write_bytes(b"RIFF")
    made = shell.json("caption", generating, folder)
    assert [row["id"] for row in made["results"]] == ["0.png", "1.png", "again.png", "2.png"], "as an index calls them"
    once = [row["caption"] for row in made["results"] if row["id"] != "again.png"]
    assert made["items"] == sum(made[name] for name in ("used", "duplicates", "set_aside", "left_alone")) == 7
    assert [made[name] for name in ("used", "duplicates", "set_aside", "left_alone")] == [3, 1, 2, 1]
    assert {one["reason"] for one in made["problems"]} > {"the decoder describes images, not sounds"}
    said = cospace("caption", generating, folder).err
    assert "photos: 1 sound, 5 images" in said
    assert "7 read = 3 used + 1 duplicate + 2 set aside + 1 left alone" in said and "notes.doc" in said

    rows = [f"{seed}.png|x" for seed in range(3)]
    (tmp_path / "t.csv").write_text("\n".join(["foto|ort", *rows]))
    how = ("--columns", "image=foto", "--separator", "pipe", "--images", folder)
    table = shell.json("caption", generating, tmp_path / "t.csv", *how)
    assert [row["caption"] for row in table["results"]] == once
    answers = shell.json("ask", generating, tmp_path / "t.csv", "what shape is it?", *how)["results"]
    assert [row["id"] for row in answers] == [row["id"] for row in table["results"]]

    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        for seed in range(3):
            shard.add(folder / f"{seed}.png", f"{seed}.png")
    packed = shell.json("caption", generating, tmp_path / "s.tar")
    assert [row["caption"] for row in packed["results"]] == once
    both = shell.json("caption", generating, folder, tmp_path / "s.tar", folder / "0.png", "--exclude", "3.png")
    assert len(both["results"]) == len({row["id"] for row in both["results"]}) == 8
    assert (
        "--columns means nothing for"
        in cospace("caption", generating, folder / "0.png", "--columns", "image=x").refusal()
    )
    assert "does not exist" in cospace("caption", generating, tmp_path / "none.csv").refusal()


def test_what_has_no_file_is_reranked_by_its_preview_and_what_has_neither_keeps_its_place(
    generating: Path, shell: Shell, cospace: Cospace, tmp_path: Path
) -> None:
    shell.text("index", generating, "glyphs/digits", "--out", tmp_path / "drawn")  # as the demo's: no files
    found = shell.json("search", tmp_path / "drawn", "a red circle", "--rerank")
    assert len(found["results"]) == 10 and found["not_reranked"] == []
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, (colour, shape) in enumerate(KINDS):
        shape_picture(colour, shape, seed).save(folder / f"{seed}.png")
    index = tmp_path / "idx"
    shell.text("index", generating, folder, "--out", index)
    plain = shell.json("search", index, "a red circle")["results"]
    before = shell.json("search", index, "a red circle", "--rerank")["results"]
    (folder / plain[1]["id"]).write_bytes(b"broken")
    assert shell.json("search", index, "a red circle", "--rerank")["results"] == before, "its preview is kept"
    with closing(sqlite3.connect(index / "thumbnails.sqlite")) as previews, previews:
        previews.execute("DELETE FROM thumbnails")
    found = shell.json("search", index, "a red circle", "--rerank")
    assert found["results"][1]["id"] == plain[1]["id"], "its score alone decides"
    assert [one["id"] for one in found["not_reranked"]] == [plain[1]["id"]]
    assert (
        f"keep their place by score (first: {plain[1]['id']}: undecodable"
        in cospace("search", index, "a red circle", "--rerank").err
    )


def test_a_run_of_captions_says_yes_or_no(tmp_path: Path, shell: Shell, cospace: Cospace) -> None:
    train, val = (write(tmp_path, f"{name}.csv", first, 4) for name, first in (("a", 0), ("b", 50)))
    out = tmp_path / "run"
    shell.json("train", train, "--val", val, "--out", out, *QUICK, "training.steps=4", "tasks=caption")
    picture = tmp_path / "images" / "red-circle-0.png"
    answers = shell.json("ask", out, picture, "a red circle")
    assert {answer["answer"] for answer in answers["top"]} == {"yes", "no"}
    assert sum(answer["confidence"] for answer in answers["top"]) == pytest.approx(1)
    shell.text("index", out, val, "--out", tmp_path / "idx")
    assert shell.json("search", tmp_path / "idx", "a red circle", "--rerank")["results"]

    out = tmp_path / "without"
    shell.json(
        "train",
        train,
        "--val",
        val,
        "--out",
        out,
        *QUICK,
        "training.steps=4",
        "tasks=caption",
        "decoder.itm_fraction=0",
    )
    assert "not trained for image-text matching" in _refusal(library.load(out), picture)
    shell.json("train", train, "--val", val, "--out", tmp_path / "none", *QUICK, "training.steps=4", "tasks=none")
    shell.text("index", tmp_path / "none", val, "--out", tmp_path / "blind")
    assert "no decoder to re-rank with" in cospace("search", tmp_path / "blind", "a red circle", "--rerank").refusal()


def _refusal(model: Any, picture: Path) -> str:
    with pytest.raises(UserError) as caught:
        model.match([picture], ["a red circle"])
    return str(caught.value)


def test_questions_alone_make_a_run_that_answers(tmp_path: Path, shell: Shell, cospace: Cospace) -> None:
    train, val = (write(tmp_path, f"{name}.csv", first, 4, captions=False) for name, first in (("a", 0), ("b", 50)))
    out = tmp_path / "run"
    metrics = shell.json("train", train, "--val", val, "--out", out, *QUICK, "training.steps=20")
    assert metrics["vqa/accuracy"] >= 0
    assert not any("R@1" in name or name.startswith("caption/") for name in metrics)
    assert "Captions and answers" in (out / "report.html").read_text(encoding="utf-8")
    chosen = {name for name in metrics if name.endswith(("/step", "/score", "kept_step"))}
    assert chosen == {"kept_step", "best/step", "best/score", "last/step", "last/score"}
    measured = {name: value for name, value in metrics.items() if name not in chosen}
    assert shell.json("eval", out, val) == pytest.approx(measured, rel=1e-3, abs=1e-3)
    assert shell.json("ask", out, tmp_path / "images" / "red-circle-0.png", "what shape is it?")["answer"]
    refusal = cospace("caption", out, tmp_path / "images" / "red-circle-0.png").refusal()
    assert "not trained for captions" in refusal


def test_captions_and_questions_may_come_from_two_tables(tmp_path: Path, shell: Shell) -> None:
    """Rows of one table have no question, rows of the other no caption; each is measured on what it has."""
    asked = write(tmp_path, "asked.csv", 0, 3, captions=False)
    with (tmp_path / "captioned.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text"])
        writer.writerows([f"images/{c}-{s}-{seed}.png", f"a {c} {s}"] for c, s in KINDS for seed in (1, 2))
    tables = (asked, tmp_path / "captioned.csv")
    out = tmp_path / "run"
    val = ("--val", tables[0], "--val", tables[1])
    metrics = shell.json("train", *tables, *val, "--out", out, *QUICK, "training.steps=6")
    assert metrics["n_images"] == 18
    assert 0 <= metrics["vqa/accuracy"] <= 1
    assert "caption/CIDEr-D" in metrics and "caption/retrieval_baseline/CIDEr-D" in metrics
    assert "Captions and answers" in (out / "report.html").read_text(encoding="utf-8")


def test_a_killed_run_with_a_decoder_goes_on_exactly(tmp_path: Path) -> None:
    from cospace.commands.train import Listener, TrainArguments
    from cospace.commands.train import train as train_run

    train, val = write(tmp_path, "train.csv", 0, 4), write(tmp_path, "val.csv", 100, 2)
    overrides = (*QUICK, "training.steps=12", "training.checkpoint_seconds=0")

    def losses(out: Path, stop: int | None = None) -> list[float]:
        def row(values: dict[str, Any], _: object) -> None:
            if values["step"] == stop:
                raise KeyboardInterrupt

        train_run(TrainArguments(train, out, val=val, overrides=overrides, listener=Listener(row=row)))
        return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]

    whole = losses(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        losses(tmp_path / "killed", stop=7)
    assert losses(tmp_path / "killed") == whole


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("caption", "{run}"), "no file was given"),
        (("caption", "{run}", "nothing.png"), "nothing.png"),
        (("caption", "{trained}", "{picture}"), "no decoder"),
        (("ask", "{trained}", "{picture}", "what?"), "no decoder"),
        (("ask", "{run}", "{picture}", " "), "question is empty"),
        (("ask", "{run}", "nothing.png", "what?"), "nothing.png"),
        (("caption", "{run}", "{picture}", "--beams", "0"), "beams"),
        (("train", "{shapes}", "--out", "{new}", "tasks=vqa"), "questions and answers"),
        (("train", "{shapes}", "--out", "{new}", "tasks=songs"), "there are no tasks 'songs'"),
        (("train", "{table}", "--val", "{shapes}", "--out", "{new}"), "has no"),
    ],
)
def test_wrong_inputs_get_one_sentence(
    generating: Path,
    trained: Path,
    shapes: Path,
    tmp_path: Path,
    cospace: Cospace,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    known = {"run": generating, "trained": trained, "shapes": shapes, "new": tmp_path / "new"}
    known |= {"picture": generating.parent / "images" / "red-circle-100.png", "table": generating.parent / "train.csv"}
    assert words in cospace(*(argument.format(**known) for argument in arguments)).refusal()


def test_a_caption_that_never_changes_is_complained_about() -> None:
    same = {row: Prediction(Answer("a dog", 0.5), "a cat", None) for row in range(40)}
    sentence = complaint(GenerationResults({"caption/distinct": 1 / 40}, same))
    assert sentence is not None
    assert "40 of 40" in sentence and "'a dog'" in sentence
    assert complaint(GenerationResults({"caption/distinct": 0.5}, same)) is None
    assert complaint(GenerationResults()) is None


def test_baselines_take_the_captions_of_training(generating: Path) -> None:
    """The nearest caption of an image, and one caption for all: on these shapes the first is nearly always right."""
    model, pairs = library.load(generating), open_pairs(generating.parent / "val.csv")
    assert model.generator is not None
    assert dict(model.generator.prior.captions) == {f"a {colour} {shape}": 24 for colour, shape in KINDS}
    metrics = model.evaluate(generating.parent / "val.csv")
    nearest, most_frequent = (
        metrics["caption/retrieval_baseline/CIDEr-D"],
        metrics["caption/most_frequent_baseline/CIDEr-D"],
    )
    assert 0 < most_frequent < nearest
    texts = [f"a {colour} {shape}" for colour, shape in KINDS]
    first = np.unique(pairs.keys["image"], return_index=True)[1].tolist()
    images, own = [pairs.items["image"][row] for row in first], [[pairs.items["text"][row]] for row in first]
    found = (model.embed(image=images) @ model.embed(text=texts).T).argmax(1)
    expected = caption_metrics([texts[place] for place in found], own)["CIDEr-D"]
    assert nearest == pytest.approx(expected, abs=1e-6)


def test_predictions_about_some_images_stand_under_these(generating: Path) -> None:
    model, pairs = library.load(generating), open_pairs(generating.parent / "val.csv")
    prepared = prepare_for(model.space, pairs)
    embedded = embed_pairs(model.space, prepared)
    assert model.generator is not None
    some = generate_predictions(model.generator, model.space, prepared, most=2, greedy=True)
    for predictions in (some.captions, some.answers):
        images = [pairs.items["image"][row] for row in predictions]
        assert images == [pairs.items["image"][row] for row in (0, len(pairs) - 1)]
    shown = {generated.item.image for generated in generated_examples(embedded, some, model)}
    assert shown == {"image/0", f"image/{len(embedded.vectors['image']) - 1}"}


# ------------------------------------------------------------------------------------------------ from an earlier run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a decoder; beside it a table of questions without captions, ``asked.csv``."""
    folder = tmp_path_factory.mktemp("plain")
    train, val = write(folder, "train.csv", 0, 6), write(folder, "val.csv", 100, 3)
    write(folder, "asked.csv", 0, 6, captions=False)
    write(folder, "unseen.csv", 100, 3, captions=False)
    command = ["train", str(train), "--val", str(val), "--out", str(folder / "run"), *QUICK, "training.steps=20"]
    assert cli.run([*command, "tasks=none"]) == 0
    return folder / "run"


def vectors(run: Path) -> np.ndarray:
    picture = str(run.parent / "images" / "red-circle-0.png")
    model = library.load(run)
    return np.concatenate([model.embed(image=[picture]), model.embed(text=["a red circle"])])


def test_a_locked_space_learns_to_answer_and_stays_what_it_was(plain: Path, shell: Shell) -> None:
    out = plain.parent / "answers"
    data = (plain.parent / "asked.csv", "--val", plain.parent / "unseen.csv")
    settings = ("locked=all", *DECODER, "training.steps=60", "training.batch_size=18", "training.evaluations=1")
    metrics = shell.json("train", *data, "--out", out, "--from", plain, *settings)
    assert metrics["vqa/accuracy"] > metrics["vqa/question_only"] - 0.05
    assert np.array_equal(vectors(out), vectors(plain))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    facts = json.loads((out / "run.json").read_text())
    assert facts["from"]["fingerprint"] == library.load(plain).space.fingerprint
    assert shell.json("eval", out, plain.parent / "val.csv")["text_to_image/R@1"] > 0  # it still embeds captions

    further = plain.parent / "further"
    shell.json(
        "train", *data, "--out", further, "--from", out, "locked=all", "training.steps=1", "training.batch_size=18"
    )
    rows = [json.loads(line) for line in (further / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] < 1.5 * metrics_of(out)["loss"] + 0.1  # its decoder goes on, too


def metrics_of(run: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return row


def test_one_encoder_can_be_locked(plain: Path, shell: Shell) -> None:
    out, table = plain.parent / "one", plain.parent / "train.csv"
    settings = ("locked=image", "tasks=none", "training.steps=4", "training.batch_size=18")
    shell.json("train", table, "--val", plain.parent / "val.csv", "--out", out, "--from", plain, *settings)
    before, after = vectors(plain), vectors(out)
    assert np.array_equal(before[0], after[0])
    assert not np.allclose(before[1], after[1], atol=1e-4)
    facts = json.loads((out / "config.json").read_text())
    assert facts["encoders"] == json.loads((plain / "config.json").read_text())["encoders"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("encoders.image=vit",), "encoders.image is decided by the model"),
        (("data.image.size=64",), "data.image.size is decided by the model"),
        (("locked=sound",), "there is nothing to lock called 'sound'"),
        (("locked=all", "tasks=none"), "locked=all leaves nothing to learn but a decoder"),
    ],
)
def test_what_an_earlier_run_decides_is_refused(plain: Path, cospace: Cospace, settings: Any, sentence: str) -> None:
    table, out = plain.parent / "train.csv", plain.parent / "refused"
    assert sentence in cospace("train", table, "--out", out, "--from", plain, *settings).refusal()


def test_a_space_is_not_pulled_apart(plain: Path, cospace: Cospace) -> None:
    table, out = plain.parent / "asked.csv", plain.parent / "apart"
    assert "add locked=all" in cospace("train", table, "--out", out, "--from", plain).refusal()
    assert "--from MODEL" in cospace("train", table, "--out", out, "locked=all").refusal()
    missing = cospace("train", table, "--out", out, "--from", plain.parent / "nowhere").refusal()
    assert "nowhere" in missing


def test_the_service_suggests_what_was_taught_and_refuses_the_rest(generating: Path, tmp_path: Path) -> None:
    from asgi_client import AsgiClient

    from cospace.commands.index import build_index
    from cospace.commands.search import SearchableIndex
    from cospace.runs.run import Run
    from cospace.service.app import create_app

    build_index(Run.load(generating), generating.parent / "val.csv", tmp_path / "idx")
    client = AsgiClient(create_app(SearchableIndex.open(tmp_path / "idx")))
    item = {"id": client.post("/api/search", {"parts": [{"text": "red"}], "k": 1}).json()["results"][0]["id"]}
    suggested = client.post("/api/questions", {"item": item}).json()["questions"]
    assert 1 <= len(suggested) <= 6
    for question in suggested:
        assert client.post("/api/ask", {"item": item, "question": question}).json()["top"]
    refused = client.post("/api/ask", {"item": item, "question": "Where was it taken?"})
    assert (refused.status, refused.json()["field"]) == (422, "question")
    assert "was not taught such questions" in refused.json()["detail"]
    written = client.post("/api/caption", {"item": item}).json()
    assert written["caption"]
    assert 0 <= written["itm_score"] <= 1
    client.close()
