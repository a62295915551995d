"""The benchmarks' own arithmetic: turns, ratios, rows, races and arithmetic counts. No peer is needed here."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import frame
import race
from cospace.data.pairs import Pairs, open_pairs
from cospace.types import UserError
from image_files import captions_of, first_rows, some_images, write_images, write_table
from towers import SIZES, TINY, VIT_B32, model_config, settings, space


class Watch:
    """A clock that only moves when somebody works, and who worked in which order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def worker(self, name: str, seconds: list[float]) -> Callable[[], None]:
        left = iter(seconds)

        def work() -> None:
            self.order.append(name)
            self.now += next(left)

        return work


def test_warm_up_is_not_counted_and_the_order_rotates() -> None:
    watch = Watch()
    ours, peers = frame.alternate(
        watch.worker("ours", [9, 1, 2, 4]),
        {"a": watch.worker("a", [8, 2, 6, 8]), "b": watch.worker("b", [8, 3, 3, 3])},
        3,
        watch,
    )
    assert ours == [1, 2, 4] and peers == {"a": [2, 6, 8], "b": [3, 3, 3]}
    assert watch.order == [*("ours", "a", "b"), *("ours", "a", "b"), *("a", "b", "ours"), *("b", "ours", "a")]


def test_a_hopeless_variant_of_a_peer_ends_after_its_warm_up(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    ours, peers = frame.alternate(
        watch.worker("ours", [100, 1]),
        {"slow": watch.worker("slow", [7]), "fast": watch.worker("fast", [2, 2])},
        1,
        watch,
    )
    assert ours == [1] and peers == {"fast": [2]}
    assert "slow, 3.5 times" in capsys.readouterr().out


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A round in which the machine was slow for both says as much as any other."""
    comparison = frame.Comparison(frame.Task("work", 12, "images"), "peer", [1, 10, 2], [4, 30, 10])
    assert comparison.ratios == [4, 3, 5]
    result = comparison.result()
    assert (result.ours, result.peers, result.ratio) == ("6 images/s", "1.2 images/s", "4x (3-5)")
    assert result.rounds == 3


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_the_median_lies_within_its_range(ratios: list[float]) -> None:
    median, low, high = (
        float(text) for text in frame.spread(ratios).replace("x (", " ").strip(")").replace("-", " ").split()
    )
    assert low <= median <= high


def test_rows_are_added_below_one_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "docs" / "benchmarks.md"
    monkeypatch.setattr(
        "sys.argv", ["here/benchmarks/input.py", "--pairs", "/home/me/photos/a.csv", "--table", str(table)]
    )
    result = frame.Result("a|b", "2/s", "peer", "1/s", "2x (2-2)", 3)
    frame.record([result], table)
    frame.record([result], table)
    lines = table.read_text("utf-8").splitlines()
    heads = [line for line in lines if line.startswith("| date")]
    rows = [line for line in lines if line.startswith("| 2")]
    assert len(heads) == 1 and len(rows) == 2
    assert all(row.count("|") == heads[0].count("|") for row in rows)
    assert "`python benchmarks/input.py --pairs photos/a.csv`" in rows[0] and str(tmp_path) not in rows[0]


def test_a_shown_command_names_no_machine() -> None:
    shown = frame.shown(
        ["/home/me/cospace/benchmarks/race.py", "/home/me/e/train.csv", "--table=/home/me/t.md", "--runs", "3"]
    )
    assert shown == "python benchmarks/race.py e/train.csv --runs 3"


def test_arithmetic_of_a_vit_b32() -> None:
    """8.6 GFLOP an image of 49 patches: twice the 4.3 billion multiplications of its matrices and attention."""
    layers = 12 * (49 * 12 * 768**2 + 2 * 49 * 49 * 768)
    assert VIT_B32.image_flops() == 2 * (layers + 49 * 768 * 3 * 32**2)
    assert VIT_B32.text_flops(77) == pytest.approx(2 * 12 * (77 * 12 * 512**2 + 2 * 77 * 77 * 512))


@pytest.mark.parametrize("name", SIZES)
def test_both_sides_have_the_same_towers(name: str) -> None:
    size = SIZES[name]
    chosen, theirs = settings(size), model_config(size)
    image, text = chosen.encoders["image"], chosen.encoders["text"]
    vision, words = theirs["vision_cfg"], theirs["text_cfg"]
    theirs_image = (vision["width"], vision["layers"], vision["patch_size"])
    assert (image["width"], image["depth"], image["patch_size"]) == theirs_image
    assert image["heads"] == vision["width"] // 64, "OpenCLIP's heads are 64 wide"
    assert (text["width"], text["depth"], text["heads"]) == (words["width"], words["layers"], words["heads"])
    assert (chosen.data.image.size, chosen.embed_dim) == (vision["image_size"], theirs["embed_dim"])
    assert image["patch_dropout"] == 0


def test_a_space_of_a_size_has_the_peers_vocabulary_and_no_map_of_zeros() -> None:
    built = space(settings(TINY), ["a red bus", "two dogs in the snow"])
    assert built.encoders["text"].embed.num_embeddings == 49_408
    assert all(bool(parameter.any()) for parameter in built.parameters())
    assert built.embed(text=["a red bus"]).shape == (1, TINY.space)


def test_tables_hold_every_pair_and_existing_images(shapes: Path, tmp_path: Path) -> None:
    pairs = open_pairs(shapes)
    table = write_table(pairs, tmp_path / "out")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["title"] for row in rows] == list(pairs.items["text"])
    assert all(Path(row["filepath"]).is_absolute() and Path(row["filepath"]).is_file() for row in rows)
    assert len(open_pairs(table)) == len(pairs)


def test_drawn_images_become_files_with_the_same_pixels(tmp_path: Path) -> None:
    scenes = first_rows(open_pairs("scenes/heldout"), 4)
    copy = open_pairs(write_table(scenes, tmp_path))
    for drawn, written in zip(scenes.items["image"], copy.items["image"], strict=True):
        assert np.array_equal(drawn.load(), np.asarray(Image.open(written)))


def test_rows_are_chosen_by_image() -> None:
    pairs = open_pairs("scenes/heldout")
    images = len(np.unique(pairs.keys["image"]))
    assert len(np.unique(first_rows(pairs, images).keys["image"])) == images
    few = some_images(pairs, 7)
    assert len(np.unique(few.keys["image"])) == 7 and len(few) > 7
    assert some_images(pairs, images) is pairs
    assert len(set(captions_of(few))) == len(captions_of(few))


def test_made_images_have_the_size_and_the_grain(tmp_path: Path) -> None:
    pairs = first_rows(open_pairs("scenes/heldout"), 2)
    paths = write_images(pairs, tmp_path, 3, (48, 32), ".png")
    pixels = [np.asarray(Image.open(path)).astype(int) for path in paths]
    assert [array.shape for array in pixels] == [(32, 48, 3)] * 3
    assert np.abs(np.diff(pixels[0], axis=1)).mean() > 2, "an enlarged drawing would be smooth"


def course(*points: tuple[float, float]) -> list[race.Point]:
    return [race.Point(seconds, quality) for seconds, quality in points]


def test_quality_grows_in_a_straight_line_between_evaluations() -> None:
    points = course((10, 0.2), (20, 0.6), (30, 0.5), (40, 0.9))
    assert race.reach(points, 0.1) == 10, "nothing is assumed before the first evaluation"
    assert race.reach(points, 0.3) == pytest.approx(12.5)
    assert race.reach(points, 0.6) == 20
    assert race.reach(points, 0.7) == pytest.approx(35), "a dip does not undo what was reached"
    assert race.reach(points, 0.95) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_goal_is_never_reached_sooner(qualities: list[float], one: float, other: float) -> None:
    points = course(*((float(number), quality) for number, quality in enumerate(qualities)))
    low, high = (race.reach(points, goal) for goal in sorted((one, other)))
    assert high is None or (low is not None and low <= high)


def test_evaluations_are_off_the_clock() -> None:
    rows = [
        {"step": 1, "minutes": 0.1},
        {"step": 2, "minutes": 0.2, "val/image_to_text/R@1": 0.4, "val/text_to_image/R@1": 0.6},
    ]
    points = race.points_of(rows, 8.0, lambda metrics: race.quality(metrics, "mean R@1"))
    assert len(points) == 1
    assert (points[0].seconds, points[0].quality) == (pytest.approx(14.0), 0.5)


def test_an_unreached_goal_gives_a_bound_or_nothing() -> None:
    runs = [(course((2, 0.5)), course((5, 0.1), (40, 0.3)))]
    assert race.result("work", "peer", runs, 0.3).ratio == "20x (20-20)"
    bound = race.result("work", "peer", runs, 0.5)
    assert bound.ratio == "above 20x" and bound.peers == "not reached in 40 s"
    assert race.result("work", "peer", runs, 0.8).ratio == "none"


def test_a_process_is_timed_to_its_first_logged_row(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    program = f"import time; time.sleep(0.2); open({str(log)!r}, 'w').write('{{}}\\n'); time.sleep(1)"
    start = time.monotonic()
    first = race.start_and_wait([sys.executable, "-c", program], tmp_path / "out.log", log)
    assert 0.2 <= first <= time.monotonic() - start - 0.9, "the second that follows the row is not in it"
    with pytest.raises(UserError, match="code 3"):
        race.start_and_wait([sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path / "out.log", log)


class Knowing:
    """A peer that knows which file and which caption belong to which image, and shows it in its vectors."""

    def __init__(self, pairs: Pairs) -> None:
        keys = pairs.keys["image"].tolist()
        self.place = {key: place for place, key in enumerate(sorted(set(keys)))}
        self.key_of_text = dict(zip(pairs.items["text"], keys, strict=True))

    def images(self, paths: list[Path], batch: int) -> torch.Tensor:
        return torch.eye(len(self.place))[[self.place[int(path.stem)] for path in paths]]

    def texts(self, texts: list[str], batch: int) -> torch.Tensor:
        return torch.eye(len(self.place))[[self.place[self.key_of_text[text]] for text in texts]]


def test_a_peer_that_knows_everything_scores_one(tmp_path: Path) -> None:
    """Several captions an image, rows out of order: a mix-up here would flatter ours."""
    pairs = some_images(open_pairs("scenes/heldout"), 9)
    pairs = pairs.select(np.random.default_rng(0).permutation(len(pairs)))
    metrics = race.measure(Knowing(pairs), pairs, tmp_path)  # type: ignore[arg-type]
    assert metrics["n_texts"] > metrics["n_images"] == 9
    assert race.quality(metrics, "mean R@1") == 1.0
