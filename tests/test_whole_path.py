"""From a person's pairs to answers, through the command line: every kind of pairs, every command, small."""

from __future__ import annotations

import csv
import io
import json
import sys
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import cospace as library
from conftest import TINY, Shell, shape_picture, write_shapes
from cospace import cli
from cospace.cli import training
from cospace.config import lookup
from cospace.data.sources import Rows

QUICK = (*TINY, "training.steps=20", "training.evaluations=1")
BOTH = ("text_to_image", "image_to_text")


def is_flat_and_finite(metrics: dict[str, Any]) -> bool:
    return all(isinstance(value, int | float) and np.isfinite(value) for value in metrics.values())


# ------------------------------------------------------------------------------------------------ every command in turn


def test_check_train_eval_embed_index_search(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = write_shapes(tmp_path, 8)
    val = write_shapes(tmp_path, 2, "val.csv", first=100)
    monkeypatch.chdir(tmp_path)

    checked = shell.json("check", pairs.name)
    assert (checked["rows"], checked["set_aside"], checked["unique_texts"]) == (64, 0, 64)

    trained = shell.json("train", pairs.name, "--val", val.name, "--out", "run", *QUICK)
    assert is_flat_and_finite(trained)
    assert trained["n_texts"] == 16
    assert (tmp_path / "run" / "report.html").stat().st_size > 5_000
    assert not (tmp_path / "run" / "checkpoints").exists(), "a finished run keeps its model, not its checkpoints"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert all("loss" in row for row in rows)

    evaluated = shell.json("eval", "run", val.name, "--report", "pages/report.html")
    for counted in (trained, evaluated):
        assert counted.pop("items") == sum(counted.pop(p) for p in ("used", "duplicates", "set_aside", "left_alone"))
        assert counted.pop("rows") in (16, 64)
    for name in ("kept_step", "best/step", "best/score", "last/step", "last/score"):
        assert trained.pop(name) >= 0
    assert evaluated == pytest.approx(trained, rel=1e-3, abs=1e-3), "eval measures what the end of training measured"
    for direction in BOTH:
        recalls = [evaluated[f"{direction}/R@{k}"] for k in (1, 5, 10)]
        assert recalls == sorted(recalls)
        assert 0 <= recalls[0] <= recalls[2] <= 1
        assert evaluated[f"chance/{direction}/R@1"] < 0.2
    assert "<html" in (tmp_path / "pages" / "report.html").read_text().lower()

    names = sorted({row["text"] for row in csv.DictReader(val.open())})
    (tmp_path / "names.txt").write_text("\n".join(names))
    zero_shot = shell.json("eval", "run", val.name, "--classes", "names.txt", "--report", "classes.html")
    assert zero_shot["n_classes"] == 16
    assert zero_shot["zero_shot/n"] == 16 - (16 - evaluated["n_images"])
    assert 0 <= zero_shot["zero_shot/top1"] <= 1

    for _ in range(2):
        indexed = shell.json("index", "run", pairs.name, "--out", "idx")
        assert (indexed["used"], indexed["in_index"]) == (checked["unique_images"] + 64, 128), "copies are items"
    assert shell.json("index", "run", val.name, "--out", "idx")["in_index"] > 128

    found = shell.json("search", "idx", "a red circle", "-k", "3")["results"]
    assert len(found) == 3
    assert all({"id", "score", "probability", "match", "path", "text"} <= hit.keys() for hit in found)
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    assert all(Path(hit["path"]).is_file() for hit in found)

    itself = shell.json("search", "idx", "--image", "images/blue-square-3.png", "-k", "1")["results"][0]
    assert Path(itself["path"]).read_bytes() == (tmp_path / "images" / "blue-square-3.png").read_bytes()
    assert itself["score"] > 0.99
    texts = shell.json("search", "idx", "--image", "images/blue-square-3.png", "--find", "text")["results"]
    assert {hit["path"] for hit in texts} == {""}


def test_results_are_readable_without_json(shell: Shell, trained: Path, shapes: Path, tmp_path: Path) -> None:
    looked = shell.text("check", shapes)
    assert "Ready to train on." in looked
    assert "{" not in looked
    assert "R@1" in shell.text("eval", trained, shapes)
    assert "% " in shell.text("eval", trained, shapes)
    assert "items embedded into" in shell.text("embed", trained, shapes, "--out", tmp_path / "v.npz")
    assert "cospace search" in shell.text("index", trained, shapes, "--out", tmp_path / "idx")
    assert ".png" in shell.text("search", tmp_path / "idx", "a red circle", "-k", "2")


def test_the_index_needs_the_run_no_more(shell: Shell, tmp_path: Path) -> None:
    pairs = write_shapes(tmp_path, 3)
    shell.text("train", pairs, "--out", tmp_path / "run", *QUICK, "training.steps=2")
    shell.text("index", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "idx")
    before = shell.json("search", tmp_path / "idx", "a red circle")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    (tmp_path / "idx").rename(tmp_path / "moved")
    assert shell.json("search", tmp_path / "moved", "a red circle") == before


# ------------------------------------------------------------------------------------------------ embed


def test_vectors_in_both_formats_are_the_same(shell: Shell, trained: Path, shapes: Path, tmp_path: Path) -> None:
    npz, parquet = tmp_path / "v.npz", tmp_path / "new" / "v.parquet"
    count = shell.json("embed", trained, shapes, "--out", npz)["embedded"]
    assert shell.json("embed", trained, shapes, "--out", parquet)["embedded"] == count
    with np.load(npz, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    table = pq.read_table(parquet)
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, arrays["embedding"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for name in ("id", "modality", "path", "text"):
        assert table[name].to_pylist() == arrays[name].tolist()
    assert set(arrays["modality"]) == {"image", "text"}
    assert len(set(arrays["id"])) == count
    fingerprint = library.load(trained).space.fingerprint
    assert table.schema.metadata[b"cospace.model"].decode() == fingerprint == str(arrays["model"])


def test_lines_of_a_text_file_are_embedded(shell: Shell, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffa red circle\n\nein grüner Kreis\n", encoding="utf-8")
    assert shell.json("embed", trained, tmp_path / "words.txt", "--out", tmp_path / "v.npz")["embedded"] == 2
    with np.load(tmp_path / "v.npz") as stored:
        assert stored["text"].tolist() == ["a red circle", "ein grüner Kreis"]
        expected = library.load(trained).embed(text=["a red circle", "ein grüner Kreis"])
        np.testing.assert_allclose(stored["embedding"], expected, atol=1e-2)


def test_broken_images_are_set_aside_and_counted(shell: Shell, trained: Path, tmp_path: Path) -> None:
    write_shapes(tmp_path, 2)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    made = shell.json("embed", trained, tmp_path / "images", "--out", tmp_path / "v.npz")
    assert made["set_aside"] == 1
    assert "set aside (first: broken.png" in shell.text(
        "embed", trained, tmp_path / "images", "--out", tmp_path / "v.npz"
    )


# ------------------------------------------------------------------------------------------------ every kind of pairs


def captions_by_image(folder: Path) -> Path:
    """As in photo collections: several captions for each image, and two rows for each of them in a table."""
    write_shapes(folder, 3)
    with (folder / "many.tsv").open("w", encoding="utf-8") as file:
        file.write("image\tcaption\n")
        for path in sorted((folder / "images").iterdir()):
            colour, shape, seed = path.stem.split("-")
            for words in (f"a {colour} {shape}, {seed}", f"{shape} no {seed} in {colour}", f"{seed}: {colour} {shape}"):
                file.write(f"images/{path.name}\t{words}\n")
    return folder / "many.tsv"


def class_folders(folder: Path) -> Path:
    for colour in ("red", "blue"):
        (folder / "classes" / f"{colour}_square").mkdir(parents=True)
        for seed in range(30):
            shape_picture(colour, "square", seed, side=24 + seed).save(
                folder / "classes" / f"{colour}_square" / f"{seed}.png"
            )
    return folder / "classes"


def captioned_folder(folder: Path) -> Path:
    write_shapes(folder, 3)
    for path in (folder / "images").iterdir():
        path.with_suffix(".txt").write_text(path.stem.replace("-", " "))
    return folder / "images"


def shards(folder: Path) -> Path:
    for shard in range(2):
        with tarfile.open(folder / f"part-{shard:04d}.tar", "w") as tar:
            for number in range(16):
                buffer = io.BytesIO()
                shape_picture("green", "circle", 100 * shard + number, side=33 + number).save(buffer, "PNG")
                for suffix, data in (("png", buffer.getvalue()), ("txt", f"circle {shard} {number}".encode())):
                    entry = tarfile.TarInfo(f"{number:04d}.{suffix}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    return folder


KINDS = {"captions": captions_by_image, "classes": class_folders, "sidecars": captioned_folder, "tar": shards}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_pairs_goes_all_the_way(shell: Shell, tmp_path: Path, kind: str) -> None:
    make: Callable[[Path], Path] = KINDS[kind]
    pairs = make(tmp_path)
    run, idx = tmp_path / "made" / "run", tmp_path / "made" / "idx"
    assert is_flat_and_finite(shell.json("train", pairs, "--out", run, *QUICK))
    measured = shell.json("eval", run, pairs)
    assert is_flat_and_finite(measured)
    expected = {"captions": (24, 72), "classes": (60, 2), "sidecars": (24, 24), "tar": (32, 32)}[kind]
    assert measured["n_texts"] == expected[1]
    assert expected[0] - 4 <= measured["n_images"] <= expected[0], "equal images count once"
    assert shell.json("index", run, pairs, "--out", idx)["used"] == measured["n_images"] + measured["n_texts"]
    assert len(shell.json("search", idx, "circle", "-k", "5")["results"]) == 5


def test_several_captions_are_all_right_answers(shell: Shell, tmp_path: Path) -> None:
    """With three captions an image, any of them is a hit, so chance is three times that of one."""
    pairs = captions_by_image(tmp_path)
    shell.text("train", pairs, "--out", tmp_path / "run", *QUICK)
    metrics = shell.json("eval", tmp_path / "run", pairs)
    assert metrics["chance/image_to_text/R@1"] == pytest.approx(1 / metrics["n_images"], rel=0.2)


def test_class_folders_are_classified_without_a_label_column(shell: Shell, tmp_path: Path) -> None:
    pairs = class_folders(tmp_path)
    (tmp_path / "names.txt").write_text("red square\nblue square\n")
    steps = "training.steps=60"
    shell.text("train", pairs, "--out", tmp_path / "run", *QUICK, steps, "data.image.augment.translate=0")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["bare_names"] is True
    metrics = shell.json("eval", tmp_path / "run", pairs, "--classes", tmp_path / "names.txt")
    assert metrics["zero_shot/n_without_class"] == 0
    assert metrics["chance/zero_shot/top1"] == 0.5
    assert metrics["zero_shot/top1"] > 0.9, "two colours are learned at once"


@pytest.mark.parametrize("recipe", ["joint-mse", "siglip", "clip"])
def test_recipes_train(shell: Shell, tmp_path: Path, recipe: str) -> None:
    pairs = write_shapes(tmp_path, 4)
    small = {"joint-mse": [], "siglip": ["encoders.text.depth=1", "encoders.image.depth=1"]}
    options = small.get(recipe, small["siglip"])
    settings = [*options, "data.image.size=32", "training.steps=2", "training.batch_size=8", "training.evaluations=0"]
    metrics = shell.json("train", pairs, "--out", tmp_path / "run", "--recipe", recipe, *settings)
    assert is_flat_and_finite(metrics)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"] == recipe


def test_a_runs_config_is_a_recipe(shell: Shell, shapes: Path, trained: Path, tmp_path: Path) -> None:
    options = ["--recipe", trained / "config.json", "training.steps=2", "training.optim.warmup_steps=1"]
    shell.text("train", shapes, "--out", tmp_path / "again", *options)
    first, second = (json.loads((run / "config.json").read_text()) for run in (trained, tmp_path / "again"))
    assert second["encoders"] == first["encoders"]
    assert second["training"]["batch_size"] == first["training"]["batch_size"]


# ------------------------------------------------------------------------------------------------ workers, Python


def test_workers_change_nothing(shell: Shell, shapes: Path, trained: Path, tmp_path: Path) -> None:
    settings = [*TINY, "training.steps=40", "training.evaluations=1", "training.workers=2"]
    shell.text("train", shapes, "--out", tmp_path / "run", *settings)
    alone, helped = library.load(trained).space, library.load(tmp_path / "run").space
    assert alone.fingerprint == helped.fingerprint


def test_the_same_from_python(shapes: Path, trained: Path, tmp_path: Path) -> None:
    model = library.train(shapes, out=tmp_path / "run", overrides=[*QUICK, "training.steps=3"])
    assert model.space.fingerprint == library.load(tmp_path / "run").space.fingerprint
    image = shapes.parent / "images" / "red-circle-0.png"
    scores = model.score(image=[image, Image.open(image)], text=["a red circle", "a blue square", "night"])
    assert scores.shape == (2, 3)
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_array_equal(scores[0], scores[1])
    assert model.evaluate(shapes, classes=["red", "a red circle number 0"])["n_classes"] == 2
    index = library.index(model, shapes.parent / "images", out=tmp_path / "idx")
    again = library.index(model, shapes.parent / "images", out=tmp_path / "idx")
    assert len(again.store) == len(index.store)
    assert library.open_index(tmp_path / "idx").search(image=image, k=1)[0].score > 0.99
    with pytest.raises(library.UserError, match="finished run"):
        library.train(shapes, out=tmp_path / "run")


def write_tones(folder: Path, name: str, copies: int = 4) -> Path:
    """A table of short tones, each with its pitch as its caption; the captions are also those of some shapes."""
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    rows = []
    for colour, pitch in {"red": 300, "green": 600, "blue": 1200, "black": 2400}.items():
        for copy in range(copies):
            path = folder / "sounds" / f"{colour}-{copy}.wav"
            wave_8000 = np.sin(2 * np.pi * pitch * (1 + copy / 50) * np.arange(4000) / 8000)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((20_000 * wave_8000).astype("<i2").tobytes())
            rows.append({"audio": f"sounds/{path.name}", "text": f"a {colour} circle number {copy}"})
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["audio", "text"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / name


def test_two_tables_in_one_run_from_python(tmp_path: Path) -> None:
    """Two tables of images with texts are one set; what comes out scores, evaluates and searches."""
    tables = [write_shapes(tmp_path / "a", 4), write_shapes(tmp_path / "b", 4, first=50)]
    model = library.train(tables, out=tmp_path / "run", overrides=[*QUICK, "training.steps=30"])
    assert model.facts["data"]["rows"] + model.facts["validation"]["rows"] == 64
    images = [table.parent / "images" / f"red-circle-{seed}.png" for table, seed in zip(tables, (0, 50), strict=True)]
    texts = ["a red circle number 0", "a black square number 51", "a green circle"]
    scores = model.score(image=images, text=texts)
    assert scores.shape == (2, 3)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert model.evaluate(tables)["n_texts"] == 64
    index = library.index(model, tmp_path / "b" / "images", out=tmp_path / "idx")
    found = index.search(text="a red circle", k=5)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    cosines = (model.embed(image=[hit.path for hit in found]) @ model.embed(text=["a red circle"]).T)[:, 0]
    np.testing.assert_allclose([hit.score for hit in found], cosines, atol=2e-2)


def test_tables_of_different_modalities_in_one_run(shell: Shell, tmp_path: Path) -> None:
    """Images with texts and sounds with texts: two losses, measures both ways for both, and a search by any of them."""
    shapes, tones = write_shapes(tmp_path, 4), write_tones(tmp_path, "tones.csv")
    small = ("encoders.audio.channels=[4,8,8]", "encoders.audio.width=16", "encoders.audio.depth=1")
    settings = [*QUICK, *small, "training.steps=30"]
    metrics = shell.json("train", shapes, tones, "--val", shapes, "--val", tones, "--out", tmp_path / "run", *settings)
    assert is_flat_and_finite(metrics)
    directions = {name.removesuffix("/R@1") for name in metrics if name.endswith("/R@1") and name.count("/") == 1}
    assert directions == {"audio_to_text", "text_to_audio", "image_to_text", "text_to_image"}
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows)
    model = library.load(tmp_path / "run")
    assert set(model.space.modalities) == {"audio", "image", "text"}
    sounds, images = sorted((tmp_path / "sounds").iterdir()), sorted((tmp_path / "images").iterdir())
    assert model.score(audio=sounds[:2], image=images[:3]).shape == (2, 3), "also what no row pairs can be scored"
    shell.text("index", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "idx")
    by_sound = shell.json("search", tmp_path / "idx", "--audio", sounds[0], "-k", "3")["results"]
    assert len(by_sound) == 3
    assert all(hit["path"].endswith(".png") for hit in by_sound)
    bound = shell.json("eval", tmp_path / "run", shapes, tones, "--through", "text")
    assert 0 <= bound["audio_to_image/R@1"] <= 1


TINY_DEMO = (
    "encoders.image.widths=[8,16]",
    "encoders.image.heads=2",
    "encoders.text.depth=1",
    "training.steps=4",
    "training.evaluations=0",
)
"""The last word on steps is the person's."""


@pytest.mark.parametrize("data", ["scenes", "glyphs"])
def test_the_demo_trains_reports_indexes_and_can_be_asked_again(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real command on few images; its quality is measured by `make demo`, not here."""
    few = {"scenes": {"scenes": 16}, "glyphs": {}}[data]
    source = lookup("data.sources", data)

    def from_spec(spec: str, columns: object = None, separator: object = None) -> object:
        return source(split=spec.partition("/")[2] or "train", **few)

    monkeypatch.setattr(source, "from_spec", staticmethod(from_spec))
    if data == "glyphs":
        read = source.read
        monkeypatch.setattr(source, "read", lambda self: every(read(self), 400))
    monkeypatch.chdir(tmp_path)
    (tmp_path / data).mkdir()  # of the set's own name, and not what a demo is about
    assert cli.run(["demo", data, *TINY_DEMO]) == 0
    printed = capsys.readouterr().out
    assert "chance" in printed
    assert (tmp_path / f"demo-{data}" / "report.html").stat().st_size > 10_000
    assert f"cospace search demo-{data}/index" in printed
    assert f"cospace serve demo-{data}/index" in printed
    assert cli.run(["search", f"demo-{data}/index", "a red square", "-k", "2"]) == 0
    served: list[str] = []
    monkeypatch.setattr(training, "page", lambda index, port: served.append(index))
    assert cli.run(["demo", data, *TINY_DEMO]) == 0
    assert "trained already" in capsys.readouterr().err
    assert served == [], "nobody is there to be asked"
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    for answer, times in (("n", 0), ("", 1)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert cli.run(["demo", data, *TINY_DEMO]) == 0
        assert served == [f"demo-{data}/index"] * times


def every(rows: Rows, n: int) -> Rows:
    """A few of many rows."""
    items = {modality: column[::n] for modality, column in rows.items.items()}
    return Rows(rows.ids[::n], items, {name: column[::n] for name, column in rows.extras.items()})
