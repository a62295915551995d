"""Whatever command reads a folder, every file of it is in exactly one part of the sum."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import TINY, Cospace, shape_picture
from cospace.commands.embed import embed_to_file
from cospace.commands.index import build_index
from cospace.commands.train import TrainArguments, train
from cospace.data.check import check
from cospace.data.counting import Counts
from cospace.data.pairs import open_pairs
from cospace.runs.run import Run
from cospace.types import Problem, UserError

PARTS = ("used", "duplicates", "set_aside", "left_alone")


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return Run.load(trained)


def encoded(seed: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    shape_picture("red", "circle", seed, 16).save(data, kind)
    return data.getvalue()


CONTENTS = {
    "1.png": encoded(1),
    "2.jpg": encoded(2, "JPEG"),
    "3.png": encoded(3),
    "copy.png": encoded(1),
    "cut.png": encoded(4)[:60],
    "empty.png": b"",
    "1.txt": b"a caption\n",
    "3.txt": b"one\ntwo\n",
    "1.json": b'{"caption": "x"}',
    "note.txt": b"milk\n",
    "t.csv": b"a,b\n1,2\n",
    "s.tar": b"",
    "y.doc": b"x",
    "x.jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
    "bild": encoded(5),
    ".h": b"x",
    "caf\udce9.png": encoded(6),
}
FOLDERS = st.sampled_from(["", "cat/", "dog/", "train/", "test/", "@eaDir/", "images/cat/", "text/"])
TREES = st.sets(st.tuples(FOLDERS, st.sampled_from(sorted(CONTENTS))), min_size=1, max_size=12)
IMAGES = ("png", "jpg", "bild")
calm = settings(suppress_health_check=list(HealthCheck), database=None, derandomize=True)


def grow(folder: Path, names: set[tuple[str, str]]) -> set[str]:
    """Write a tree; the names of its files, as text."""
    for above, name in names:
        (folder / above).mkdir(parents=True, exist_ok=True)
        (folder / above / name).write_bytes(CONTENTS[name])
    return {above + name.replace("\udce9", r"\xe9") for above, name in names}


def hidden(names: set[str]) -> set[str]:
    return {name for name in names if "@eaDir" in name or "/." in f"/{name}"}


def accounted(seen: set[str], counts: Counts, problems: list[Problem], ids: list[str]) -> None:
    """Every image is an item, a problem or left alone, each once, and the sum is what was counted."""
    assert counts.items == sum(getattr(counts, part) for part in PARTS)
    images = {name.removeprefix("./") for name in ids if not name.startswith(("text/", "@"))}
    bad = {problem.id.removeprefix("./") for problem in problems}
    assert not images & bad
    assert len(ids) == len(set(ids))
    for name in seen - hidden(seen):
        if name.endswith(IMAGES):
            assert (name in images) + (name in bad) == 1, (name, images, bad)


def by_embedding_and_indexing(run: Run, folder: Path, names: set[tuple[str, str]]) -> None:
    seen = grow(folder / "tree", names)
    try:
        made = embed_to_file(run, folder / "tree", folder / "v.parquet")
    except UserError:  # nothing to embed
        assert not any(
            name.endswith(IMAGES) and "cut" not in name and "empty" not in name for name in seen - hidden(seen)
        )
        return
    rows = pq.read_table(folder / "v.parquet", columns=["id", "modality"]).to_pylist()
    ids = [row["id"] for row in rows if row["modality"] == "image"]
    accounted(seen, made.counts, list(made.problems), ids)
    assert made.embedded == len(rows)
    try:
        built = build_index(run, folder / "tree", folder / "idx", max_bad_fraction=1.0)
    except UserError:
        assert not ids
        return
    store = built.index.store
    held = [item.id for item in store.items(store.select().tolist()) if item.modality == "image"]
    assert sorted(held) == sorted(ids)
    assert built.counts == made.counts
    assert {problem.id for problem in built.problems} == {problem.id for problem in made.problems}
    store.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trees", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_embed_and_index_account_for_every_file(run: Run, tmp_path_factory: pytest.TempPathFactory, trees: int) -> None:
    @settings(calm, max_examples=trees)
    @given(names=TREES)
    def every_tree(names: set[tuple[str, str]]) -> None:
        by_embedding_and_indexing(run, tmp_path_factory.mktemp("trees"), names)

    every_tree()


def by_checking(folder: Path, names: set[tuple[str, str]]) -> None:
    grow(folder, names)
    try:
        pairs = open_pairs(folder)
    except UserError:
        return
    found = check(pairs).to_json()
    assert found["items"] == sum(found[part] for part in PARTS)
    assert found["rows"] == len(pairs) + len(pairs.problems)


@pytest.mark.parametrize("trees", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_check_accounts_for_every_row(tmp_path_factory: pytest.TempPathFactory, trees: int) -> None:
    @settings(calm, max_examples=trees)
    @given(names=TREES)
    def every_tree(names: set[tuple[str, str]]) -> None:
        by_checking(tmp_path_factory.mktemp("trees"), names)

    every_tree()


SMALLEST = (
    "encoders.image=linear", "encoders.text=bag", "embed_dim=8", "data.image.size=16", "data.max_bad_fraction=1",
    "training.steps=1", "training.evaluations=0", "training.batch_size=4",
)  # fmt: skip
BASES = {
    "captions": {f"{folder}p{n}.{kind}": n for n in range(5) for folder in ("", "cat/") for kind in ("png", "txt")},
    "classes": {f"{folder}/p{n}.png": n for n in range(5) for folder in ("cat", "dog")},
    "a table": {f"images/p{n}.png": n for n in range(10)} | {"pairs.csv": 10},
    "parts": {f"{part}/{folder}/p{n}.png": n for n in range(5) for part in ("train", "test") for folder in ("a", "b")},
}
"""Trees that can be trained on, to which others are added: names of files, each with a number."""


def grow_base(folder: Path, base: str) -> None:
    for place, (name, number) in enumerate(BASES[base].items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            path.write_bytes(encoded(1000 + number + 100 * (place % 2)))
        else:
            rows = "".join(f"images/p{n}.png,thing {n}\n" for n in range(number))
            path.write_text(f"image,caption\n{rows}" if path.suffix == ".csv" else f"a thing called {name}")


def by_training(cospace: Cospace, folder: Path, base: str, names: set[tuple[str, str]]) -> bool:
    """Whether it was trained: by the command, whose sum is that of ``check``."""
    grow(folder / "tree", names)
    grow_base(folder / "tree", base)
    checked = cospace("check", folder / "tree", "--json")
    done = cospace("train", folder / "tree", "--out", folder / "run", "--no-report", "--json", *SMALLEST)
    if done.code:
        assert done.refusal()
        return False
    made, found = json.loads(done.out), json.loads(checked.out)
    assert made["items"] == sum(made[part] for part in PARTS)
    counted = ("items", "rows", *PARTS)
    assert {name: made[name] for name in counted} == {name: found[name] for name in counted}
    return True


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trees", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_train_accounts_for_every_file(cospace: Cospace, tmp_path_factory: pytest.TempPathFactory, trees: int) -> None:
    trained = []

    @settings(calm, max_examples=trees)
    @given(base=st.sampled_from(sorted(BASES)), names=TREES)
    def every_tree(base: str, names: set[tuple[str, str]]) -> None:
        trained.append(by_training(cospace, tmp_path_factory.mktemp("trees"), base, names))

    every_tree()
    assert sum(trained) * 2 > len(trained), "most trees can be trained on"


def test_train_and_eval_count_in_their_json_and_name_what_both_have_seen(cospace: Cospace, tmp_path: Path) -> None:
    for part, first, count in (("t", 0, 24), ("v", 16, 16)):
        rows = ["image,text"]
        for number in range(first, first + count):
            Image.effect_noise((16, 16), 30 + number).convert("RGB").save(tmp_path / f"{part}{number}.png")
            if part == "v" and number < 24:
                (tmp_path / f"v{number}.png").write_bytes((tmp_path / f"t{number}.png").read_bytes())
            rows.append(f"{part}{number}.png,a thing called {number}")
        rows.append(f"{part}{first}.png,a thing called {first}")
        (tmp_path / f"{part}.csv").write_text("\n".join(rows))
    fast = (*TINY, "training.steps=2", "training.evaluations=0", "training.batch_size=8")
    done = cospace("train", tmp_path / "t.csv", "--val", tmp_path / "v.csv", "--out", tmp_path / "run", *fast, "--json")
    made = json.loads(done.out)
    assert [made[name] for name in ("items", "rows", *PARTS)] == [25, 25, 24, 1, 0, 0]
    assert made["leaked/image"] == 0.5
    assert "50.0 % of these images were trained on too" in done.err
    assert "50.0 % of these images were trained on too" in (tmp_path / "run" / "report.html").read_text()
    seen = json.loads(cospace("eval", tmp_path / "run", tmp_path / "t.csv", "--json").out)
    assert (seen["leaked/image"], seen["used"], seen["duplicates"]) == (1.0, 24, 1)
    held_out = train(TrainArguments(tmp_path / "t.csv", tmp_path / "other", overrides=fast))
    assert (held_out.counts.items, held_out.counts.duplicates) == (25, 1)
    assert not [name for name in held_out.run.metrics() if name.startswith("leaked")]
