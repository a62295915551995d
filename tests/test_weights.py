"""Rows that count by weights: the objectives, the column that says them, and what becomes of bad numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cospace
from cospace.config import names, part
from cospace.data.pairs import build, join_pairs, open_pairs
from cospace.data.sources import WEIGHT, ReadOptions, Rows
from cospace.data.wanting import weight_of
from cospace.data.weights import weighted, weights_of
from cospace.matches import BatchMatches
from cospace.objectives import _tiled, sigmoid, softmax
from cospace.types import UserError
from test_objectives import ITEMS, of_rows, pair, same, sides

CONTRASTIVE: dict[str, Any] = {"softmax": softmax, "sigmoid": sigmoid}
LEARNED = {"softmax": (6.0,), "sigmoid": (6.0, -2.0)}


def counting(matches: BatchMatches, weight: torch.Tensor) -> BatchMatches:
    return replace(matches, pairs={pair: replace(one, weight_K=weight) for pair, one in matches.pairs.items()})


@pytest.mark.parametrize("name", names("objectives"))
@pytest.mark.parametrize("small", [0, 100])
def test_equal_weights_are_no_weights(name: str, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiled, "SMALL", small)
    embeddings, matches = {key: rows.double() for key, rows in pair().items()}, same(torch.arange(12) // 2)
    objective: Any = part("objectives", name).build([("image", "text")])  # type: ignore[attr-defined]
    found = [objective(embeddings, given) for given in (matches, counting(matches, torch.ones(12)))]
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def solve(name: str, form: str, relation: Any, embeddings: list[torch.Tensor], weight: torch.Tensor) -> Any:
    learned = [torch.tensor(number, dtype=torch.float64) for number in LEARNED[name]]
    inputs = [values.detach().clone().requires_grad_() for values in [*embeddings, *learned]]
    loss = getattr(CONTRASTIVE[name], form)(relation, *inputs, weight)
    return [loss.detach(), *torch.autograd.grad(3 * loss, inputs)]


@pytest.mark.parametrize("name", CONTRASTIVE)
@given(rows=ITEMS, height=st.integers(1, 5), width=st.integers(1, 5))
def test_tiles_give_the_dense_loss_of_weighted_rows(
    name: str, rows: list[tuple[int, int]], height: int, width: int
) -> None:
    relation = of_rows(rows)
    weight = torch.rand(len(rows), generator=torch.Generator().manual_seed(len(rows)), dtype=torch.float64)
    weight[::3] = 0
    expected = solve(name, "dense", relation, sides(len(rows), 4), weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tiled, "tile_shape", lambda rows: (height, width))
        for value, reference in zip(solve(name, "tiled", relation, sides(len(rows), 4), weight), expected, strict=True):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["softmax", "mse"])
def test_a_row_of_twice_the_weight_counts_twice(name: str) -> None:
    embeddings, matches = {key: rows.double() for key, rows in pair().items()}, same(torch.arange(12))
    objective: Any = part("objectives", name).build([("image", "text")])  # type: ignore[attr-defined]
    alone = [
        objective(embeddings, counting(matches, 12 * torch.eye(12, dtype=torch.float64)[row])) for row in range(12)
    ]
    weight = torch.arange(12, dtype=torch.float64)
    expected = sum(weight[row] * alone[row] for row in range(12)) / 12
    torch.testing.assert_close(objective(embeddings, counting(matches, weight)), expected, rtol=1e-10, atol=1e-10)


def test_a_pair_of_no_weight_is_no_positive_and_no_negative_of_itself() -> None:
    left, right = (side.requires_grad_() for side in sides(6, 4))
    weight = torch.tensor([1.0, 1, 1, 0, 1, 1], dtype=torch.float64)
    relation = same(torch.arange(6)).relation("image", "text")
    cosine = torch.nn.functional.cosine_similarity
    loss = softmax.dense(relation, left, right, torch.tensor(5.0, dtype=torch.float64), weight)
    towards = torch.autograd.grad(cosine(left[3:4], right[3:4]), right)[0]
    gradient = torch.autograd.grad(loss, right)[0]
    with torch.no_grad():  # the pair itself plays no part: the gradient of its text does not depend on its image
        left[3] = -3 * left[3]
    again = torch.autograd.grad(
        softmax.dense(relation, left, right, torch.tensor(5.0, dtype=torch.float64), weight), right
    )[0]
    torch.testing.assert_close(again[3], gradient[3], rtol=1e-9, atol=1e-12)
    assert float(gradient[3].norm()) > 1e-6, "it is a negative of the others"
    assert float(towards[3].norm()) > 0


# ------------------------------------------------------------------------------------------------ the column


@given(st.text(max_size=8))
def test_what_is_no_number_of_0_or_more_is_no_weight(text: str) -> None:
    weight = weight_of(text)
    assert weight is None or 0 <= weight < float("inf")


@pytest.mark.parametrize(("text", "weight"), [("0", 0.0), (" 2.5 ", 2.5), ("1e-3", 0.001), ("-1", None), ("nan", None),
                                              ("inf", None), ("", None), ("much", None)])  # fmt: skip
def test_weights_as_people_write_them(text: str, weight: float | None) -> None:
    assert weight_of(text) == weight


def table(folder: Path, weights: list[str], name: str = "t.csv") -> Path:
    (folder / name).write_text(
        "sound,caption,score\n" + "".join(f"{n}.wav,a sound called {n},{w}\n" for n, w in enumerate(weights))
    )
    for number in range(len(weights)):
        (folder / f"{number}.wav").write_bytes(b"RIFF%d" % number)
    return folder / name


NAMED = ReadOptions(columns={"weight": "score"})


def test_a_named_column_weighs_the_rows_and_bad_numbers_are_set_aside(tmp_path: Path, cospace: Cospace) -> None:
    path = table(tmp_path, ["1", "3", "-2", "0", "?"])
    pairs = open_pairs(path, options=NAMED)
    assert pairs.understood.startswith("audio = sound, text = caption, weight = score")
    assert [(one.id, one.kind, one.reason) for one in pairs.problems] == [
        ("t.csv:4", "wrong weight", "the weight '-2' is no number of 0 or more"),
        ("t.csv:6", "wrong weight", "the weight '?' is no number of 0 or more"),
    ]
    assert "t.csv: weights from 0 to 3, 1 of them 0" in pairs.summary()
    weights = weights_of(pairs)
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.75, 2.25, 0.0])
    assert weighted(pairs).matches.batch(np.array([1, 0])).pairs["audio", "text"].weight_K.tolist() == [2.25, 0.75]
    assert weighted(pairs).select([2, 1]).matches.weight_N.tolist() == [0.0, 2.25]
    checked = cospace("check", path, "--columns", "weight=score")
    assert "2 wrong weight" in checked.out.replace("wrong weights", "wrong weight")


def test_without_the_name_a_column_weighs_nothing(tmp_path: Path) -> None:
    pairs = open_pairs(table(tmp_path, ["1", "3"]))
    assert weights_of(pairs) is None
    assert weighted(pairs) is pairs
    assert WEIGHT not in pairs.extras
    assert list(pairs.extras["score"]) == ["1", "3"], "it is a column to filter by"


def test_weights_are_part_of_what_the_data_are(tmp_path: Path) -> None:
    first = open_pairs(table(tmp_path, ["1", "3"]), options=NAMED).fingerprint
    assert open_pairs(table(tmp_path, ["1", "2"]), options=NAMED).fingerprint != first


def test_rows_of_a_table_without_weights_count_as_one() -> None:
    items = [{"text": [f"{name} {n}" for n in range(2)], "audio": [b"%d" % n for n in range(2)]} for name in "ab"]
    parts = [build("a", Rows(["1", "2"], items[0], {WEIGHT: ["3", "0"]})), build("b", Rows(["3", "4"], items[1]))]
    weights = weights_of(join_pairs(parts))
    assert weights is not None
    assert weights.tolist() == pytest.approx([2.4, 0.0, 0.8, 0.8])


def test_weights_of_nothing_and_columns_that_are_not_there_are_refused(tmp_path: Path, cospace: Cospace) -> None:
    with pytest.raises(UserError, match="are all 0"):
        weights_of(open_pairs(table(tmp_path, ["0", "0"]), options=NAMED))
    refused = cospace("check", table(tmp_path, ["1", "1"]), "--columns", "weight=scor")
    assert "t.csv has no column 'scor'; did you mean 'score'?" in refused.refusal()
