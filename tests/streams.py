"""Shards for tests of streaming: small pictures with captions, in tar or parquet files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conftest import COLOURS, SHAPES, shape_picture
from cospace.commands.streaming import open_stream
from cospace.commands.training_request import TrainArguments, TrainingData
from cospace.runs.settings import resolve


def pair(number: int) -> tuple[bytes, str]:
    """A picture and its caption, another for every number."""
    colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 2]
    buffer = io.BytesIO()
    picture = shape_picture(colour, shape, number, 16)
    picture.putpixel((0, 0), (number % 256, number // 256, 0))
    picture.save(buffer, "PNG")
    return buffer.getvalue(), f"a {colour} {shape} number {number}"


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def members(numbers: Sequence[int]) -> dict[str, bytes]:
    found = {}
    for number in numbers:
        picture, caption = pair(number)
        found |= {f"{number:06d}.png": picture, f"{number:06d}.txt": caption.encode()}
    return found


def write_tars(folder: Path, sizes: Sequence[int]) -> Path:
    """A shard for each size, of so many pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([0, *sizes]).tolist()
    for place, size in enumerate(sizes):
        write_tar(folder / f"shard-{place:03d}.tar", members(range(ends[place], ends[place] + size)))
    return folder


def write_parquet(folder: Path, sizes: Sequence[int], group: int = 3) -> Path:
    """The same in parquet files with row groups of a few rows, as Hugging Face keeps pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([0, *sizes]).tolist()
    for place, size in enumerate(sizes):
        made = [pair(number) for number in range(ends[place], ends[place] + size)]
        columns = {
            "image": [{"bytes": picture, "path": None} for picture, _ in made],
            "caption": [caption for _, caption in made],
        }
        schema = pa.schema(
            [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("caption", pa.string())]
        )
        pq.write_table(pa.table(columns, schema), folder / f"part-{place:03d}.parquet", row_group_size=group)
    return folder


def opened(pairs: Path | str, out: Path, *settings: str, val: Path | str | None = None) -> TrainingData:
    """A stream as ``cospace train`` opens it."""
    config = resolve("small", ["data.stream=true", *settings])
    data = open_stream(TrainArguments(str(pairs), out, val=None if val is None else str(val)), config)
    assert data is not None
    return data
