"""Packed tables are read like plain ones, whatever packed them; what is cut, damaged or a bomb is one sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cospace.data.pairs import open_pairs
from cospace.data.sources import _packed
from cospace.types import UserError


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd,
}  # fmt: skip
ROWS = [{"image": f"{number}.png", "caption": f"a thing, number {number}"} for number in range(3)]
TABLES = {
    "t.csv": "image,caption\n" + "".join(f'{row["image"]},"{row["caption"]}"\n' for row in ROWS),
    "t.tsv": "image\tcaption\n" + "".join(f"{row['image']}\t{row['caption']}\n" for row in ROWS),
    "t.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "t.json": json.dumps(ROWS),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, row in enumerate(ROWS):
        (tmp_path / row["image"]).write_bytes(bytes([number]))
    return tmp_path


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", TABLES)
def test_a_packed_table_gives_the_rows_of_the_plain_one(folder: Path, name: str, suffix: str) -> None:
    (folder / name).write_text(TABLES[name])
    (folder / f"{name}{suffix}").write_bytes(PACKERS[suffix](TABLES[name].encode()))
    plain, packed = open_pairs(folder / name), open_pairs(folder / f"{name}{suffix}")
    assert (packed.ids, packed.items, packed.problems) == (plain.ids, plain.items, [])
    assert packed.items["text"] == [row["caption"] for row in ROWS]
    (folder / name).unlink()
    if name != "t.json":
        assert open_pairs(folder).items == packed.items, "in a folder too"


def test_in_capitals_in_several_parts_and_unpacked_by_the_browser(folder: Path) -> None:
    head, tail = (TABLES["t.csv"][:25].encode(), TABLES["t.csv"][25:].encode())
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (folder / "t.CSV.GZ").write_bytes(pack(head) + pack(tail))
        assert open_pairs(folder / "t.CSV.GZ").items["text"] == [row["caption"] for row in ROWS]
    (folder / "u.csv.gz").write_text(TABLES["t.csv"])
    assert len(open_pairs(folder / "u.csv.gz")) == 3
    (folder / "u.csv").write_bytes(gzip.compress(TABLES["t.csv"].encode()))
    assert len(open_pairs(folder / "u.csv")) == 3


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_cut_or_damaged_is_one_sentence(folder: Path, suffix: str) -> None:
    text = TABLES["t.csv"] + "".join(f"0.png,{hash((7, n)):x}\n" for n in range(2000))
    data, path = PACKERS[suffix](text.encode()), folder / f"t.csv{suffix}"
    cut = [data[: len(data) // 2], data[:-3]]
    damaged = [data[:100] + bytes(60) + data[160:]] if suffix != ".zst" else []  # whose checksum is left to the writer
    for wrong in (*cut, *damaged):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match="damaged or cut short") as caught:
            open_pairs(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", PACKERS)
def test_bombs_do_not_go_off(folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packed, "LEAST_BOUND", 1 << 18)
    bomb = PACKERS[suffix](bytes(1 << 24))
    (folder / f"t.csv{suffix}").write_bytes(bomb)
    with pytest.raises(UserError, match="unpacks to more than"):
        open_pairs(folder / f"t.csv{suffix}")


def test_packed_parquet_and_json_in_a_folder_say_what_to_do(folder: Path) -> None:
    (folder / "t.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(UserError, match="unpack it and name what comes out"):
        open_pairs(folder / "t.parquet.gz")
    (folder / "t.parquet.gz").unlink()
    (folder / "t.json.gz").write_bytes(gzip.compress(TABLES["t.json"].encode()))
    (folder / "metadata.csv.gz").write_bytes(gzip.compress(TABLES["t.csv"].encode()))
    (folder / "other.csv").write_text(TABLES["t.csv"])
    found = open_pairs(folder)
    assert len(found) == 3
    assert {left.name for left in found.left_alone} == {"t.json.gz", "other.csv"}
    assert "metadata.csv.gz" in found.understood
