"""Tables: captions byte for byte, columns and separators found or asked for, bad rows named by their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cospace.data.pairs import Pairs, open_pairs
from cospace.types import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four different pictures, a.png to d.png, in images/."""
    (tmp_path / "images").mkdir()
    for number, name in enumerate("abcd"):
        Image.new("RGB", (4, 4), (60 * number, 0, 0)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def table(folder: Path, content: str | bytes, name: str = "t.csv", **options: Any) -> Pairs:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return open_pairs(folder / name, **options)


def captions(pairs: Pairs) -> list[str]:
    return list(pairs.items["text"])


HARD = [
    "NA", "null", "None", "nan", "", "  two  spaces ", 'say "hi"', "tab\there", "line\nend", "cr\r\nlf", "1e5",
    "\ufeffbom", "007",
]  # fmt: skip


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_captions_arrive_byte_for_byte(folder: Path, name: str) -> None:
    rows = [("images/a.png", text) for text in HARD]
    if name == "t.jsonl":
        content = "".join(json.dumps({"image": i, "text": t}) + "\n" for i, t in rows).encode()
    elif name == "t.parquet":
        pq.write_table(pa.table({"image": [i for i, _ in rows], "text": [t for _, t in rows]}), folder / name)
        content = (folder / name).read_bytes()
    else:
        separator = "," if name == "t.csv" else "\t"
        quoted = [separator.join([i, '"' + t.replace('"', '""') + '"']) for i, t in rows]
        content = "\r\n".join([separator.join(["image", "text"]), *quoted]).encode()
    pairs = table(folder, content, name)
    assert captions(pairs) == [text for text in HARD if text]
    assert [problem.kind for problem in pairs.problems] == ["empty caption"]


def test_rows_are_called_by_their_files_and_paths_are_relative_to_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    pairs = table(folder, 'image,text,tags\nimages/a.png,"one\ntwo",x\nimages/b.png,three,y\n')
    assert list(pairs.ids) == ["images/a.png", "images/b.png"]
    assert list(pairs.places) == ["t.csv:2", "t.csv:4"]
    assert pairs.items["image"][0] == folder / "images/a.png"
    assert pairs.extras == {"tags": ["x", "y"]}
    assert pairs[1].extras == {"tags": "y"}
    assert pairs[1].items["text"] == "three"


def test_a_byte_order_mark_belongs_to_the_file(folder: Path) -> None:
    pairs = table(folder, b"\xef\xbb\xbfimage,text\nimages/a.png,x\n")
    assert captions(pairs) == ["x"]
    assert not pairs.extras


def test_bad_rows_are_named_and_the_others_stay(folder: Path) -> None:
    content = (
        b"image,text\nimages/a.png,good\nimages/none.png,lost\nimages/b.png,\nimages/c.png,caf\xe9\n"
        b'images/d.png,"open\nimages/a.png,three,fields\n,no picture\nimages/b.png,last\n'
    )
    pairs = table(folder, content)
    assert captions(pairs) == ["good", "last"]
    assert {problem.id: problem.kind for problem in pairs.problems} == {
        "t.csv:3": "missing",
        "t.csv:4": "empty caption",
        "t.csv:5": "invalid utf-8",
        "t.csv:6": "unbalanced quote",
        "t.csv:7": "wrong number of fields",
        "t.csv:8": "missing",
    }
    assert all(problem.reason for problem in pairs.problems)


def test_a_quote_does_not_swallow_the_next_row(folder: Path) -> None:
    pairs = table(folder, 'image,text\nimages/a.png,"five inches\nimages/b.png,5"\nimages/c.png,fine\n')
    assert captions(pairs) == ['5"', "fine"]
    assert [(p.id, p.kind) for p in pairs.problems] == [("t.csv:2", "unbalanced quote")]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_separators_are_sniffed(folder: Path, separator: str, name: str) -> None:
    rows = [["image", "text"], ["images/a.png", "a cat"], ["images/b.png", "a dog"]]
    pairs = table(folder, "\n".join(map(separator.join, rows)), name)
    assert captions(pairs) == ["a cat", "a dog"]


def test_a_caption_full_of_other_separators_does_not_mislead(folder: Path) -> None:
    pairs = table(folder, "image;text\nimages/a.png;red, green, blue\nimages/b.png;a, b, c, d\n")
    assert captions(pairs) == ["red, green, blue", "a, b, c, d"]


@pytest.mark.parametrize("given", ["tab", "\\t", "\t"])
def test_a_separator_can_be_named(folder: Path, given: str) -> None:
    assert captions(table(folder, "image\ttext\nimages/a.png\ta, b\n", separator=given)) == ["a, b"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("filepath,title", "x y"),
        ("IMAGE,Caption", "x y"),
        ("foo,bar", "x y"),
        ("url,alt text", "x y"),
    ],
)
def test_columns_are_sniffed(folder: Path, header: str, expected: str) -> None:
    assert captions(table(folder, f"{header}\nimages/a.png,{expected}\n")) == [expected]


def test_columns_are_sniffed_by_content(folder: Path) -> None:
    pairs = table(folder, "n,where,what,code\n1,images/a.png,a big red bus,x9\n2,images/b.png,a small cat,y8\n")
    assert captions(pairs) == ["a big red bus", "a small cat"]
    assert set(pairs.extras) == {"n", "code"}


def test_columns_can_be_named(folder: Path) -> None:
    content = "image,text,tags\nimages/a.png,long,short\n"
    assert captions(table(folder, content, columns={"image": "image", "text": "tags"})) == ["short"]
    assert captions(table(folder, content, columns={"text": "tags"})) == ["short"]


def test_another_modality_is_files_too(folder: Path) -> None:
    (folder / "a.wav").write_bytes(b"sound")
    pairs = table(folder, "audio,text\na.wav,zero\n", columns={"audio": "audio"})
    assert pairs.items["audio"] == [folder / "a.wav"]
    assert captions(pairs) == ["zero"]


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("one,two\nx,y\n", {}, ["'one'", "'two'", "--columns", "--separator"]),
        ("image,text\nimages/a.png,x\n", {"columns": {"text": "txt"}}, ["'txt'", "'text'", "image"]),
        ("image,a,b\nimages/a.png,x y z,u v w\n", {}, ["caption", "'a'", "'b'"]),
        ("image,text,text\nimages/a.png,x,y\n", {}, ["more than one", "'text'"]),
        ("image,text\n", {}, ["no pairs"]),
        ("", {}, ["empty"]),
        ('"image,text\nimages/a.png,x\n', {}, ["line 1", "quote"]),
        ("image,text\nimages/a.png,x\n", {"separator": "ab"}, ["separator", "tab"]),
    ],
)
def test_errors_say_what_to_type(folder: Path, content: str, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        table(folder, content, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_other_files_are_refused_in_one_sentence(folder: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_pairs(folder / "none.csv")
    with pytest.raises(UserError, match="parquet"):
        table(folder, b"PAR1 not really", "t.parquet")
    with pytest.raises(UserError, match="JSON"):
        table(folder, b"not json\n", "t.jsonl")


def test_jsonl_rows_that_are_no_pairs(folder: Path) -> None:
    good = json.dumps({"image": "images/a.png", "text": "x", "n": 3, "tags": ["u"]})
    lines = [good, "{broken", "[1]", json.dumps({"image": "images/b.png", "text": 5}), "", '{"text": "no picture"}']
    pairs = table(folder, "\n".join(lines), "t.jsonl")
    assert pairs.items["text"] == ["x", "5"], "as a csv file would have it"
    assert pairs.extras == {"n": ["3", ""], "tags": ['["u"]', ""]}
    kinds = {problem.id: problem.kind for problem in pairs.problems}
    assert kinds == {
        "t.jsonl:2": "invalid json",
        "t.jsonl:3": "invalid json",
        "t.jsonl:6": "missing",
    }


def test_parquet_with_pictures_inside_and_class_numbers(folder: Path) -> None:
    data = (folder / "images/a.png").read_bytes()
    note = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    content = pa.table(
        {
            "image": pa.array([{"bytes": data, "path": None}, {"bytes": None, "path": "images/b.png"}]),
            "text": ["inside", "outside"],
            "label": pa.array([1, 0]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps(note)})
    pq.write_table(content, folder / "t.parquet")
    pairs = open_pairs(folder / "t.parquet")
    assert list(pairs.items["image"]) == [data, folder / "images/b.png"]
    assert pairs.extras == {"label": ["dog", "cat"]}
    pq.write_table(pa.table({"image": [data], "text": ["x"]}), folder / "plain.parquet")
    assert open_pairs(folder / "plain.parquet").items["image"] == [data]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_any_caption_survives_a_quoted_field(folder: Path, texts: list[str]) -> None:
    rows = ['images/a.png,"' + text.replace('"', '""') + '"\n' for text in texts]
    assert captions(table(folder, "image,text\n" + "".join(rows))) == texts


def test_a_large_table_is_read_quickly(folder: Path) -> None:
    content = "image,text\n" + "".join(f'images/{"abcd"[i % 4]}.png,"caption, number {i}"\n' for i in range(20_000))
    pairs = table(folder, content)
    assert len(pairs) == 20_000
    assert len(np.unique(pairs.groups)) == 4
