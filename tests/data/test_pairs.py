"""What holds for pairs from anywhere: groups, keys, fingerprints, rows set aside, and finding the source."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cospace.data.contents import contents
from cospace.data.keys import ABSENT, encode
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.sources import Rows
from cospace.types import Problem, UserError


@dataclass(frozen=True, slots=True)
class Drawing:
    name: str

    def load(self) -> np.ndarray:
        raise AssertionError("listing must not draw")

    def key(self) -> str:
        return self.name


def pairs_of(*rows: tuple[str, str]) -> Pairs:
    items = {"image": [Drawing(image) for image, _ in rows], "text": [text for _, text in rows]}
    return build("test", Rows([f"r{i}" for i in range(len(rows))], items, {"n": [str(i) for i in range(len(rows))]}))


def test_codes_count_from_zero_in_order() -> None:
    assert encode(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert encode(["b", None, "b", "c"]).tolist() == [0, ABSENT, 0, 1]


def test_groups_join_pictures_and_captions_transitively() -> None:
    pairs = pairs_of(("p", "A cat"), ("p", "two cats"), ("q", "a  CAT "), ("r", "a dog"), ("q", "third"))
    assert pairs.groups.tolist() == [0, 0, 0, 1, 0]
    assert pairs.keys["image"].tolist() == [0, 0, 1, 2, 1]
    assert pairs.keys["text"].tolist() == [0, 1, 2, 3, 4]  # exact texts differ where normalised ones agree


def test_matches_are_what_some_row_pairs_and_nothing_beyond() -> None:
    pairs = pairs_of(("p", "A cat"), ("p", "two cats"), ("q", "a  CAT "), ("r", "a dog"), ("q", "third"))
    rows = np.arange(5)
    expected = [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0], [1, 0, 1, 0, 1]]
    assert pairs.matches.between("image", "text", rows, rows).dense().int().tolist() == expected
    kept = pairs.select([3, 1, 4]).matches
    assert kept.between("image", "text", np.arange(3), np.arange(3)).dense().int().tolist() == np.eye(3).tolist()


def test_equal_bytes_are_one_picture_whatever_they_come_from(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data)
    grey = np.zeros((3, 3), np.uint8)
    images = [tmp_path / "a.png", tmp_path / "b.png", data, grey, grey.copy(), Image.new("L", (3, 3))]
    pairs = build("test", Rows(list("abcdef"), {"image": images}))
    assert pairs.keys["image"].tolist() == [0, 0, 0, 1, 1, 2]


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    first = pairs_of(("p", "x"), ("q", "y"))
    assert first.fingerprint == pairs_of(("p", "x"), ("q", "y")).fingerprint
    others = [pairs_of(("q", "y"), ("p", "x")), pairs_of(("p", "x"), ("q", "z")), pairs_of(("p", "x"))]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_rows_can_be_selected_and_set_aside() -> None:
    pairs = pairs_of(("p", "x"), ("q", "y"), ("p", "z"))
    kept = pairs.without([Problem("r1", "undecodable", "broken")])
    assert list(kept.ids) == ["r0", "r2"]
    assert kept.groups.tolist() == [0, 0]
    assert kept.extras == {"n": ["0", "2"]}
    assert kept.items["text"] == ["x", "z"]
    assert [problem.id for problem in kept.problems] == ["r1"]
    assert kept.fingerprint != pairs.fingerprint
    assert pairs.select(np.array([2, 0])).ids == ["r2", "r0"]
    assert pairs.select(range(3)) is pairs
    assert pairs[2].id == "r2"
    assert pairs.groups[2] == 0
    assert pairs[2].items["text"] == "z"


def test_too_many_bad_rows_stop_the_run() -> None:
    pairs = pairs_of(*((f"p{i}", f"t{i}") for i in range(99)))
    bad = [Problem(f"x{i}", "missing", f"x{i}.png does not exist") for i in range(2)]
    assert len(pairs.without(bad[:1]).stop_above()) == 99  # 1 of 100 is at the limit, not above it
    with pytest.raises(UserError, match=r"2 of 101 rows.*2 missing.*1\.00% allowed.*x0\.png"):
        pairs.without(bad).stop_above()
    assert len(pairs.without(bad).stop_above(0.05)) == 99
    with pytest.raises(UserError, match="1 of 1 rows"):
        pairs_of(("p", "x")).without([Problem("r0", "bomb", "large")]).stop_above(1.0)


def test_unusable_items_become_problems(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    images = [tmp_path / "none.png", tmp_path / "empty.png", None, b"x", b"x"]
    texts = ["a", "b", "c", " ", None]
    pairs = build("test", Rows(list("abcde"), {"image": images, "text": texts}))
    assert len(pairs) == 0
    assert [p.kind for p in pairs.problems] == ["missing", "empty", "missing", "empty caption", "empty caption"]


def test_what_is_accepted_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("?")
    for spec in ("no-such-thing", str(tmp_path / "a.xyz")):
        with pytest.raises(UserError) as caught:
            open_pairs(spec)
        assert all(word in str(caught.value) for word in (spec, ".csv", "folder", "tar", "hf:NAME", "scenes", "glyphs"))


def test_pairs_pass_through() -> None:
    pairs = pairs_of(("p", "x"))
    assert open_pairs(pairs) is pairs


def test_built_in_sets_open_by_name() -> None:
    pairs = open_pairs("scenes/val")
    assert pairs.name == "scenes/val"
    assert len(pairs) > len(np.unique(pairs.groups)) > 100


def test_pairs_need_no_torch() -> None:
    code = (
        "import sys; from cospace.data.pairs import find_source; find_source('a.csv'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lists_of_numbers_are_compared_by_their_values() -> None:
    """A row of measurements is an item of its modality, as a table holds it."""
    found = contents("image", [[1, 2.5], [1, 2.5], [2.5, 1]])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("spelling", [".", "./", "../here"])
def test_the_folder_that_one_is_in_has_its_name(spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "here" / "a.png")
    (tmp_path / "here" / "a.txt").write_text("a picture")
    monkeypatch.chdir(tmp_path / "here")
    assert open_pairs(spelling).name == "here"
