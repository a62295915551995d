"""docs/inputs.md says what is read from where; every cell of it is read here."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import shape_picture
from cospace.data.pairs import open_pairs
from cospace.data.sources import ReadOptions
from cospace.types import UserError
from sounds import encode, tone

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
COUNT = 4
CAPTIONS = [f"a thing called {number}" for number in range(COUNT)]
Write = Callable[[Path, str], Path]
"""Writes one layout of a modality into an empty folder, and returns what a person names."""

SUFFIX = {"image": ".png", "audio": ".wav"}


def data(modality: str, number: int) -> bytes:
    if modality == "audio":
        return encode(tone(hertz=300 + 100 * number))
    picture = io.BytesIO()
    shape_picture("red", "circle", number).save(picture, "PNG")
    return picture.getvalue()


def write_files(folder: Path, modality: str, names: Callable[[int], str] = str) -> list[str]:
    """Files of a modality; their names in the folder."""
    written = [names(number) + SUFFIX[modality] for number in range(COUNT)]
    for number, name in enumerate(written):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data(modality, number))
    return written


def rows(folder: Path, modality: str) -> list[dict[str, Any]]:
    files = write_files(folder, modality)
    return [{modality: name, "caption": text} for name, text in zip(files, CAPTIONS, strict=True)]


def delimited(name: str, separator: str, header: bool = True) -> Write:
    def write(folder: Path, modality: str) -> Path:
        found = rows(folder, modality)
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), delimiter=separator)
            if header:
                writer.writeheader()
            writer.writerows(found)
        return folder / name

    return write


def lines(name: str) -> Write:
    def write(folder: Path, modality: str) -> Path:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows(folder, modality)))
        return folder / name

    return write


def packed(name: str) -> Write:
    def write(folder: Path, modality: str) -> Path:
        plain = delimited(name, ",")(folder, modality)
        (folder / f"{name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        return folder / f"{name}.gz"

    return write


def json_list(folder: Path, modality: str) -> Path:
    (folder / "t.json").write_text(json.dumps(rows(folder, modality)))
    return folder / "t.json"


def of_ids(folder: Path, modality: str) -> Path:
    for name in write_files(folder / "files", modality):
        Path(folder, "files", name).rename(folder / "files" / f"0000{name}")
    found = [f"{number:05d},{text}" for number, text in enumerate(CAPTIONS)]
    (folder / "t.csv").write_text("\n".join(["id,caption", *found]))
    return folder / "t.csv"


def several_columns(folder: Path, modality: str) -> Path:
    found = rows(folder, modality)
    wide = [{modality: row[modality], "caption_1": row["caption"], "caption_2": "another"} for row in found[:2]]
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(wide[0]))
        writer.writeheader()
        writer.writerows(wide)
    return folder / "t.csv"


def lists_of_captions(folder: Path, modality: str) -> Path:
    several = [{modality: row[modality], "captions": [row["caption"], "another"]} for row in rows(folder, modality)[:2]]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in several))
    return folder / "t.jsonl"


def coco(folder: Path, modality: str) -> Path:
    files = write_files(folder / "val2017", modality)
    value = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(files)],
        "annotations": [{"image_id": number, "id": 9 + number, "caption": CAPTIONS[number]} for number in range(COUNT)],
    }
    (folder / "captions_val2017.json").write_text(json.dumps(value))
    return folder / "captions_val2017.json"


def parquet(embedded: bool) -> Write:
    def write(folder: Path, modality: str) -> Path:
        found = rows(folder, modality)
        if embedded:
            found = [
                {modality: {"bytes": data(modality, n), "path": f"{n}"}, "text": CAPTIONS[n]} for n in range(COUNT)
            ]
        pq.write_table(pa.Table.from_pylist(found), folder / "t.parquet")
        return folder / "t.parquet"

    return write


def beside(suffix: str, content: Callable[[str], str] = str) -> Write:
    def write(folder: Path, modality: str) -> Path:
        for number, name in enumerate(write_files(folder, modality)):
            stem = name if suffix.count(".") > 1 else name.removesuffix(SUFFIX[modality])
            ending = suffix[suffix.rindex(".") :]
            (folder / f"{stem}{ending}").write_text(content(CAPTIONS[number]))
        return folder

    return write


def named_by_class(folder: Path, modality: str) -> Path:
    write_files(folder, modality, lambda number: f"{'cat' if number % 2 else 'dog'}/{number}")
    return folder


def imagefolder(folder: Path, modality: str) -> Path:
    for part in ("train", "test"):
        files = write_files(folder / part, modality)
        found = [{"file_name": name, "text": text} for name, text in zip(files, CAPTIONS, strict=True)]
        (folder / part / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder / "train"


def kaggle(folder: Path, modality: str) -> Path:
    files = write_files(folder / "Images", modality)
    lines_ = [f"{name},{text}" for name, text in zip(files, CAPTIONS, strict=True)]
    (folder / "captions.txt").write_text("\n".join([f"{modality},caption", *lines_]))
    return folder


def alone(folder: Path, modality: str) -> Path:
    write_files(folder, modality)
    return folder


def shards(captions: str) -> Write:
    def write(folder: Path, modality: str) -> Path:
        with tarfile.open(folder / "00000.tar", "w") as tar:
            for number in range(COUNT):
                members = {f"{number:05d}{SUFFIX[modality]}": data(modality, number)}
                if captions == "txt":
                    members[f"{number:05d}.txt"] = CAPTIONS[number].encode()
                elif captions == "json":
                    members[f"{number:05d}.json"] = json.dumps({"caption": CAPTIONS[number]}).encode()
                for name, content in members.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        (folder / "00000_stats.json").write_text("{}")
        return folder

    return write


LAYOUTS: dict[str, Write] = {
    "`.csv`, `.tsv` (comma, tab, semicolon, pipe)": delimited("t.csv", ";"),
    "`.csv.gz`, `.tsv.gz`, `.jsonl.gz`, `.json.gz` (also `.bz2`, `.xz`, `.zst`)": packed("t.csv"),
    "`.csv` without a header": delimited("t.csv", ",", header=False),
    "a table of ids (`00123`), the files in some folder beside it": of_ids,
    "`.csv` with several columns of captions": several_columns,
    "`.jsonl`, `.ndjson`": lines("t.ndjson"),
    "`.jsonl` with lists of captions": lists_of_captions,
    "`.json`, a list of objects": json_list,
    "`.json`, COCO's captions": coco,
    "`.parquet` with paths": parquet(embedded=False),
    "`.parquet` with the files' bytes (Hugging Face)": parquet(embedded=True),
    "a folder with `.txt` or `.caption` beside the files": beside(".caption"),
    "a folder with `a.jpg.txt` beside `a.jpg`": beside(".jpg.txt"),
    "a folder with `.json` beside the files": beside(".json", lambda text: json.dumps({"caption": text})),
    "a folder of folders named by class": named_by_class,
    "a folder with `metadata.csv` or `.jsonl` (imagefolder, audiofolder)": imagefolder,
    "a folder with `captions.txt` and `Images/` (Kaggle's Flickr8k)": kaggle,
    "a folder of files alone": alone,
    "tar shards with `.txt` (webdataset, img2dataset)": shards("txt"),
    "tar shards with `.json`": shards("json"),
    "tar shards of files alone": shards(""),
}

HEAD = """\
# What is read from where

Each cell was read by the test that wrote this page (`tests/data/test_inputs_table.py`): *pairs* where `train`,
`check` and `eval` find every file with its captions, *items* where `embed`, `index`, `caption` and `ask` find
every file. A table, a folder or a shard may hold several modalities at once. `hf:NAME` and folders that the
`datasets` library saved are read as their parquet is. What the columns of a table mean is found out from what
they hold, or said by `--columns`.

| layout | images | sounds |
|---|---|---|
"""


def cell(write: Write, modality: str, folder: Path) -> str:
    folder.mkdir()
    named, found = write(folder, modality), []
    for what, pairs in (("pairs", True), ("items", False)):
        try:
            read = open_pairs(named, options=ReadOptions(pairs=pairs))
        except UserError:
            continue
        complete = len(read) == COUNT and not read.problems and modality in read.items
        if complete and (not pairs or None not in read.items.get("text", [None])):
            found.append(what)
    return ", ".join(found) or "no"


def table(folder: Path) -> Iterator[str]:
    for number, (layout, write) in enumerate(LAYOUTS.items()):
        cells = [cell(write, modality, folder / f"{number}-{modality}") for modality in SUFFIX]
        yield f"| {layout} | {' | '.join(cells)} |\n"


def test_the_page_says_what_is_read(tmp_path: Path) -> None:
    written = HEAD + "".join(table(tmp_path))
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(written, encoding="utf-8")
    assert PAGE.read_text("utf-8") == written, "WRITE_TABLES=1 writes it"
    assert "| no" not in written


@pytest.mark.parametrize("modality", SUFFIX)
def test_a_text_table_may_have_any_separator(tmp_path: Path, modality: str) -> None:
    for name, separator in (("t.csv", ","), ("t.tsv", "\t"), ("p.csv", "|")):
        (tmp_path / name).mkdir()
        assert cell(delimited(name, separator), modality, tmp_path / name / "x") == "pairs, items"
