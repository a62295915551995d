"""Several ranks are one process: the same gradients, the same steps, the same end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rank_tasks
from cospace.config import names
from cospace.data.batches import Share
from cospace.ranks import ALONE
from cospace.training.loop import Learner
from cospace.types import UserError
from rank_processes import RankProcesses
from tiny_training import batch_of, decoder_and_targets

EXACT = 1e-10
SIZES = pytest.mark.parametrize("size", ["two", pytest.param("four", marks=pytest.mark.slow)])
ROUNDED = 1e-6
"""What a decoder's losses keep, which are float32."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    with RankProcesses(2, tmp_path_factory.mktemp("two")) as processes:
        yield processes


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    with RankProcesses(4, tmp_path_factory.mktemp("four")) as processes:
        yield processes


def close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Equal to a relative tolerance, each tensor as a whole, and nothing left out."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).double().norm() <= tolerance * value.double().norm() + 1e-15, name


def of(found: Mapping[str, Tensor], prefix: str, there: bool = True) -> dict[str, Tensor]:
    """Those whose names begin so, or the others."""
    return {name: value for name, value in found.items() if name.startswith(prefix) == there}


def equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert different == []


# ------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("objective", names("objectives"))
@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("judged", [False, True])
def test_two_ranks_have_the_gradients_of_one_for_every_objective(
    two: RankProcesses, objective: str, tiled: bool, judged: bool
) -> None:
    """Images, texts and sounds, rows that lack one, items that match several; the learned scale and bias too.

    Judged rows have weights and a teacher.
    """
    given = {"objective": objective, "tiled": tiled, "judged": judged}
    expected = rank_tasks.step(ALONE, **given, least=None)
    assert sum(name.startswith("objective.") for name in expected) == len([*rank_tasks.learned(objective)])
    for found in two("step", **given):
        close(found, expected, EXACT)


@pytest.mark.parametrize("objective", ["softmax", "sigmoid"])
@pytest.mark.parametrize("tile", [[3, 2], [2, 5], [5, 64]])
def test_ranks_read_each_some_of_the_tiles_and_have_the_same_gradients(
    two: RankProcesses, objective: str, tile: list[int]
) -> None:
    given: dict[str, Any] = {"objective": objective, "tiled": True, "tile": tile}
    plain, shared = (rank_tasks.step(ALONE, **given, least=least) for least in (None, 2))
    found = two("step", **given)
    tiles = [int(one.pop("tiles")) for one in (plain, shared, *found)]
    assert sum(tiles[2:]) == tiles[1], "no tile is read twice"
    assert max(tiles[2:]) <= 0.7 * tiles[1]
    for one in found:
        close(one, plain, EXACT)
        equal(one, shared)


@pytest.mark.parametrize("room", [0, 1 << 40])
@pytest.mark.parametrize("micro_batch_size", [1, 5, 12])
def test_whatever_the_micro_batches_and_the_memory(two: RankProcesses, room: int, micro_batch_size: int) -> None:
    """With 12 to a micro-batch one rank has all images, and the other none."""
    given = {"room": room, "micro_batch_size": micro_batch_size}
    expected = rank_tasks.step(ALONE, **given, least=None)
    for found in two("step", **given):
        close(found, expected, EXACT)


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_with_a_decoder(two: RankProcesses, room: int) -> None:
    """Captions, answers, and image-text matching, whose false texts lie on any rank."""
    expected = rank_tasks.step(ALONE, decoder=True, room=room, least=None)
    assert {f"loss/{name}" for name in ("alignment", "caption", "vqa", "itm")} <= expected.keys()
    for found in two("step", decoder=True, room=room):
        close(of(found, "loss/"), of(expected, "loss/"), ROUNDED)
        close(of(found, "loss/", False), of(expected, "loss/", False), EXACT)


def test_running_statistics_are_those_of_all_micro_batches(two: RankProcesses) -> None:
    expected = rank_tasks.step(ALONE, images="batch norm", micro_batch_size=5, least=None)
    assert any("running_mean" in name for name in expected)
    for found in two("step", images="batch norm", micro_batch_size=5):
        close(found, expected, EXACT)


@pytest.mark.parametrize(("images", "micro_batch_size"), [("plain", 12), ("plain", 5), ("batch norm", 5)])
def test_sharded_towers_get_the_gradients_of_whole_ones(two: RankProcesses, images: str, micro_batch_size: int) -> None:
    """Also where a rank has fewer micro-batches than the other, or none, and has to keep step."""
    given: dict[str, Any] = {"images": images, "micro_batch_size": micro_batch_size}
    expected = rank_tasks.step(ALONE, **given, least=None)
    everything = sum(parameter.numel() for parameter in rank_tasks.towers(images).parameters())
    for found in two("step", **given, sharded=True):
        assert found.pop("held") <= 0.75 * everything
        close(found, expected, EXACT)


@pytest.mark.parametrize("images", rank_tasks.IMAGES)
@SIZES
def test_any_number_of_ranks_gives_the_same_bits(size: str, images: str, request: pytest.FixtureRequest) -> None:
    """Dropped patches, running statistics, a decoder's tasks and all."""
    given: dict[str, Any] = {"images": images, "decoder": True, "least": 4, "micro_batch_size": 3}
    if images == "batch norm":
        given["micro_batch_size"] = 5  # of one image there is no variance
    expected = rank_tasks.step(ALONE, **given)
    for found in request.getfixturevalue(size)("step", **given):
        equal(found, expected)


# ------------------------------------------------------------------------------------------------ runs


def test_a_run_is_the_same_on_any_number_of_ranks_and_goes_on_with_another(two: RankProcesses, tmp_path: Path) -> None:
    given = {"micro_batch_size": 4}
    one = rank_tasks.run(ALONE, str(tmp_path / "one"), **given)
    equal(two("run", folder=str(tmp_path / "two"), **given)[0], one)
    halted = str(tmp_path / "halted")
    two("run", folder=halted, halt_after=3, **given)
    rest = rank_tasks.run(ALONE, halted, halt_after=5, **given, parallel="auto")
    assert torch.equal(rest["losses"], one["losses"][3:5])
    last = two("run", folder=halted, **given)
    assert torch.equal(last[0]["losses"], one["losses"][5:])
    for found in last:
        equal({k: v for k, v in found.items() if k != "losses"}, {k: v for k, v in one.items() if k != "losses"})


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_sharded_weights_learn_what_whole_ones_do(two: RankProcesses, tmp_path: Path, optimizer: str) -> None:
    """Muon sees whole matrices; a checkpoint of parts is one of the whole, which any number of ranks goes on from."""
    given = {"micro_batch_size": 4, "optimizer": optimizer}
    one = rank_tasks.run(ALONE, str(tmp_path / "one"), **given)
    close(two("run", folder=str(tmp_path / "two"), parallel="fsdp", **given)[0], one, 1e-6)
    halted = str(tmp_path / "halted")
    two("run", folder=halted, halt_after=3, parallel="fsdp", **given)
    two("run", folder=halted, halt_after=5, parallel="ddp", **given)
    two("run", folder=halted, halt_after=6, parallel="fsdp", **given)
    last = rank_tasks.run(ALONE, halted, parallel="auto", **given)
    close({**last, "losses": one["losses"]}, one, 1e-6)
    assert torch.allclose(last["losses"], one["losses"][6:], rtol=1e-6)


def test_a_decoder_is_not_sharded_and_says_so() -> None:
    written, _ = decoder_and_targets(batch_of())
    with pytest.raises(UserError, match="trains no decoder yet; use training.parallel=ddp"):
        Learner(rank_tasks.towers("plain"), written).sharded(ALONE, torch.float32)


def test_all_ranks_stop_on_the_same_broken_rows_and_name_them(two: RankProcesses, tmp_path: Path) -> None:
    two.start("run", folder=str(tmp_path), broken=2)
    said = [answer.strip().splitlines()[-1] for answer in two.answers()]
    assert said[0] == said[1]
    assert "the loss was not finite in 3 steps in a row (last: step 5, rows " in said[0]
    assert "with embeddings that are not finite" in said[0]


@SIZES
def test_what_ranks_exchange(size: str, request: pytest.FixtureRequest) -> None:
    processes: RankProcesses = request.getfixturevalue(size)
    everyone = processes("exchanges")
    for found in everyone:
        equal(found, everyone[0])
    own = {
        length: [
            torch.randn(length, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)
            for rank in range(processes.size)
        ]
        for length in (1, 5, 64)
    }
    for length, parts in own.items():
        pairs = [parts[0] + parts[1]] if processes.size == 2 else [parts[0] + parts[1], parts[2] + parts[3]]
        assert torch.equal(everyone[0][f"sum/{length}"], pairs[0] if len(pairs) == 1 else pairs[0] + pairs[1])
    assert everyone[0]["rows"][:, 0].tolist() == [rank for rank in range(processes.size) for _ in range(3 * rank)]
    assert everyone[0]["any"].tolist() == [True, False]
    assert everyone[0]["plain"].tolist() == [1, 2, 3]
    assert everyone[0]["mask"].tolist() == [True, False]


# ------------------------------------------------------------------------------------------------ shares


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("least", [8, 16])
def test_every_micro_batch_has_one_rank_and_the_cut_does_not_depend_on_them(ranks: int, least: int) -> None:
    for items in (1, 5, 16, 97, 256):
        shares = [Share(rank, ranks, least) for rank in range(ranks)]
        size = shares[0].cut(items, 20)
        assert size == Share(0, 1, least).cut(items, 20) <= 20
        count = -(-items // size)
        owners = [share.own(count) for share in shares]
        assert [sum(column) for column in zip(*owners, strict=True)] == [1] * count
        most = max(map(sum, owners))
        assert most <= -(-count // ranks) + 1
        assert shares[0].counts([1] * count) == list(map(sum, owners))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_together_see_what_one_sees_over_two_epochs(ranks: int, workers: int) -> None:
    """Every row once an epoch, every micro-batch at one rank, with the same shifts, mirrors and left out tokens."""
    tower = rank_tasks.towers("plain")
    steps, rows = 6, []
    streams = [
        rank_tasks.batches(tower, 4).shared(Share(rank, size, 4), ALONE).stream(0, steps, workers if size > 1 else 0)
        for size in (1, ranks)
        for rank in range(size)
    ]
    for whole, *shared in zip(*streams, strict=True):
        rows += whole.row_B.tolist()
        for name, one in whole.parts.items():
            parts = [batch.parts[name] for batch in shared]
            assert all(part.sizes == one.sizes and torch.equal(part.item_B, one.item_B) for part in parts)
            for place, expected in enumerate(one.inputs):
                (made,) = [part.inputs[place] for part in parts if part.inputs[place] is not None]
                for field in ("images_B3SS",) if name == "image" else ("ids_BT", "mask_BT"):
                    assert torch.equal(getattr(made, field), getattr(expected, field))
    assert sorted(rows) == sorted([*range(48)] * 2)


@pytest.mark.parametrize("bad", [[], [3, 11, 30]])
def test_ranks_decode_each_its_part_and_agree_on_what_cannot_be_used(
    two: RankProcesses, bad: list[int], tmp_path: Path
) -> None:
    expected = rank_tasks.on_demand(ALONE, str(tmp_path / "alone"), bad)
    found = two("on_demand", cache=str(tmp_path), bad=bad)
    for one in found:
        equal(of(one, "rows/"), of(expected, "rows/"))
        assert one["set_aside"].tolist() == bad
    images = [of(one, "images/") for one in found]
    assert not images[0].keys() & images[1].keys()
    equal(images[0] | images[1], of(expected, "images/"))


def test_an_item_is_decoded_by_one_rank_in_an_epoch(two: RankProcesses, tmp_path: Path) -> None:
    found = two("on_demand", cache=str(tmp_path), bad=[], steps=3)
    assert sum(int(one["decoded"]) for one in found) == 48
