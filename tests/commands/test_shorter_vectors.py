"""Vectors cut to their first numbers: a run trained for it, embedding, measuring, every store, the service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from asgi_client import AsgiClient

import cospace as package
from conftest import TINY, Cospace, Shell
from cospace.commands.collection import Collection
from cospace.commands.index import build_index
from cospace.commands.search import SearchableIndex
from cospace.commands.train import TrainArguments, train
from cospace.models.space import Space
from cospace.models.truncation import prefix
from cospace.runs.run import Run
from cospace.service.app import create_app
from cospace.service.index_quality import Known
from cospace.types import SHORTEST, UserError
from database import Database

WIDE, SHORT = 32, 8


@pytest.fixture(scope="module")
def matryoshka(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose vectors of 32 numbers may be cut to 16 and 8. Read only."""
    out = tmp_path_factory.mktemp("matryoshka") / "run"
    overrides = (*TINY, f"embed_dim={WIDE}", "objective=matryoshka", "training.steps=30", "training.evaluations=1")
    train(TrainArguments(shapes, out, overrides=overrides))
    return out


@pytest.fixture(scope="module")
def index(matryoshka: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An index of its vectors, cut to 8 numbers. Read only."""
    out = tmp_path_factory.mktemp("short") / "idx"
    build_index(Run.load(matryoshka).truncated(SHORT), shapes, out)
    return out


def test_the_run_records_its_widths_and_what_each_finds(matryoshka: Path) -> None:
    run = Run.load(matryoshka)
    assert run.config()["objective"]["widths"] == [8, 16]
    assert run.config()["objective"]["of"]["label_smoothing"] == 0.1
    found = {key for key in run.metrics() if key.startswith("dimensions/")}
    assert {key.split("/")[1] for key in found} == {"8", "16"}, "fewer than 8 are never stored"
    assert "dimensions/8/text_to_image/R@1" in found
    assert sorted(run.space.widths) == [8, 16]
    assert run.space.truncated(16).calibration is not None
    assert run.space.truncated(16).calibration != run.space.calibration
    assert run.space.truncated(9).calibration is None


def test_a_truncated_space_gives_the_first_numbers_at_unit_length(matryoshka: Path) -> None:
    space, texts = Run.load(matryoshka).space, ["a red circle", "a blue square"]
    whole, short = space.embed(text=texts), space.truncated(SHORT).embed(text=texts)
    assert short.shape == (2, SHORT)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(short, prefix(whole, SHORT), atol=1e-6)
    assert space.truncated(16).truncated(SHORT).embed(text=texts).tobytes() == short.tobytes()
    assert (space.width, space.embed(text=texts).tobytes()) == (WIDE, whole.tobytes()), "the space itself is as it was"


@pytest.mark.parametrize("dimensions", [0, SHORTEST - 1, WIDE + 1])
def test_lengths_that_vectors_cannot_have_are_refused(
    matryoshka: Path, shapes: Path, tmp_path: Path, cospace: Cospace, dimensions: int
) -> None:
    with pytest.raises(UserError, match="have 32 numbers and can be cut to 8 or more"):
        Run.load(matryoshka).truncated(dimensions)
    said = cospace("index", matryoshka, shapes, "--out", tmp_path / "i", "--dimensions", dimensions).refusal()
    assert f"{dimensions} were asked for" in said
    assert not (tmp_path / "i").exists()


def test_measuring_at_a_width_gives_what_training_found_there(matryoshka: Path, shapes: Path, shell: Shell) -> None:
    whole = shell.json("eval", matryoshka, shapes)
    short = shell.json("eval", matryoshka, shapes, "--dimensions", SHORT)
    assert whole["n_images"] == short["n_images"]
    assert short["text_to_image/MRR"] != whole["text_to_image/MRR"]
    model = package.load(matryoshka).truncated(SHORT)
    assert model.evaluate(shapes)["text_to_image/MRR"] == pytest.approx(short["text_to_image/MRR"], abs=1e-6)
    assert model.classify(shapes.parent / "images", ["red", "blue"]).rows, "held-out vectors are cut as well"


def test_embedding_writes_shorter_vectors(matryoshka: Path, tmp_path: Path, shell: Shell, cospace: Cospace) -> None:
    (tmp_path / "t.txt").write_text("a red circle\na blue square\n")
    for name, more in (("whole", ()), ("short", ("--dimensions", SHORT))):
        shell.json("embed", matryoshka, tmp_path / "t.txt", "--out", tmp_path / f"{name}.parquet", *more)
    whole, short = (
        np.array(pq.read_table(tmp_path / f"{name}.parquet")["embedding"].to_pylist(), np.float32)
        for name in ("whole", "short")
    )
    np.testing.assert_allclose(short, prefix(whole, SHORT), atol=1e-6)
    again = cospace("embed", matryoshka, tmp_path / "t.txt", "--out", tmp_path / "short.parquet", "--dimensions", 12)
    assert again.code == 0, again.err
    assert "cut from 32 to 12 numbers, for which this model was not trained, only for 8, 16" in again.out
    assert len(pq.read_table(tmp_path / "short.parquet")["embedding"][0]) == 12, "it is another job"


@pytest.fixture(params=["folder", "lance", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an index may be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "lance":
        request.getfixturevalue("lancedb")
        return f"lance:{tmp_path / 'idx'}"
    if request.param == "postgres":
        server: Database = request.getfixturevalue("server")
        return f"{server.tcp}#shorter"
    return str(tmp_path / "idx")


def test_an_index_keeps_its_length_and_every_query_has_it(
    matryoshka: Path, shapes: Path, place: str, shell: Shell, cospace: Cospace
) -> None:
    """In every store, and nothing has to be said of it again."""
    assert shell.json("index", matryoshka, shapes, "--out", place, "--dimensions", SHORT)["added"] == 128
    assert shell.json("index", matryoshka, shapes, "--out", place)["unchanged"] == 128
    refused = cospace("index", matryoshka, shapes, "--out", place, "--dimensions", 16).refusal()
    assert "stores vectors of 8 numbers, not 16: that is chosen when an index is made" in refused
    assert "not 32" in cospace("index", matryoshka, shapes, "--out", place, "--dimensions", WIDE).refusal()
    opened = Collection.open(place)
    assert (opened.store.width, opened.space.width) == (SHORT, SHORT)
    image_NE = Run.load(matryoshka).space.embed(image=sorted((shapes.parent / "images").iterdir()))
    query_1E = Run.load(matryoshka).space.embed(text=["a red circle"])
    cosines = prefix(image_NE, SHORT) @ prefix(query_1E, SHORT)[0]
    found = opened.search(text="a red circle", k=5)
    np.testing.assert_allclose([one.score for one in found], np.sort(cosines)[::-1][:5], atol=1e-3)
    known = Run.load(matryoshka).space.widths[SHORT]
    assert opened.space.calibration == known.calibration is not None
    assert opened.space.relevance == known.relevance, "percentages are those of this length"
    opened.add(text=["a green circle with words"], ids=["new"])
    assert opened.search(text="a green circle with words", find="text", k=1)[0].id == "text/new"
    opened.store.close()


def test_the_service_answers_from_it(index: Path) -> None:
    client = AsgiClient(create_app(SearchableIndex.open(index)))
    try:
        found = client.post("/api/search", {"parts": [{"text": "a red circle"}], "k": 5}).json()
        assert len(found["results"]) == 5
        sent = client.post("/v1/embeddings", {"input": "a red circle", "model": "any"}).json()
        assert len(sent["data"][0]["embedding"]) == SHORT
        assert client.get("/healthz").json()["ok"]
    finally:
        client.close()


def test_what_the_service_says_of_the_quality_is_that_of_the_length(
    index: Path, matryoshka: Path, tmp_path: Path
) -> None:
    metrics = Run.load(matryoshka).metrics()
    copied = shutil.copytree(index, tmp_path / "idx")
    opened = SearchableIndex.open(copied)
    (opened.model_folder / "run" / "metrics.json").write_text(
        json.dumps(metrics | {"dimensions/8/text_to_image/MRR": 0.125})
    )
    known = Known.of(opened)
    assert known.metrics["text_to_image/MRR"] == 0.125 != metrics["text_to_image/MRR"]
    assert known.metrics["n_images"] == metrics["n_images"]
    assert known.quality().level != "unmeasured"


def test_a_model_that_was_not_trained_for_it_says_what_it_costs(
    trained: Path, shapes: Path, tmp_path: Path, cospace: Cospace
) -> None:
    made = cospace("index", trained, shapes, "--out", tmp_path / "idx", "--dimensions", SHORT)
    assert made.code == 0, made.err
    assert "cut from 16 to 8 numbers, for which this model was not trained: they find less" in made.out
    found = json.loads(cospace("search", tmp_path / "idx", "a red circle", "--json").out)
    assert found["calibrated"] is False
    again = cospace("index", trained, shapes, "--out", tmp_path / "idx")
    assert "not trained" not in again.out, "it is said once"


def test_a_saved_space_forgets_no_width_and_a_truncated_one_is_not_saved(matryoshka: Path, tmp_path: Path) -> None:
    space = Run.load(matryoshka).space
    space.save(tmp_path / "model", {"text": ["a red circle"]})
    assert Space.load(tmp_path / "model").widths == space.widths
    with pytest.raises(AssertionError):
        space.truncated(SHORT).save(tmp_path / "short", {})
