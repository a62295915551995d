"""What others wrote may be damaged, of another form or no file at all: a sentence with its name, never a traceback."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cospace
from conftest import Cospace
from cospace import files, reading, tensors
from cospace.commands.search import SearchableIndex
from cospace.data.pairs import open_pairs
from cospace.data.sources._archive import entries
from cospace.modalities.image.processing import ImageProcessor
from cospace.modalities.text.tokenizer import Tokenizer
from cospace.models.encoders import linear, transformer
from cospace.models.space import Space
from cospace.runs.metrics_log import MetricsLog
from cospace.types import UserError

NESTED = b"[" * 100_000 + b"]" * 100_000
HUGE_HEADER = struct.pack("<Q", 1 << 40) + b"{}"
OTHERS = {
    "nested": NESTED,
    "nested object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "empty": b"",
    "a list": b"[1, 2]",
    "a number": b"1" * 5000,
    "no text": b"\xff\xfe\x00\x80",
    "another object": b'{"a": null}',
    "a header of a terabyte": HUGE_HEADER,
    "an array": b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
}
"""Content that is another's, by what it is."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is quickly loaded. Read only."""
    torch.manual_seed(0)
    configs = {"image": linear.Config.tiny(), "text": transformer.Config.tiny()}
    processors = {"image": ImageProcessor(size=16), "text": Tokenizer.train(["a red bus", "a dog"], 280)}
    out = tmp_path_factory.mktemp("small") / "model"
    golden = {"image": [np.zeros((16, 16, 3), np.uint8)], "text": ["a red bus"]}
    Space.build(configs, processors, 8).save(out, golden)
    return out


@pytest.fixture(scope="module")
def index(small: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    out = tmp_path_factory.mktemp("damage") / "idx"
    cospace.index(cospace.load(small), shapes, out)
    return out


def sealed(folder: Path, name: str, content: bytes) -> None:
    """Put other content into a file, with a manifest that agrees."""
    (folder / name).write_bytes(content)
    files.seal(folder)


def refusal(opening: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        opening()
    return str(caught.value)


def test_every_file_of_a_model_in_every_other_form(small: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small, tmp_path / "model")
    names = [name for name in files.read_manifest(model) if "/" not in name]
    assert {"space.json", "weights.safetensors", "golden.safetensors", "image.json", "text.json"} <= set(names)
    for name in names:
        kept = (model / name).read_bytes()
        for what, content in OTHERS.items():
            sealed(model, name, content)
            sentence = refusal(lambda: cospace.load(model))
            assert name in sentence or str(model) in sentence, (name, what, sentence)
        sealed(model, name, kept)
    cospace.load(model)


def test_values_of_other_types_in_a_models_settings(small: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small, tmp_path / "model")
    for name in ("space.json", "image.json", "text.json"):
        kept = (model / name).read_bytes()
        value = json.loads(kept)
        for key in value:
            for other in (None, [None], "x", -1, {"a": {"b": 1}}):
                sealed(model, name, json.dumps({**value, key: other}).encode())
                with suppress(UserError):
                    cospace.load(model)
            sealed(model, name, json.dumps({k: v for k, v in value.items() if k != key}).encode())
            with suppress(UserError):
                cospace.load(model)
        sealed(model, name, kept)


@pytest.mark.parametrize("wanted", [{"depth": 10**9}, {"width": 3 * 2**18}, {"width": 3 * 2**12, "depth": 10**4}])
def test_a_model_larger_than_its_weights_is_not_built(wanted: dict[str, int], small: Path, tmp_path: Path) -> None:
    model = shutil.copytree(small, tmp_path / "model")
    settings = json.loads((model / "space.json").read_text())
    settings["encoders"]["text"] = {"name": "transformer", **wanted}
    sealed(model, "space.json", json.dumps(settings).encode())
    assert "larger model than its weights" in refusal(lambda: cospace.load(model))


def test_the_files_of_an_index_in_every_other_form(index: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(index, tmp_path / "idx")
    version = max((copy / "vectors" / "versions").glob("*.json"))
    kept = json.loads(version.read_bytes())
    kept.pop("digest")
    for what, content in OTHERS.items():
        version.write_bytes(content)
        assert str(version) in refusal(lambda: SearchableIndex.open(copy)), what
    for segment, role in [(s, role) for s in range(len(kept["segments"])) for role in kept["segments"][s]["files"]]:
        entry = kept["segments"][segment]["files"][role]
        path = copy / "vectors" / "segments" / entry["name"]
        original = path.read_bytes()
        for what, content in {"a list": b"[]", "an array": OTHERS["an array"], "cut": original[:200]}.items():
            path.write_bytes(content)
            changed = json.loads(json.dumps(kept))
            changed["segments"][segment]["files"][role]["stamp"] = files.stamp(path)
            files.write_sealed(version, changed)
            assert path.name in refusal(lambda: SearchableIndex.open(copy)), (role, what)
        path.write_bytes(original)
    for key in kept:
        for other in (None, "x", [{}]):
            files.write_sealed(version, {**kept, key: other})
            with suppress(UserError):
                SearchableIndex.open(copy)
    files.write_sealed(version, kept)
    SearchableIndex.open(copy).search(text="red")
    (copy / "thumbnails.sqlite").write_bytes(b"SQLite format 3\0" + bytes(200))
    assert "thumbnails.sqlite" in refusal(lambda: SearchableIndex.open(copy).thumbnails.get("0" * 32, 64))


def test_flipped_bits_in_json_are_a_sentence(tmp_path: Path) -> None:
    dice = random.Random(0)
    path = tmp_path / "MANIFEST.json"
    (tmp_path / "a").write_bytes(b"1")
    files.seal(tmp_path)
    kept = path.read_bytes()
    for _ in range(300):
        data = bytearray(kept)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with suppress(UserError):
            files.verify(tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl", "t.parquet", "t.tar", "t.txt", "q.json"])
def test_peoples_files_in_every_other_form(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (*OTHERS.values(), b"PAR1" + bytes(50) + b"PAR1", b'{"questions": ' + NESTED + b"}"):
        path.write_bytes(content)
        with suppress(UserError):
            assert open_pairs(path).problems


def test_a_log_of_another_form(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for line in (b"[1]", NESTED, b"\xff", b'{"step": "x", "crc32": "0"}', b'{"step": 2, "loss": 1.0, "crc32": "abc"}'):
        MetricsLog(path).begin(0)
        for step in (1, 2):
            MetricsLog(path).write({"step": step, "loss": float("nan")})
        path.write_bytes(path.read_bytes() + line + b"\n")
        MetricsLog(path).write({"step": 4, "loss": 1.0})
        said: list[str] = []
        MetricsLog(path).begin(3, said.append)
        assert [row["step"] for row in MetricsLog(path).rows()] == [1, 2], "up to the last whole line"
        assert "metrics.jsonl is damaged after step 2" in said[0]


def test_a_bit_in_a_log_is_noticed(tmp_path: Path) -> None:
    path, dice = tmp_path / "metrics.jsonl", random.Random(0)
    for step in range(1, 6):
        MetricsLog(path).write({"step": step, "loss": 1 / step, "minutes": 0.1, "name": "µ"})
    rows, kept = MetricsLog(path).rows(), path.read_bytes()
    for _ in range(300):
        data = bytearray(kept)
        at = dice.randrange(len(data))
        data[at] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        found = MetricsLog(path).rows()
        assert found == rows[: len(found)] and len(found) >= kept[:at].count(b"\n")


def test_a_tensor_file_says_its_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for content in (b"", HUGE_HEADER, b"\x08" + bytes(7) + b"[1, 2]  ", NESTED):
        path.write_bytes(content)
        assert "w.safetensors" in refusal(lambda: tensors.read(path))
    assert "w.safetensors" in refusal(lambda: tensors.read(tmp_path / "none" / "w.safetensors"))


@pytest.mark.parametrize("size", ["-512", "1" * 30, "0x10", ""])
def test_a_size_that_is_none_in_an_archive_ends(size: str, tmp_path: Path) -> None:
    note = f"size={size}\n"
    record = f"{len(note) + 3} {note}".encode()
    member = header("x", len(record), b"x") + record.ljust(512, b"\0") + header("a.jpg", 0, b"0")
    (tmp_path / "a.tar").write_bytes(member + bytes(1024))
    assert [entry.name for entry in entries(tmp_path / "a.tar")] == ["a.jpg"]


def header(name: str, size: int, kind: bytes) -> bytes:
    """A tar header of 512 bytes."""
    start = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + f"{size:011o}\0".encode() + b"0" * 12
    end = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    checked = start + b" " * 8 + end
    return start + f"{sum(checked):06o}\0 ".encode() + end


def test_only_regular_files_are_read_wherever_a_path_comes_from(small: Path, tmp_path: Path, cospace: Cospace) -> None:
    pipe, listening = tmp_path / "pipe", tmp_path / "socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
        for odd in (Path("/dev/zero"), Path("/dev/stdin"), pipe, listening, tmp_path):
            for read in (reading.read_bytes, reading.read_json, tensors.read):
                assert str(odd) in refusal(partial(read, odd))
            link = tmp_path / "link"
            for name in ("t.csv", "t.json", "t.jsonl", "t.parquet", "t.tar", "names.txt"):
                link = tmp_path / name
                link.unlink(missing_ok=True)
                link.symlink_to(odd)
                if odd != tmp_path:
                    assert cospace("check", link).code == 2
            given = tmp_path / "names.txt"
            assert cospace("eval", small, "glyphs/faces", "--classes", given).code == 2
            assert cospace("eval", small, "glyphs/faces", "--templates", given).code == 2
            assert cospace("train", "glyphs/faces", "--out", tmp_path / "r", "--recipe", tmp_path / "t.json").code == 2
            assert cospace("import", odd, "--out", tmp_path / "r").code == 2
    table = tmp_path / "rows.csv"
    table.write_text(
        "image,text\n" + "".join(f"{one},a thing\n" for one in ("/dev/zero", pipe, "/proc/kmsg", tmp_path))
    )
    found = open_pairs(table)
    assert not len(found) and len(found.problems) == 4


def test_a_file_of_any_size_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "sparse.csv" in refusal(lambda: open_pairs(path))
    picture = path.rename(tmp_path / "sparse.jpg")
    (tmp_path / "t.csv").write_text("image,text\nsparse.jpg,a thing\n")
    assert "bytes" in open_pairs(tmp_path / "t.csv").problems[0].reason
    assert picture.exists()


@pytest.mark.parametrize("name", ["a" * 300 + ".csv", "/".join(["a" * 200] * 30) + ".csv", "a\0b.csv"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path, cospace: Cospace) -> None:
    commands = (["check", name], ["eval", name, "x.csv"], ["train", "glyphs/faces", "--out", name])
    for arguments in commands if "\0" not in name else ():  # which no command line can hold
        result = cospace(*arguments)
        assert result.code == 2 and "Traceback" not in result.err
    (tmp_path / "t.csv").write_text(f"image,text\n{name},a thing\n")
    assert len(open_pairs(tmp_path / "t.csv").problems) == 1


def test_lines_end_where_people_end_them(tmp_path: Path) -> None:
    odd = "a\u2028b\u0085c\x0bd\x0ce\x1cf"
    path = tmp_path / "names.txt"
    path.write_bytes(f"\ufeff{odd}\r\nsecond\n".encode())
    assert reading.lines(reading.read_text(path)) == [odd, "second", ""]


def test_arrays_hold_no_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="a.npy"), reading.understood(tmp_path / "a.npy"):
        np.load(tmp_path / "a.npy", allow_pickle=False)
