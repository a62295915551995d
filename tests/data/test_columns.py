"""Columns on disk give back what lists have, and rows read through them are the same rows."""

from __future__ import annotations

import copy
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import write_shapes
from cospace import arrays, columns
from cospace.columns import Column, ColumnWriter, Taken, column_of, taken
from cospace.data import contents, keys
from cospace.data.check import check
from cospace.data.keys import ABSENT, encode
from cospace.data.pairs import Pairs, open_pairs
from cospace.data.sources import ReadOptions, _delimited, _records, _text_files
from cospace.data.sources._delimited import records
from cospace.data.sources.tar import Member
from cospace.types import Fault, UserError

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates too: bytes that were no UTF-8
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda one: st.lists(one, max_size=3), max_leaves=4
)
VALUES = st.one_of(
    TEXTS,
    st.none(),
    st.binary(max_size=9),
    st.builds(Path, st.text("abc/\udcff. ", min_size=1)),
    st.builds(Fault, TEXTS, TEXTS),
    st.builds(Member, st.text("ab"), st.integers(0, 9), st.integers(0, 9)),
    st.floats(allow_nan=False),
    JSON,
)


@pytest.fixture
def long_from_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of more than two values lie on disk, in blocks of two; large files are read in small pieces."""
    monkeypatch.setattr(columns, "SHORT", 2)
    monkeypatch.setattr(columns, "BLOCK", 2)
    monkeypatch.setattr(arrays, "LARGE", 1)
    monkeypatch.setattr(arrays, "TOGETHER", 5)
    monkeypatch.setattr(keys, "_BLOCK", 4)
    monkeypatch.setattr(contents, "_BLOCK", 3)
    monkeypatch.setattr(contents, "_REMEMBERED", 4)
    monkeypatch.setattr(_records, "_RUN", 3)
    monkeypatch.setattr(_records, "_MOST_RUNS", 2)
    monkeypatch.setattr(_text_files, "SMALL", 8)
    monkeypatch.setattr(_text_files, "PIECE", 7)


@given(st.lists(VALUES, min_size=3, max_size=11), st.data())
def test_a_long_column_gives_back_what_it_was_given(values: list[Any], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "SHORT", 2)
        patch.setattr(columns, "BLOCK", 2)
        column = column_of(iter(values))
        assert isinstance(column, Column)
        rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=9)), np.int64)
        chosen = taken(column, rows)
        for read in (list(column), [column[row] for row in range(len(values))], column[:], column[-len(values) :]):
            assert [(type(one), one) for one in read] == [(type(one), one) for one in values]
        assert list(chosen) == [chosen[row] for row in range(len(rows))] == [values[row] for row in rows]
        assert column == values
        assert list(taken(chosen, np.arange(len(rows))[::-1])) == [values[row] for row in rows[::-1]]


def test_what_no_file_holds_is_kept(long_from_three: None) -> None:
    drawn = np.zeros((2, 2))
    column = column_of(["a", drawn, "b"])
    assert column[1] is drawn
    assert list(column)[1] is drawn


def test_nothing_is_left_of_a_column(long_from_three: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    column = column_of("abcdef")
    assert copy.copy(column) == list(column) == list("abcdef")
    assert os.listdir(tmp_path / "cospace" / "columns") == [], "its file has no name, so no kill leaves it behind"


def test_what_a_kill_left_half_written_goes_after_a_day(
    long_from_three: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "cospace" / "columns"
    folder.mkdir(parents=True)
    for name, days in (("old.arrow", 2), ("young.arrow", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - days * columns.DAY,) * 2)
    column_of("abcdef")
    assert os.listdir(folder) == ["young.arrow"], "which another process may be writing"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to the superuser")
def test_a_cache_that_cannot_be_written_is_named(
    long_from_three: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        column_of("abcdef")


def test_a_cache_that_is_no_folder_is_named(
    long_from_three: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cospace").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        column_of("abcdef")


def test_a_short_column_is_the_list() -> None:
    assert column_of(iter("abc")) == ["a", "b", "c"]
    writer = ColumnWriter()
    writer.append("a")
    assert writer.finish() == ["a"]


@given(st.lists(st.none() | st.text("ab", max_size=3), max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_hashes_number_values_as_a_dictionary_does(values: list[str | None], block: int, together: int) -> None:
    codes: dict[str, int] = {}
    expected = [ABSENT if value is None else codes.setdefault(value, len(codes)) for value in values]
    assert encode(values).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "SHORT", 0)
        patch.setattr(arrays, "LARGE", 8)
        patch.setattr(arrays, "TOGETHER", together)
        patch.setattr(keys, "_BLOCK", block)
        made = encode(values)
        assert made.tolist() == expected
        assert keys.first_rows(made).tolist() == [expected.index(code) for code in range(len(codes))]


FIELD = st.text('ab", \n\r', max_size=6)


@given(st.lists(st.lists(FIELD, min_size=1, max_size=3), max_size=5), st.booleans(), st.data())
def test_a_text_in_pieces_has_the_same_records(rows: list[list[str]], quoted: bool, data: st.DataObject) -> None:
    def written(field: str) -> str:
        return '"' + field.replace('"', '""') + '"' if quoted else field

    text = "".join(",".join(map(written, row)) + "\n" for row in rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert list(records(pieces, ",")) == list(records(text, ","))


def _equal(one: Pairs, two: Pairs) -> None:
    assert one.fingerprint == two.fingerprint
    assert list(one.ids) == list(two.ids)
    assert list(one.places) == list(two.places)
    for name in ("items", "contents", "extras", "names"):
        left, right = getattr(one, name), getattr(two, name)
        assert {key: list(column) for key, column in left.items()} == {key: list(v) for key, v in right.items()}
    for name in one.keys:
        np.testing.assert_array_equal(one.keys[name], two.keys[name])
    assert one.problems == two.problems
    assert list(one.left_alone) == list(two.left_alone)
    assert one.understood == two.understood
    np.testing.assert_array_equal(one.groups, two.groups)


def damaged(folder: Path) -> list[Path]:
    """Tables with everything that a long reading must treat as a short one does."""
    table = write_shapes(folder, copies=3)
    lines = table.read_text(encoding="utf-8").split("\n")
    lines[3] = lines[2]  # a row twice
    lines[5] = lines[5].replace(".png", ".gif")  # a file that is missing
    lines[7] = f'{lines[7].split(",")[0]},"two\nlines, and a ""quote"""'
    lines.insert(9, 'images/red-circle-0.png,"never closed')
    lines.insert(11, "images/red-circle-0.png,too,many,fields")
    lines[13] = f"{lines[13].split(',')[0]},caf\udce9"  # Latin-1 among UTF-8
    lines[15] = f"{lines[15].split(',')[0]},"
    text = "\n".join(lines)
    (folder / "damaged.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    (folder / "windows.tsv").write_bytes(text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16", "ignore"))
    objects = [f'{{"image": "images/red-circle-{n}.png", "text": ["one {n}", "two {n}"]}}' for n in range(3)]
    (folder / "several.jsonl").write_text("\n".join([*objects, "no json", '{"image": "gone.png", "other": 1.5}']))
    return [folder / "damaged.csv", folder / "windows.tsv", folder / "several.jsonl", folder / "images"]


def test_long_inputs_are_read_as_short_ones_are(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: list[Any] = damaged(tmp_path)
    specs += [specs[:2]]
    short = [open_pairs(spec) for spec in specs]
    request.getfixturevalue("long_from_three")
    long = [open_pairs(spec) for spec in specs]
    assert isinstance(long[0].ids, Column | Taken)
    for one, two in zip(short, long, strict=True):
        _equal(one, two)
        _equal(one.select(range(0, len(one), 2)), two.select(range(0, len(two), 2)))
        assert two.counts() == one.counts()


def folders(folder: Path) -> list[Path]:
    """A folder of files with captions beside most of them and much else, one of classes, and shards of the first."""
    files, classes, shards = folder / "files", folder / "classes", folder / "shards"
    for name in ("a/1.png", "a/2.png", "a/2.wav", "b/3.png", "b/4.png", "b/4.jpg", "b/5.png", "z.png"):
        for place in (files / name, classes / "x" / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(name.encode())
    captions = {
        "a/1.txt": "one\ntwo", "a/1.json": '{"caption": "not read"}', "a/2.caption": "three", "b/3.png.txt": "four",
        "b/4.txt": "of two files", "b/5.json": '{"text": ["five", "six"]}', "c/6.txt": "no file", "b/7.json": "{}",
        "b/8.psd": "", "b/9.xyz": "", "loose.txt": "a,b",
    }  # fmt: skip
    for name, text in captions.items():
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).write_text(text)
    shards.mkdir()
    for number, part in enumerate("ab"):
        with tarfile.open(shards / f"{number}.tar", "w") as shard:
            shard.add(files / part, ".")
    (shards / "stats.json").write_text("{}")
    return [files, classes, shards]


@pytest.mark.parametrize("options", [ReadOptions(), ReadOptions(pairs=False), ReadOptions(form="files", pairs=False)])
def test_long_listings_are_read_as_short_ones_are(
    options: ReadOptions, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    specs = folders(tmp_path)[: 2 if options.form else 3]
    short = [open_pairs(spec, options=options) for spec in specs]
    assert [len(pairs) for pairs in short if options == ReadOptions()] in ([], [6, 1, 3])
    request.getfixturevalue("long_from_three")
    for spec, pairs in zip(specs, short, strict=True):
        _equal(pairs, open_pairs(spec, options=options))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_line_without_an_end_is_refused(
    name: str, long_from_three: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delimited, "LONGEST_LINE", 100)
    (tmp_path / name).write_text("image,text\n" + "x" * 1000)
    with pytest.raises(UserError, match=r"cannot be read: .*more than 100 letters"):
        open_pairs(tmp_path / name)


def test_long_inputs_are_checked_as_short_ones_are(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    table, *_ = damaged(tmp_path)
    short = check(open_pairs(table), val=open_pairs(write_shapes(tmp_path, copies=1, name="val.csv")))
    written = {path.name: path.read_bytes() for path in short.write(tmp_path / "short").parent.iterdir()}
    request.getfixturevalue("long_from_three")
    long = check(open_pairs(table), val=open_pairs(tmp_path / "val.csv"))
    assert long.to_json() == short.to_json()
    assert long.to_text() == short.to_text()
    assert {path.name: path.read_bytes() for path in long.write(tmp_path / "long").parent.iterdir()} == {
        name: data.replace(b"short", b"long") for name, data in written.items()
    }
