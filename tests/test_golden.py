"""What earlier releases wrote opens: a run, an index, files of vectors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cospace.commands.search import SearchableIndex
from cospace.runs.metrics_log import MetricsLog
from cospace.runs.run import Run

RELEASES = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if (path / "run").is_dir())


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, since opening may clear up or convert."""
    return shutil.copytree(request.param, tmp_path / "release")


def stored(release: Path) -> dict[str, np.ndarray]:
    with np.load(release / "vectors.npz", allow_pickle=False) as file:
        return dict(zip(file["id"].tolist(), file["embedding"], strict=True))


def texts(release: Path) -> dict[str, str]:
    with np.load(release / "vectors.npz", allow_pickle=False) as file:
        rows = zip(file["id"].tolist(), file["modality"].tolist(), file["text"].tolist(), strict=True)
        return {name: text for name, modality, text in rows if modality == "text"}


def test_there_is_a_release() -> None:
    assert RELEASES


def test_a_run_gives_the_vectors_that_it_gave(release: Path) -> None:
    run = Run.load(release / "run")
    assert run.metrics()["n_images"] > 0 and run.config()["embed_dim"] == 8 and run.facts["finished"]
    assert run.logit_scale() is not None
    assert [row["step"] for row in MetricsLog(release / "run" / "metrics.jsonl").rows()] == [1, 2, 3, 4]
    said, vectors = texts(release), stored(release)
    assert len(said) == 8
    found = run.space.embed(text=list(said.values()))
    np.testing.assert_allclose(found, np.stack([vectors[name] for name in said]), atol=2e-2)


def test_an_index_answers(release: Path) -> None:
    index = SearchableIndex.open(release / "index")
    items = index.store.items(index.store.select())
    assert sorted(item.modality for item in items) == ["image"] * 8 + ["text"] * 8
    vectors = stored(release)
    for item, vector in zip(items, index.store.vectors(index.store.select()), strict=True):
        if item.modality == "text":
            np.testing.assert_allclose(vector, vectors[item.id], atol=2e-2)
        else:
            assert index.thumbnails.get(item.hash, 64)
    assert len(index.search(text="a red circle", k=3)) == 3


def test_tables_of_vectors_are_equal(release: Path) -> None:
    table, vectors = pq.read_table(release / "vectors.parquet"), stored(release)
    assert table.column_names == ["id", "modality", "path", "text", "embedding"]
    for name, vector in zip(table["id"].to_pylist(), table["embedding"].to_pylist(), strict=True):
        np.testing.assert_array_equal(np.float32(vector), vectors[name])
