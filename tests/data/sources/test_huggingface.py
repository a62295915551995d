"""Hugging Face data sets: saved folders and parquet folders without the library, names through it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cospace.data.pairs import open_pairs
from cospace.types import UserError


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}


def rows(first: int, count: int = 2) -> pa.Table:
    note = json.dumps({"info": {"features": FEATURES}})
    numbers = range(first, first + count)
    columns = {
        "image": [{"bytes": png(i), "path": f"{i}.png"} for i in numbers],
        "caption": [f"text {i}" for i in numbers],
        "label": [i % 2 for i in numbers],
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": note})


def save(folder: Path, *parts: pa.Table) -> None:
    """The files that ``Dataset.save_to_disk`` writes."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(parts):05d}.arrow" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_set_is_read_without_the_library(tmp_path: Path) -> None:
    save(tmp_path / "set", rows(0), rows(2))
    pairs = open_pairs(tmp_path / "set")
    assert pairs.items["text"] == ["text 0", "text 1", "text 2", "text 3"]
    assert pairs.items["image"][3] == png(3)
    assert pairs.extras["label"] == ["cat", "dog", "cat", "dog"]
    assert (pairs.ids[0], pairs.places[0]) == ("0.png", "set:1")


def test_splits_of_a_saved_set(tmp_path: Path) -> None:
    save(tmp_path / "set" / "test", rows(0))
    save(tmp_path / "set" / "dev", rows(2))
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["test", "dev"]}')
    with pytest.raises(UserError, match=r"test, dev.*:SPLIT"):
        open_pairs(tmp_path / "set")
    assert open_pairs(f"hf:{tmp_path}/set:dev").items["text"] == ["text 2", "text 3"]
    with pytest.raises(UserError, match="test, dev"):
        open_pairs(f"hf:{tmp_path}/set:train")
    assert len(open_pairs(tmp_path / "set" / "test")) == 2


@pytest.mark.parametrize("inside", ["", "data"])
def test_a_folder_of_parquet_files(tmp_path: Path, inside: str) -> None:
    folder = tmp_path / "set"
    (folder / inside).mkdir(parents=True)
    for number in range(2):
        pq.write_table(rows(2 * number), folder / inside / f"train-{number:05d}-of-00002.parquet")
    pq.write_table(rows(8), folder / inside / "test-00000-of-00001.parquet")
    assert open_pairs(folder).items["text"] == [f"text {i}" for i in range(4)]
    assert open_pairs(f"hf:{folder}:test", columns={"image": "image", "text": "label"}).items["text"] == ["cat", "dog"]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    save(tmp_path / "set", rows(0))
    (tmp_path / "set" / "data-00000-of-00001.arrow").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"data-00000.*cannot be read"):
        open_pairs(tmp_path / "set")


def test_without_the_library_a_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install cospace\[hf\]"):
        open_pairs("hf:someone/something")


def test_a_name_is_loaded_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, split: str) -> Any:
        if name != "someone/something":
            raise FileNotFoundError(f"no data set {name}\nwith details")
        table = rows(0) if split == "train" else rows(4)
        return SimpleNamespace(data=SimpleNamespace(table=table), features=SimpleNamespace(to_dict=lambda: FEATURES))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    pairs = open_pairs("hf:someone/something:test")
    assert pairs.items["text"] == ["text 4", "text 5"]
    assert pairs.extras["label"] == ["cat", "dog"]
    assert open_pairs("hf:someone/something").items["image"] == [png(0), png(1)]
    with pytest.raises(UserError, match=r"no data set a/b$"):
        open_pairs("hf:a/b")


def test_what_the_library_really_saves(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    columns = {"image": [{"bytes": png(i), "path": None} for i in range(3)], "caption": list("abc"), "label": [0, 1, 0]}
    made = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": made}).save_to_disk(str(tmp_path / "set"))
    pairs = open_pairs(tmp_path / "set")
    assert pairs.items["image"] == [png(i) for i in range(3)]
    assert pairs.items["text"] == ["a", "b", "c"]
    assert pairs.extras["label"] == ["cat", "dog", "cat"]
    made.to_parquet(str(tmp_path / "t.parquet"))
    assert open_pairs(tmp_path / "t.parquet").fingerprint == pairs.fingerprint, "the same pairs, whatever holds them"
    assert open_pairs(tmp_path / "t.parquet").extras == pairs.extras
