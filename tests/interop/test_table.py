"""docs/published.md: every family, in both directions, with the largest difference that this machine measures.

``WRITE_TABLES=1 make test ARGS=tests/interop/test_table.py`` measures and writes it anew; otherwise only the list of
families is compared with what there is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from test_export import ONNX, WAYS
from test_import import CLOSE, MODELS

from cospace.commands.export_model import export_model
from cospace.commands.import_model import import_model
from cospace.interop.parity import Compared

TABLE = Path(__file__).resolve().parents[2] / "docs" / "published.md"
HEAD = """\
# Published models, in and out

Small models with random weights, every weight moved away from its start, beside the library that a layout belongs to:
the largest absolute difference of any number of a unit vector, float32 on both sides, {torch}. What comes in is
compared from JPEG files on, which either side decodes, resizes and cuts by itself; what goes out, from prepared images
on. Written by `WRITE_TABLES=1 make test ARGS=tests/interop/test_table.py`; `cospace import` and `export` print the same
figure for real models and refuse more than 1e-4, or 5e-3 of files, since not every libjpeg rounds alike
(docs/decisions/0029).

A published model embeds in float32 on every machine, as its own library does. `cospace import SOURCE --out RUN
--precision auto` takes bfloat16 where the hardware is fast at it: faster, at cosines of about 0.999 to these vectors.

| family | direction | library | images | texts |
|---|---|---|---|---|
"""


PEERS = {"hf": "transformers", "openclip": "OpenCLIP", "onnx": "onnxruntime"}


def test_the_table_lists_every_family_and_direction() -> None:
    """That each is close is shown by test_import.py and test_export.py."""
    out = [(name, layout) for name, (_, layout) in WAYS.items()] + [(name, "onnx") for name in ONNX]
    wanted = [(name, "in") for name in MODELS] + [(name, "out") for name, _ in out]
    listed = re.findall(r"^\| (.+?) \| (in|out) \| (.+?) \|", TABLE.read_text("utf-8"), re.MULTILINE)
    assert [row[:2] for row in listed] == wanted
    assert [library for *_, library in listed[len(MODELS) :]] == [PEERS[layout] for _, layout in out]


@pytest.mark.skipif(not os.environ.get("WRITE_TABLES"), reason="WRITE_TABLES=1 measures and writes the table")
def test_the_table_is_written(tmp_path: Path) -> None:
    rows = []
    for number, (name, write) in enumerate(MODELS.items()):
        folder = tmp_path / f"in-{number}"
        folder.mkdir()
        rows.append(row(name, "in", import_model(str(write(folder)), tmp_path / f"run-{number}").compared))
    ways = [*((name, *way) for name, way in WAYS.items()), *((name, write, "onnx") for name, write in ONNX.items())]
    for number, (name, write, layout) in enumerate(ways):
        folder = tmp_path / f"out-{number}"
        folder.mkdir()
        import_model(str(write(folder)), tmp_path / f"back-{number}")
        made = export_model(tmp_path / f"back-{number}", layout, tmp_path / f"made-{number}")
        rows.append(row(name, "out", made.compared))
    TABLE.write_text(HEAD.format(torch=f"torch {torch.__version__}") + "".join(rows), encoding="utf-8")


def row(name: str, direction: str, compared: Compared) -> str:
    """A line of the table, of a comparison that was made and is close."""
    assert not compared.left_out
    assert max(compared.differences.values()) <= CLOSE
    cells = [f"{compared.differences[m]:.1e}" if m in compared.differences else "" for m in ("image", "text")]
    return f"| {name} | {direction} | {compared.peer} | {' | '.join(cells)} |\n"
