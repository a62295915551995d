"""Tar shards: samples by name, nothing unpacked or executed, and no quiet loss when an archive is cut."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.data.pairs import open_pairs
from cospace.data.sources._archive import entries
from cospace.data.sources.tar import Member, expand
from cospace.types import UserError


def png(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=150)


@settings(max_examples=60)
@given(
    st.dictionaries(NAME, st.binary(max_size=1500), max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_entries_are_those_of_the_standard_library(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], kind: int
) -> None:
    path = write(tmp_path_factory.mktemp("tar") / "a.tar", members, kind)
    with tarfile.open(path) as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive.getmembers()]
    assert [tuple(entry) for entry in entries(path)] == expected
    assert [Member(str(path), entry.offset, entry.size).load() for entry in entries(path)] == list(members.values())


def test_names_in_the_posix_prefix_and_other_kinds_of_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, kind in {
            "d": tarfile.DIRTYPE,
            f"{'x' * 90}/{'y' * 90}.png": tarfile.REGTYPE,
            "l": tarfile.SYMTYPE,
        }.items():
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
    assert [entry.name for entry in entries(tmp_path / "a.tar")] == [f"{'x' * 90}/{'y' * 90}.png"]


def test_members_that_share_a_name_are_a_pair(tmp_path: Path) -> None:
    members = {
        "0.png": png(0),
        "0.txt": b"zero\n",
        "1.txt": b"one \r\ntwo\r\n",  # apart from its picture
        "a/2.webp": png(2),
        "a/2.JSON": json.dumps({"caption": "two", "text": "no"}).encode(),
        "1.png": png(1),
        "1.pkl": b"cos\nabort\n.",
        "3.png": png(3),
        "3.json": b'{"text": "three"}',
        "3.seg.png": png(9),
    }
    pairs = open_pairs(write(tmp_path / "s.tar", members))
    assert list(pairs.ids) == ["0#1", "1#1", "3#1", "a/2#1"]
    assert pairs.items["text"] == ["zero", "one \r\ntwo", "three", "two"]
    assert [item.load() for item in pairs.items["image"]] == [png(0), png(1), png(3), png(2)]
    assert pickle.loads(pickle.dumps(pairs.items["image"][0])) == pairs.items["image"][0]
    assert not pairs.problems


def test_what_is_not_certain_is_a_problem(tmp_path: Path) -> None:
    members = [("0.png", png(0)), ("0.txt", b"zero"), ("1.png", png(1)), ("2.txt", b"two")]
    members += [("3.png", png(3)), ("3.txt", b"three"), ("3.png", png(4)), ("4.png", png(5)), ("4.txt", b"\xff")]
    pairs = open_pairs(write(tmp_path / "s.tar", members))
    assert list(pairs.ids) == ["0#1"]
    kinds = {problem.id: problem.kind for problem in pairs.problems}
    assert kinds == {
        "1": "missing caption",
        "2": "missing file",
        "3": "duplicate name",
        "4#1": "invalid utf-8",
    }


def test_class_folders_in_a_tar(tmp_path: Path) -> None:
    members = {"./train/cat/0.a.png": png(0), "train/polar_bear/0.png": png(1), "train/._x.png": b"junk"}
    pairs = open_pairs(write(tmp_path / "s.tar", members))
    assert list(pairs.ids) == ["train/cat/0.a.png", "train/polar_bear/0.png"]
    assert pairs.items["text"] == ["cat", "polar bear"]
    assert pairs.extras["label"] == ["cat", "polar_bear"]


@pytest.mark.parametrize("spec", ["", "/s-{00..01}.tar", "/s-{00,01}.tar", "/s-*.tar"])
def test_shards_are_read_together(tmp_path: Path, spec: str) -> None:
    for number in range(2):
        write(tmp_path / f"s-0{number}.tar", {"x.png": png(number), "x.txt": f"text {number}".encode()})
    pairs = open_pairs(f"{tmp_path}{spec}")
    assert list(pairs.ids) == ["s-00.tar/x#1", "s-01.tar/x#1"]
    assert pairs.items["text"] == ["text 0", "text 1"]


def test_braces_keep_their_width() -> None:
    assert expand("a{08..10}b") == ["a08b", "a09b", "a10b"]
    assert expand("{x,y}-{1..2}.tar") == ["x-1.tar", "x-2.tar", "y-1.tar", "y-2.tar"]


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "s.tar", {f"{i}.png": png(i) for i in range(3)}).read_bytes()
    last = len(whole.rstrip(b"\0"))
    end = -(-last // 512) * 512
    for size in [0, 1, 511, 512, 700, *range(1024, end + 1, 512), last - 1]:
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut\.tar is cut short"):
            open_pairs(tmp_path / "cut.tar")
    (tmp_path / "cut.tar").write_bytes(whole[: end + 512])
    assert len(open_pairs(tmp_path / "cut.tar")) == 3


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"not a tar" * 200)
    with pytest.raises(UserError, match="not a tar archive"):
        open_pairs(tmp_path / "a.tar")
    with pytest.raises(UserError, match="does not exist"):
        open_pairs(tmp_path / "s-{0..1}.tar")
    damaged = bytearray(write(tmp_path / "b.tar", {"0.png": png(0), "1.png": png(1)}).read_bytes())
    damaged[1024 + 3] ^= 1
    (tmp_path / "b.tar").write_bytes(damaged)
    with pytest.raises(UserError, match="damaged at byte 1024"):
        open_pairs(tmp_path / "b.tar")


def test_a_shard_that_shrinks_later_is_an_error(tmp_path: Path) -> None:
    pairs = open_pairs(write(tmp_path / "s.tar", {"0.png": png(0)}))
    (tmp_path / "s.tar").write_bytes(b"")
    with pytest.raises(OSError, match="shorter"):
        pairs.items["image"][0].load()
