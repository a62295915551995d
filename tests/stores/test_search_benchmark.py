"""The arithmetic of the search benchmark, and one small run of each of our systems through it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import frame


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(frame.__file__).with_name("search.py")
    spec = importlib.util.spec_from_file_location("search_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["search_benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_truth_is_a_full_matrix_across_parts(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "PART", 30)
    data, queries = benchmark.latent(100, 1), benchmark.latent(5, 0)
    assert np.array_equal(data, benchmark.latent(100, 1)) and not np.array_equal(data[:5], queries)
    np.testing.assert_allclose(np.linalg.norm(data, axis=1), 1, atol=1e-6)
    expected = np.argsort(-(queries @ data.T), axis=1)[:, :10]
    truth = benchmark.true_nearest(data, queries)
    assert benchmark.recall(truth, expected) == 1.0
    truth[0, :5] = -1
    assert benchmark.recall(truth, expected) == pytest.approx(0.9)


def test_speeds_are_compared_at_equal_recall(benchmark: ModuleType) -> None:
    def run(speed: float, *recalls: float) -> object:
        points = (benchmark.Point(16 << n, recall, speed / (n + 1), 1) for n, recall in enumerate(recalls))
        return benchmark.Run(0.1, 1 << 20, tuple(points))

    runs = {
        "cospace": [run(100, 0.96)] * 2,
        "fast": [run(800, 0.9, 0.97), run(400, 0.9, 0.97)],
        "blind": [run(9, 0.1)] * 2,
    }
    built = {"cospace": 2.0, "fast": 8.0, "blind": 1.0}
    found = {(result.work, result.peer): result for result in benchmark.rows("work", built, runs, 0.95)}
    assert found["work, recall@10 >= 0.95, one query at a time", "fast"].ratio == "0.375x (0.25-0.5)"
    assert found["work, build", "fast"].ratio == "4x (4-4)"
    assert ("work, build", "blind") not in found
    assert "does not reach" in found["work, recall@10 >= 0.95, one query at a time, against blind", "-"].ours


def test_what_ours_finds_is_given_as_rows(benchmark: ModuleType, tmp_path: Path) -> None:
    benchmark.make_data(tmp_path, 500, 5)
    place = benchmark.Place(tmp_path, tmp_path / "index", tmp_path, "")
    system = benchmark.SYSTEMS["cospace"]
    system.build(np.load(tmp_path / "vectors.npy", mmap_mode="r"), place)
    opened = system.open(place)
    found = opened.rows(opened.search(np.load(tmp_path / "queries.npy"), 64))
    assert benchmark.recall(found, np.load(tmp_path / "truth.npy")) == 1.0
    assert benchmark.resident(opened.processes) > 1 << 20
