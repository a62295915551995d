"""Inputs of an index have names: copies, moved folders, what is forgotten, and columns that people brought."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from conftest import Cospace, shape_picture
from cospace.commands.index import Indexed, build_index
from cospace.commands.search import SearchableIndex
from cospace.commands.sources import forget_source, list_sources
from cospace.models.space import Space
from cospace.runs.run import Run
from cospace.types import UserError


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return Run.load(trained)


def photographs(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        shape_picture("red", "circle", number).save(folder / f"{number}.png")
    return folder


def ids(index: SearchableIndex) -> set[str]:
    return {item.id for item in index.store.items(index.store.select().tolist())}


def counts(made: Indexed) -> tuple[int, int, int, int]:
    return made.added, made.changed, made.removed, made.unchanged


def test_copies_have_their_vector_and_their_class_and_cost_no_encoding(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("cat", "dog"):
        photographs(tmp_path / "pets" / label, 3, 0 if label == "cat" else 2)  # 2.png is in both
    seen: list[int] = []
    embed = Space.embed_prepared
    monkeypatch.setattr(
        Space, "embed_prepared", lambda s, m, items, *r: embed(s, m, (seen.append(1) or one for one in items), *r)
    )
    made = build_index(run, tmp_path / "pets", tmp_path / "idx")
    images = {name for name in ids(made.index) if name.endswith(".png") and not name.startswith("text/")}
    assert images == {f"{label}/{n}.png" for label, first in (("cat", 0), ("dog", 2)) for n in range(first, first + 3)}
    assert len(seen) == 5 + 2, "five different images, and two classes as texts"
    for label in ("cat", "dog"):
        found = made.index.search(image=tmp_path / "pets" / "cat" / "2.png", k=1, where=[f"label={label}"])
        assert [one.id for one in found] == [f"{label}/2.png"]
    assert counts(build_index(run, tmp_path / "pets", tmp_path / "idx")) == (0, 0, 0, 8)


def test_a_broken_file_costs_its_copies_too_and_the_sum_holds(run: Run, tmp_path: Path) -> None:
    photos = photographs(tmp_path / "p", 200)
    for name in ("x.png", "y.png"):
        (photos / name).write_bytes((photos / "0.png").read_bytes()[:60])
    made = build_index(run, photos, tmp_path / "idx", max_bad_fraction=0.5)
    assert {problem.id for problem in made.problems} == {"x.png", "y.png"}
    assert (made.counts.used + made.counts.duplicates, made.counts.set_aside) == (200, 2)
    assert made.counts.rows == 202 and len(ids(made.index)) == 200


def test_a_folder_that_was_moved_is_adopted_and_one_that_was_copied_is_not(run: Run, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / "photos", 6), tmp_path / "idx"
    before = build_index(run, photos, out).index
    vectors = {item.id: before.store.vectors(np.array([n]))[0] for n, item in enumerate(before.store.items(range(6)))}
    photos.rename(tmp_path / "pics")
    photographs(tmp_path / "pics", 1, first=9)
    made = build_index(run, tmp_path / "pics", out)
    assert counts(made) == (1, 6, 0, 0), "one is new, six have another path"
    assert any("are adopted" in line for line in made.summary)
    assert [(one.name, one.items) for one in list_sources(out)] == [(str(tmp_path / "pics"), 7)]
    store = made.index.store
    for name, vector in vectors.items():
        np.testing.assert_array_equal(store.vectors(store.numbers([name]))[0], vector)
    photographs(tmp_path / "copy", 6)
    assert counts(build_index(run, tmp_path / "copy", out)) == (6, 0, 0, 0), "both are there"


def test_inputs_are_listed_and_forgotten(run: Run, cospace: Cospace, tmp_path: Path) -> None:
    out = tmp_path / "idx"
    build_index(run, photographs(tmp_path / "a" / "photos", 3), out)
    build_index(run, photographs(tmp_path / "b" / "photos", 3, first=2), out)
    listed = json.loads(cospace("index", "--sources", "--out", out, "--json").out)["sources"]
    assert [(Path(one["name"]).parent.name, one["items"], one["missing"]) for one in listed] == [
        ("a", 3, False),
        ("b", 3, False),
    ]
    assert "several inputs" in cospace("index", "--forget", "photos", "--out", out).refusal()
    assert "was not made of" in cospace("index", "--forget", "elsewhere", "--out", out).refusal()
    shared, own = (
        SearchableIndex.open(out).search(image=tmp_path / "a" / "photos" / f"{n}.png", k=1)[0] for n in (2, 0)
    )
    assert "3 items removed" in cospace("index", "--forget", tmp_path / "a" / "photos", "--out", out).out
    left = SearchableIndex.open(out)
    assert ids(left) == {"photos/2.png", "3.png", "4.png"}
    assert left.thumbnails.get(shared.hash, 64) is not None, "another input shows it"
    assert left.thumbnails.get(own.hash, 64) is None
    forget_source(out, "photos")
    assert list_sources(out) == []
    with pytest.raises(UserError, match="was not made of"):
        forget_source(out, "photos")
    assert "name a run and what to index" in cospace("index", "--out", out).refusal()


def test_a_persons_columns_are_found_by_their_names_and_ours_by_another(
    run: Run, cospace: Cospace, tmp_path: Path
) -> None:
    photos = photographs(tmp_path / "photos", 4)
    rows = [f"photos/{n}.png,100{n},wide{n},file{n},{n},h{n}" for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["image,id,width,path,height,hash", *rows]))
    made = build_index(run, tmp_path / "t.csv", tmp_path / "idx")
    for where in ("id=1002", "width=wide2", "path=file2", "height>=2", "hash=h2", "@id=1002", "id=nobody|1002"):
        found = json.loads(cospace("search", tmp_path / "idx", "red", "--where", where, "--json").out)["results"]
        assert "1002" in [one["id"] for one in found] and len(found) <= 2, where
    assert made.index.search(text="red", where=["@width>=1"])
    assert not made.index.search(text="red", where=["@width>=100000"])
    with pytest.raises(UserError, match="it has hash, height, id, path, width, @id, @modality"):
        made.index.search(text="red", where=["wdith=1"])
    build_index(run, photos, tmp_path / "plain")
    assert SearchableIndex.open(tmp_path / "plain").search(text="red", where=["id=2.png"])[0].id == "2.png"


def test_an_index_in_a_folder_whose_name_is_no_utf8(cospace: Cospace, trained: Path, tmp_path: Path) -> None:
    photos, out = photographs(tmp_path / os.fsdecode(b"ph\xf6tos"), 3), tmp_path / os.fsdecode(b"id\xe9")
    assert json.loads(cospace("index", trained, photos, "--out", out, "--json").out)["in_index"] == 3
    assert len(json.loads(cospace("search", out, "red", "--json").out)["results"]) == 3
    assert r"ph\xf6tos" in cospace("index", "--sources", "--out", out).out
    embedded = cospace("embed", trained, photos, "--out", tmp_path / os.fsdecode(b"v\xe9.parquet"), "--json")
    assert json.loads(embedded.out)["embedded"] == 3
