"""Rows 2, 3, 12 and 24 of the suite: checkpoints and files under faults, power loss and damage."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import Shell
from cospace import files
from cospace.commands.search import SearchableIndex
from cospace.runs.run import Run
from cospace.stores.local import LocalIndex
from cospace.training.checkpoint import Checkpoints
from cospace.types import UserError
from faults import ERRORS, GONE, Fault
from torture.damage import damage
from torture.figures import tried
from torture.power import PowerLoss

Defect = Callable[[pytest.MonkeyPatch], None]


class Killed(BaseException):
    """The end of a process, in process."""


class Trained:
    """A module whose weights are its step, and its checkpoints."""

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.module = nn.Linear(64, 8, bias=False)
        self.kept = Checkpoints(folder, {"m": self.module}, [], keep, identity="this run")

    def save(self, step: int) -> None:
        nn.init.constant_(self.module.weight, step)
        self.kept.save(step, {})

    @classmethod
    def newest(cls, folder: Path) -> int | None:
        """The step of what a new process goes on from, once its weights are seen to be those of that step."""
        new = cls(folder)
        facts, _ = new.kept.resume()
        if facts is None:
            return None
        assert torch.equal(new.module.weight, torch.full((8, 64), float(facts["step"]))), "weights of another step"
        return int(facts["step"])


# ------------------------------------------------------------------------------------------------ row 2


def _save_with_fault(folder: Path, kind: str, n: int) -> None:
    """In a process of its own, since it may be gone in the end; exit code 1 says that the fault was not reached."""
    patch = pytest.MonkeyPatch()
    fault = Fault(patch, n, kind, under=folder)
    try:
        Trained(folder).save(3)
    except OSError:
        os._exit(0)
    os._exit(1 if fault.left > 0 else 0)


def faults_of_a_save(folder: Path, kind: str, every: int = 1) -> tuple[int, int]:
    """How many faults were tried, and after how many of them no whole checkpoint was the newest."""
    fork, lost = get_context("fork"), 0
    for place, n in enumerate(range(1, 400, every)):
        shutil.rmtree(folder, ignore_errors=True)
        for step in (1, 2):
            Trained(folder).save(step)
        process = fork.Process(target=_save_with_fault, args=(folder, kind, n))
        process.start()
        process.join(60)
        assert process.exitcode in (0, 1, GONE), process.exitcode
        with suppress(AssertionError):
            lost -= Trained.newest(folder) in (2, 3)
        lost += 1
        if process.exitcode == 1:
            return place + 1, lost
    raise AssertionError("the save never ran out of operations")


@pytest.mark.parametrize(
    "kind",
    [
        "gone",
        "ENOSPC",
        "short write",
        "failed rename",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ERRORS[1:]),
    ],
)
def test_row_02_a_fault_at_any_operation_of_a_save(kind: str, tmp_path: Path) -> None:
    n, lost = faults_of_a_save(tmp_path / "checkpoints", kind, 1 if kind in ("gone", "failed rename") else 5)
    assert n >= 2
    tried(2, f"checkpoint saved, {kind} at every operation", n, lost=lost)


def power_loss_after_a_save(folder: Path) -> int:
    """Whether a save that returned is lost with the power, 0 or 1."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        power = PowerLoss(patch, folder)
        Trained(folder).save(1)
        Trained(folder).save(2)
    power.strike()
    return int(Trained.newest(folder) != 2)


def test_row_02_power_loss_after_a_save(tmp_path: Path) -> None:
    tried(2, "power lost after a save returned", 1, lost=power_loss_after_a_save(tmp_path / "checkpoints"))


def test_row_02_notices_a_build_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_sync", lambda path: None)
    assert power_loss_after_a_save(tmp_path / "checkpoints") == 1


def test_row_02_notices_a_build_that_writes_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_beside", lambda path, kind: path if kind == "tmp" else path.with_name("old"))
    monkeypatch.setattr(Checkpoints, "found", lambda self: self._folders(files.re.compile(r"step-\d{8}")))
    monkeypatch.setattr(files, "verify", lambda folder: None)
    assert _loses(lambda: faults_of_a_save(tmp_path / "checkpoints", "gone", 2)[1])


def _loses(count: Callable[[], int]) -> bool:
    """Whether a broken build loses anything, or ends in an error."""
    try:
        return count() > 0
    except (OSError, AssertionError, UserError, ValueError, LookupError):
        return True


# ------------------------------------------------------------------------------------------------ row 12


def history(folder: Path, seed: int, events: int = 14) -> int:
    """A random history of saves, failures, kills, damages and restarts; how often it could not be gone on from."""
    dice, lost = random.Random(seed), 0
    shutil.rmtree(folder, ignore_errors=True)
    step, whole = 0, set[int]()
    keeper = Trained(folder)
    for _ in range(events):
        event = dice.choice(["save", "save", "fail", "kill", "damage", "restart"])
        with pytest.MonkeyPatch.context() as patch:
            if event in ("fail", "kill"):
                fault = Fault(patch, dice.randint(1, 30), "ENOSPC", under=folder)
                if event == "kill":
                    patch.setattr(fault, "_fail", lambda where: (_ for _ in ()).throw(Killed))
            if event in ("save", "fail", "kill"):
                step += 1
                with suppress(OSError, Killed):
                    keeper.save(step)
                    whole.add(step)
        if event == "damage" and len(whole) > 1:
            newest = keeper.kept.found()[0]
            if int(newest.name[5:]) == max(whole):
                damage(newest, dice)
                whole.discard(max(whole))
                event = "restart"  # a process that goes on does not look back
        if event in ("kill", "restart"):
            keeper = Trained(folder)
            facts, _ = keeper.kept.resume()
            found = 0 if facts is None else int(facts["step"])
            # A save that was killed may have been whole already.
            if found < max(whole, default=0) or found > step:
                lost += 1
            step = found
            whole = {one for one in whole if one <= found} | ({found} if found else set())
    if whole and (Trained.newest(folder) or 0) < max(whole):
        lost += 1
    return lost


def histories(folder: Path, seeds: range) -> int:
    return sum(history(folder, seed) for seed in seeds)


@pytest.mark.parametrize("n", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_row_12_retention_keeps_what_can_be_gone_on_from(n: int, tmp_path: Path) -> None:
    tried(12, "histories of save, fail, kill, damage, restart", n, lost=histories(tmp_path / "c", range(n)))


def _delete_first(patch: pytest.MonkeyPatch) -> None:
    save = Checkpoints.save

    def deleting(self: Checkpoints, *given: object) -> Path:
        for old in self.found():
            shutil.rmtree(old)
        return save(self, *given)  # type: ignore[arg-type]

    patch.setattr(Checkpoints, "save", deleting)


def _oldest_kept(patch: pytest.MonkeyPatch) -> None:
    found = Checkpoints.found
    patch.setattr(Checkpoints, "found", lambda self: found(self)[::-1])


def _without_hashes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(files, "check", lambda *_, **__: None)
    patch.setattr(files, "parse_sealed", lambda content, path: {**json.loads(content), "digest": ""})


DEFECTS: dict[str, Defect] = {
    "deletes before it has saved": _delete_first,
    "takes and keeps the oldest": _oldest_kept,
    "checks no hash": _without_hashes,
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_row_12_notices_a_build_that(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DEFECTS[defect](monkeypatch)
    assert _loses(lambda: histories(tmp_path / "c", range(12)))


# ------------------------------------------------------------------------------------------------ row 3


@pytest.fixture(scope="module")
def artefacts(trained: Path, shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind; read only."""
    from cospace.commands.index import build_index

    out = tmp_path_factory.mktemp("artefacts")
    build_index(Run.load(trained), shapes, out / "index")
    for step in (1, 2):
        Trained(out / "checkpoints").save(step)
    return {"run": trained, "index": out / "index", "checkpoints": out / "checkpoints"}


def opened_run(folder: Path) -> object:
    run = Run.load(folder)
    return str(run.space.fingerprint), run.facts, run.metrics(), run.config(), run.logit_scale()


def opened_index(folder: Path) -> object:
    """Everything that a search shows, with every hash compared."""
    found = SearchableIndex.open(folder)
    store = LocalIndex.open(folder / "vectors")
    items = store.items(store.select())
    shown = {item.hash: found.thumbnails.get(item.hash, 64) for item in items if item.modality == "image"}
    names = [result.id for result in found.search(text="a red circle", k=5)]
    return (
        [item.id for item in items],
        [item.text for item in items],
        store.vectors(store.select()).tobytes(),
        shown,
        names,
    )


def newest_step(folder: Path) -> object:
    """Either of the two, whole, or none where both were damaged: what is damaged is passed over."""
    return Trained.newest(folder) in (1, 2, None)


OPENED: dict[str, Callable[[Path], object]] = {"run": opened_run, "index": opened_index, "checkpoints": newest_step}


def damaged(artefact: str, source: Path, place: Path, seeds: range) -> Iterator[str]:
    """Damages that were used in silence: what was opened then was not what it was before."""
    expected = OPENED[artefact](source)
    for seed in seeds:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        done = damage(place, random.Random(seed))
        try:
            found = OPENED[artefact](place)
        except UserError:
            continue
        if found != expected:
            yield f"{seed}: {done}"


@pytest.mark.parametrize("n", [8, pytest.param(170, marks=pytest.mark.slow)])
@pytest.mark.parametrize("artefact", OPENED)
def test_row_03_damage_is_refused_or_harmless(
    artefact: str, n: int, artefacts: dict[str, Path], tmp_path: Path
) -> None:
    used = list(damaged(artefact, artefacts[artefact], tmp_path / "copy", range(n)))
    assert not used, used
    tried(3, f"bits, cuts, exchanged and missing files: {artefact}", n, altered=len(used))


@pytest.mark.parametrize("artefact", ["run", "checkpoints"])
def test_row_03_notices_a_build_that_checks_no_hash(
    artefact: str, artefacts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(artefacts[artefact], tmp_path / "source")
    _without_hashes(monkeypatch)
    assert _loses(lambda: len(list(damaged(artefact, source, tmp_path / "copy", range(60)))))


def test_row_03_embedded_vectors_are_refused(trained: Path, shapes: Path, tmp_path: Path, shell: Shell) -> None:
    """A .parquet carries checksums of its pages, a .npz those of its members."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(path: Path) -> bytes:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                names = ("id", "modality", "path", "text", "embedding")
                return b"".join(np.ascontiguousarray(stored[name]).tobytes() for name in names)
        table = pq.read_table(path, page_checksum_verification=True)
        return repr(table.to_pydict()).encode()

    altered, n = [], 0
    for suffix in ("npz", "parquet"):
        out = tmp_path / f"v.{suffix}"
        shell.json("embed", trained, shapes, "--out", out)
        content, kept, dice = read(out), out.read_bytes(), random.Random(3)
        for _ in range(40):
            at, n = dice.randrange(len(kept)), n + 1
            out.write_bytes(kept[:at] + bytes([kept[at] ^ 1 << dice.randrange(8)]) + kept[at + 1 :])
            with suppress(Exception):  # whatever the library of its reader raises
                altered += [f"byte {at} of {len(kept)}.{suffix}"] if read(out) != content else []
    assert isinstance(pa.__version__, str)
    assert not altered, altered
    tried(3, "flipped bits: embed output, by its readers' checksums", n, altered=len(altered))
