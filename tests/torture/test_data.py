"""Rows 16, 17 and 26 of the suite: wrong pairs, leaks, and tar shards that are not whole."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cospace.commands.check import CheckArguments, check_pairs
from cospace.commands.pair_judge import judge_rows
from cospace.commands.train import TrainArguments, train
from cospace.data import findings
from cospace.data.pairs import build, open_pairs
from cospace.data.sources import Rows, _archive
from cospace.training.cross_fitting import area
from cospace.types import UserError
from photographs import photograph
from torture.figures import tried

# ------------------------------------------------------------------------------------------------ row 16

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 30), "blue": (30, 30, 200), "grey": (120, 120, 120)}


def squares(count: int, share: float, seed: int = 0) -> tuple[list[np.ndarray], list[str], np.ndarray]:
    """Images of one colour and shade, captions that name both, and which of these were passed on in a circle."""
    dice = np.random.default_rng(seed)
    names = [(colour, shade) for colour in COLOURS for shade in ("dark", "plain")]
    picked = dice.integers(0, len(names), count)
    images = []
    for place in picked.tolist():
        pixels = (0.4 if names[place][1] == "dark" else 1.0) * np.array(COLOURS[names[place][0]])
        images.append(np.clip(pixels + dice.normal(0, 12, (32, 32, 3)), 0, 255).astype(np.uint8))
    texts = [f"number {n}: a {names[p][1]} {names[p][0]} square" for n, p in enumerate(picked.tolist())]
    moved = dice.permutation(count)[: int(share * count)]
    shuffled = list(texts)
    for one, other in zip(moved.tolist(), np.roll(moved, 1).tolist(), strict=True):
        shuffled[one] = texts[other]
    wrong = np.array(
        [names[picked[n]] != names[picked[int(text.split(":")[0].split()[1])]] for n, text in enumerate(shuffled)]
    )
    return images, shuffled, wrong


def auroc(share: float, blind: bool = False) -> float:
    """How well the judge ranks the wrong pairs before the right ones; ``blind``: a build that does not see pixels."""
    images, texts, wrong = squares(200, share)
    if blind:
        images = [np.full_like(image, 128) for image in images]
        images = [
            np.clip(image + np.random.default_rng(n).normal(0, 12, image.shape), 0, 255).astype(np.uint8)
            for n, image in enumerate(images)
        ]
    found = judge_rows(build("squares", Rows([f"row {n}" for n in range(200)], {"image": images, "text": texts})))
    return area(found.wrong_R[wrong], found.wrong_R[~wrong])


@pytest.fixture
def _without_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    from cospace.commands import pair_judge

    monkeypatch.setattr(pair_judge, "_towers", lambda pairs: None)


@pytest.mark.usefixtures("_without_towers")
@pytest.mark.parametrize(
    "share", [0.1, pytest.param(0.05, marks=pytest.mark.slow), pytest.param(0.2, marks=pytest.mark.slow)]
)
def test_row_16_shuffled_captions_are_ranked_first(share: float) -> None:
    tried(16, f"{share:.0%} of the captions shuffled: AUROC of at least 0.9", 200, altered=int(auroc(share) < 0.9))


@pytest.mark.usefixtures("_without_towers")
def test_row_16_notices_a_judge_that_sees_nothing() -> None:
    assert auroc(0.2, blind=True) < 0.7


@pytest.mark.slow
def test_row_16_fully_shuffled_pairs_teach_nothing(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    """The negative control: R@1 is that of chance, to four standard errors."""
    images, _, _ = squares(240, 0.0)
    words = np.random.default_rng(5).permutation(240)
    (tmp_path / "images").mkdir()
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text"])
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
            writer.writerow([f"images/{number}.png", f"word{words[number]} thing"])
    trained = train(TrainArguments(tmp_path / "pairs.csv", tmp_path / "run", overrides=(*tiny, "training.steps=60")))
    metrics = trained.run.metrics()
    n = metrics["n_images"]
    limit = 1 / n + 4 * np.sqrt(1 / n / n)
    tried(16, "all captions shuffled: R@1 of chance", int(n), altered=int(metrics["image_to_text/R@1"] > limit))


# ------------------------------------------------------------------------------------------------ row 17

KINDS: dict[str, Callable[[Image.Image, Path], None]] = {
    "exact": lambda image, path: image.save(path.with_suffix(".png")),
    "re-encoded": lambda image, path: image.save(path.with_suffix(".jpg"), quality=80),
    "resized": lambda image, path: image.resize((150, 113)).save(path.with_suffix(".png")),
}


def planted(folder: Path, each: int = 8, others: int = 30) -> tuple[set[str], Path, Path]:
    """Training and validation photographs, copies of the ones among the others; the rows that are copies."""
    sets = {name: folder / name for name in ("train", "val")}
    for place in sets.values():
        place.mkdir(parents=True)
    for number in range(others):
        photograph(200, 150, number).save(sets["train"] / f"t{number}.png")
        photograph(200, 150, 1000 + number).save(sets["val"] / f"v{number}.png")
    copies: set[str] = set()
    for place, (kind, write) in enumerate(KINDS.items()):
        for number in range(each):
            seed = 2000 + place * each + number
            photograph(200, 150, seed).save(sets["val"] / f"{kind}{number}.png")
            write(photograph(200, 150, seed), sets["train"] / f"copy-{kind}{number}")
            copies.add(f"copy-{kind}{number}")
    for place in sets.values():
        for image in [*place.glob("*.png"), *place.glob("*.jpg")]:
            image.with_suffix(".txt").write_text(f"words of {image.stem} alone")
    return copies, sets["train"], sets["val"]


def leaked_rows(train_on: Path, val: Path) -> set[str]:
    checked = check_pairs(CheckArguments(train_on, val, judge="none"))
    kinds = ("leaked", "near_leaked")
    rows = {row for finding in checked.findings if finding.kind in kinds for row in finding.rows}
    return {Path(checked.pairs.ids[row].partition("#")[0]).stem for row in rows}


def test_row_17_copies_in_validation_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copies, train_on, val = planted(tmp_path)
    found = leaked_rows(train_on, val)
    tried(17, "copies in validation, exact, re-encoded and resized", len(copies),
          lost=len(copies - found), altered=len(found - copies))  # fmt: skip
    monkeypatch.setattr(findings, "leaks", lambda *_: [])
    assert leaked_rows(train_on, val) != copies, "a build that compares nothing is noticed"


# ------------------------------------------------------------------------------------------------ row 26


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 255 - shade, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def samples(count: int = 10) -> list[tuple[str, bytes]]:
    return [one for n in range(count) for one in ((f"{n:03d}.png", png(n)), (f"{n:03d}.txt", f"caption {n}".encode()))]


def tar(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def at_a_boundary() -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar(samples()))) as archive:
        offset = archive.getmembers()[8].offset
    return {"a.tar": tar(samples())[:offset]}


def apart() -> dict[str, bytes]:
    """All pictures first, then all captions: the pairs are whole."""
    return {"a.tar": tar(sorted(samples(), key=lambda one: one[0].endswith(".txt")))}


TARS: dict[str, tuple[Callable[[], dict[str, bytes]], int | None]] = {
    "cut at a boundary of members": (at_a_boundary, None),
    "cut in a member": (lambda: {"a.tar": tar(samples())[: 9 * 1024 + 600]}, None),
    "cut in a header": (lambda: {"a.tar": tar(samples())[: 8 * 1024 + 100]}, None),
    "a member twice": (lambda: {"a.tar": tar([*samples(), ("003.png", png(200))])}, 9),
    "members of a sample apart": (apart, 10),
    "a caption without a picture": (lambda: {"a.tar": tar([*samples(), ("099.txt", b"alone")])}, 10),
    "two shards with equal names": (lambda: {"a.tar": tar(samples(4)), "b.tar": tar(samples(4))}, 8),
}
"""What is wrong with shards, and how many pairs there are all the same; none where the shard is refused or named."""


def used(folder: Path, content: dict[str, bytes]) -> tuple[int, bool]:
    """How many pairs are read, and whether anybody hears that something is wrong."""
    for name, data in content.items():
        (folder / name).write_bytes(data)
    try:
        pairs = open_pairs(folder)
    except UserError:
        return 0, True
    texts = [pairs.items["text"][row] for row in range(len(pairs))]
    wrong = [row for row in range(len(pairs)) if f"caption {int(pairs.ids[row].rpartition('/')[2][:3])}" != texts[row]]
    assert not wrong, "a picture has another's caption"
    return len(pairs), bool(pairs.problems)


@pytest.mark.parametrize("what", TARS)
def test_row_26_a_shard_that_is_not_whole_is_noticed(what: str, tmp_path: Path) -> None:
    make, expected = TARS[what]
    count, said = used(tmp_path, make())
    if expected is None:
        tried(26, what, 1, lost=int(not said))
    elif (expected == 10 and what.startswith("members")) or expected == 8:
        tried(26, what, 1, lost=expected - count)
    else:
        tried(26, what, 1, lost=int(not said), duplicated=max(0, count - 10))
        assert count in (expected, 10), json.dumps([count, said])


def test_row_26_notices_a_build_that_reads_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other readers do: a tar that ends between members ends well."""
    real = _archive.entries
    monkeypatch.setattr(_archive, "entries", lambda *given, **settings: _as_far_as_it_goes(real, *given, **settings))
    from cospace.data.sources import tar as tar_source

    monkeypatch.setattr(tar_source, "entries", _archive.entries, raising=False)
    assert used(tmp_path, at_a_boundary()) == (4, False)


def _as_far_as_it_goes(real: Callable[..., object], path: Path, *given: object, **settings: object) -> list[object]:
    whole = path.with_suffix(".whole")
    whole.write_bytes(Path(path).read_bytes() + bytes(1024))
    return list(real(whole, *given, **settings))  # type: ignore[call-overload]
