"""The vectors of photographs given as paths, bytes, images and arrays, from a model trained here and published ones."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
import torch
from PIL import Image

import cospace
from cospace.interop import sources
from cospace.interop.peers import PEERS
from photographs import encoded, photograph

COUNT = 100


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of several sizes, either way up, with whole and halved chroma."""
    folder, paths = tmp_path_factory.mktemp("photographs"), []
    for number in range(COUNT):
        sides = ((320, 240), (199, 301), (500, 375), (803, 601))[number % 4]
        options: dict[str, Any] = {"subsampling": 0} if number % 3 == 0 else {"quality": 75}
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(encoded(photograph(*sides, seed=number), **options))
    return paths


def spellings(paths: list[Path]) -> dict[str, list[Any]]:
    data = [path.read_bytes() for path in paths]
    loaded = [Image.open(io.BytesIO(one)) for one in data]
    for image in loaded:
        image.load()
    arrays = [np.array(image) for image in loaded]
    opened: list[Any] = [Image.open(path) for path in paths]
    return {
        "paths": list(paths), "bytes": data, "opened": opened, "loaded": loaded,
        "made": [Image.fromarray(array) for array in arrays], "arrays": arrays,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["trained here", "CLIP of Transformers", "SigLIP of Transformers", "CLIP of OpenCLIP"])
def test_every_spelling_of_a_photograph_has_one_vector(
    name: str, photographs: list[Path], trained: Path, tmp_path: Path
) -> None:
    written = {"CLIP of T": published.clip, "SigLIP of": published.siglip, "CLIP of O": published.openclip}
    space = cospace.load(trained) if name == "trained here" else sources.read(str(written[name[:9]](tmp_path))).space
    given = spellings(photographs)
    expected = space.embed(image=given.pop("paths"))
    least = {
        spelling: float((space.embed(image=raws) * expected).sum(axis=1).min()) for spelling, raws in given.items()
    }
    told = ", ".join(f"{spelling} {cosine:.7f}" for spelling, cosine in least.items())
    sys.stdout.write(f"{name}: least cosine of {COUNT} photographs to those of paths: {told}\n")
    assert min(least.values()) >= 0.9999


@pytest.mark.parametrize("name", ["CLIP", "SigLIP", "OpenCLIP", "OpenCLIP's SigLIP"])
def test_vectors_of_files_are_the_librarys(name: str, photographs: list[Path], tmp_path: Path) -> None:
    write = {
        "CLIP": published.clip, "SigLIP": published.siglip, "OpenCLIP": published.openclip,
        "OpenCLIP's SigLIP": published.siglip_of_openclip,
    }  # fmt: skip
    read = sources.read(str(write[name](tmp_path)))
    library = PEERS[read.plan.layout](read)["image"]
    assert library.prepare is not None
    theirs = library.encode(torch.stack([library.prepare(path) for path in photographs])).detach().numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = read.space.embed(image=list(photographs))
    largest = float(np.abs(ours - theirs).max())
    sys.stdout.write(f"{name}: largest difference of {COUNT} JPEG files to {read.plan.layout}: {largest:.1e}\n")
    assert largest <= 1e-5
