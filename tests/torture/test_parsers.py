"""Every parser of foreign bytes, on mutations of what it reads: a sentence or a value, soon, and in little memory."""

from __future__ import annotations

import io
import json
import random
import resource
import struct
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from cospace import files, tensors
from cospace.data.pairs import open_pairs
from cospace.evaluation.classes import read_classes
from cospace.modalities import modality
from cospace.runs.metrics_log import MetricsLog
from cospace.stores.lexicon import Lexicon
from cospace.stores.thumbnails import LocalThumbnails
from cospace.types import BadItem, UserError
from torture.figures import tried
from torture.test_data import samples, tar

SOON = 1.0
"""Seconds that one input may take; ten times that on a machine that does other things."""

MEMORY = 600 << 20
"""Bytes by which the process may grow over all inputs of a parser."""


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.sin(np.arange(4_000)).astype("<f4").tobytes())
    return buffer.getvalue()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "text": ["a thing", "another"]}), buffer)
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(5), b=np.array(["x", "y"]))
    return buffer.getvalue()


def decoded(name: str) -> Callable[[Path], object]:
    return lambda path: modality(name).examine(path)


def verified(path: Path) -> None:
    (path.parent / files.MANIFEST).write_bytes(path.read_bytes())
    files.verify(path.parent)


ROWS = b'image,text\n"a, b.png",a thing\nc.png,"two\nlines"\n'
LOG = b'{"step": 1, "loss": 2.5, "crc32": 2153451234}\n{"step": 2, "loss": NaN}\n'
LINES = b'{"image": "a.png", "text": "a"}\n{"image": "b.png", "text": ["b", "c"]}\n'
MANIFEST = files.as_sealed({"files": {"a": {"size": 1, "blake2b": "0" * 64}}})

PARSERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    **{
        kind: (f"a.{kind.lower()}", picture(kind), decoded("image"))
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
    },
    "WAV": ("a.wav", sound(), decoded("audio")),
    "csv": ("t.csv", ROWS, open_pairs),
    "tsv": ("t.tsv", ROWS.replace(b",", b"\t"), open_pairs),
    "jsonl": ("t.jsonl", LINES, open_pairs),
    "json": ("t.json", json.dumps([{"image": "a.png", "text": "a"}] * 2).encode(), open_pairs),
    "parquet": ("t.parquet", parquet(), open_pairs),
    "tar": ("t.tar", tar(samples(3)), open_pairs),
    "safetensors": ("w.safetensors", save({"a": torch.ones(3), "b": torch.zeros(2, 2)}), tensors.read),
    "manifest": ("m", MANIFEST, verified),
    "log": ("metrics.jsonl", LOG, lambda path: MetricsLog(path).rows()),
    "classes": ("names.txt", b"a dog\nautomobile = car\n", lambda path: read_classes(str(path))),
    "arrays": ("lexicon.npz", arrays(), lambda path: Lexicon.load(path, 1)),
    "thumbnails": ("t.sqlite", b"SQLite format 3\0" + bytes(200), lambda path: LocalThumbnails(path).get("0" * 32, 64)),
}
"""By what is read: a file's name, one that is whole, and what reads it."""


def mutated(whole: bytes, dice: random.Random) -> bytes:
    """Bits flipped, bytes cut, repeated, exchanged for numbers that mean something."""
    data = bytearray(whole)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[at : at + dice.randint(1, 200)] * dice.randint(1, 8)
        elif kind == 3:
            data[at : at + 4] = struct.pack(
                dice.choice("<>") + "I", dice.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65_536])
            )
        elif kind == 4:
            data[at:at] = dice.choice(
                [b"\0", b'"', b"[" * 2000, b"\xff\xfe", b"9" * 400, b"\n", "\u2028é".encode(), b"{"]
            )
        else:
            data[at : at + dice.randint(1, 30)] = dice.randbytes(dice.randint(0, 30))
    return bytes(data)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("n", [60, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("what", PARSERS)
def test_row_36_a_parser_gives_a_value_or_a_sentence(what: str, n: int, tmp_path: Path) -> None:
    name, whole, read = PARSERS[what]
    path, dice, late = tmp_path / name, random.Random(what), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(n):
        data = mutated(whole, dice) if number else whole
        path.write_bytes(data)
        began = time.process_time()
        with suppress(UserError, BadItem):
            read(path)
        if (took := time.process_time() - began) > SOON:
            late.append((number, took))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY >> 10
    assert len(late) <= n // 5_000, late  # the first one imports libraries
    tried(36, f"mutations of {what}", n, hung=0)
