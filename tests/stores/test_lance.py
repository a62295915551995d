"""What only LanceDB has: writers without a lock, tables that are newer than the record, kinds of vector indexes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cospace.stores import Item, _lance_blobs, _lance_part, _lance_versions, ann, lance, search
from cospace.stores._lance_blobs import LanceSaved, LanceThumbnails
from cospace.stores._lance_tables import Database
from cospace.stores.ann import Ann, Measured
from cospace.stores.lance import LanceIndex, exists, remove
from cospace.types import StorageError, UserError
from stores.test_contract import latent, units

pytestmark = pytest.mark.usefixtures("lancedb")

ONES = np.ones((1, 4))
NASTY = ["it's", 'a "b"', "a\0b", "x\ny", "\\'", "é", "日本", "; DROP TABLE items; --", "%", "?", "", " "]


def items(count: int, turn: int = 0) -> list[Item]:
    return [Item(str(n), "image", text=f"caption {turn}") for n in range(count)]


def rows_of(target: str) -> list[str]:
    """Ids of all rows that a fresh reader has, also those that occur twice."""
    return sorted(name for part in LanceIndex.open(target)._state.parts for name in part.column("id").to_pylist())


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "idx")


def test_objects_hold_an_index(bucket: str, tmp_path: Path) -> None:
    assert not exists(bucket)
    index = LanceIndex.create(bucket, "f00d", 4)
    index.add(items(4), np.eye(4))
    index.delete(["3"])
    index.finish()
    reader = LanceIndex.open(bucket, "f00d")
    assert search(reader, np.eye(4)[1:2], 9)[0][0].id == "1" and len(reader) == 3
    LanceThumbnails(bucket).add([("h", 64, b"small")])
    assert LanceThumbnails(bucket).get("h", 64) == b"small"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(bytes(range(256)))
    _lance_blobs.write_model(bucket, tmp_path / "model")
    _lance_blobs.read_model(bucket, tmp_path / "copy")
    assert (tmp_path / "copy" / "weights").read_bytes() == bytes(range(256))
    remove(bucket)
    assert not exists(bucket)
    with pytest.raises(StorageError, match="is gone since it was opened"):
        reader.check_unchanged()


def test_two_writers_without_a_lock(bucket: str) -> None:
    """One after the other is served; who meets a version of another in the middle of its work is refused."""
    LanceIndex.create(bucket, "f00d", 4).close()
    first, second = LanceIndex.open(bucket), LanceIndex.open(bucket)
    first.add(items(2), np.eye(4)[:2])
    second.add([Item("9", "image")], ONES)
    with pytest.raises(StorageError, match=r"was changed by process \d+ on .* meanwhile; wait for it to end"):
        first.add([Item("8", "image")], ONES)
    first.close()
    second.delete(["0"])
    second.close()
    first.add([Item("7", "image")], ONES)
    assert rows_of(bucket) == ["1", "7", "9"]


def test_a_bucket_that_is_not_there_is_one_sentence(bucket: str) -> None:
    with pytest.raises(StorageError, match="cannot be used: The specified bucket does not exist") as error:
        LanceIndex.open("s3://no-such-bucket/x")
    assert "s3cret" not in str(error.value) and "\n" not in str(error.value)


def test_whoever_races_every_id_is_there_once(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers without a lock replace the same ids at the same time: each change is in the index whole or refused."""
    LanceIndex.create(target, "f00d", 4).close()
    kept: list[int] = []
    refused: list[str] = []

    def write(name: int) -> None:
        for turn in range(12):
            writer = LanceIndex.open(target)
            writer._lock = None  # as on object storage
            try:
                writer.add(items(3, 100 * name + turn), np.eye(4)[:3])
                kept.append(100 * name + turn)
            except StorageError as error:
                refused.append(str(error))

    writers = [threading.Thread(target=write, args=(name,)) for name in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert rows_of(target) == ["0", "1", "2"]
    index = LanceIndex.open(target)
    turns = {item.text for item in index.items(index.select())}
    assert len(turns) == 1 and turns <= {f"caption {turn}" for turn in kept}
    assert len(kept) + len(refused) == 36 and kept
    assert index.version == 1 + len(kept), "every change that was kept is a version, and no other is"


@pytest.mark.parametrize("method", ["add", "delete", "finish"])
def test_what_no_record_lists_is_taken_back(target: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that dies after the tables were written and before the record was."""
    index = LanceIndex.create(target, "f00d", 4)
    index.add([*items(3), Item("t", "text")], np.eye(4))
    with monkeypatch.context() as patch:
        patch.setattr(_lance_versions.Records, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        given: dict[str, Any] = {
            "add": ([Item("2", "text", text="new"), Item("3", "image")], np.eye(4)[:2]),
            "delete": (["0", "t"],),
        }
        with pytest.raises(KeyboardInterrupt):
            getattr(index, method)(*given.get(method, ()))
    assert rows_of(target) == ["0", "1", "2", "t"] and len(index) == 4
    index.close()
    again = LanceIndex.open(target)
    again.add([Item("4", "image")], ONES)
    again.delete(["1"])
    assert rows_of(target) == ["0", "2", "4", "t"]
    assert {item.text for item in again.items(again.select())} == {"caption 0", ""}


def test_rows_that_another_wrote_meanwhile_are_not_recorded(target: str) -> None:
    index = LanceIndex.create(target, "f00d", 4)
    index.add(items(2), np.eye(4)[:2])
    change = index._change("image")
    foreign = _lance_part.rows_of([Item("1", "image", text="foreign")], ONES.astype(np.float32), "float32")
    Database(target).open("items_image").add(foreign)
    with pytest.raises(StorageError, match="is being written by another process too"):
        change.add(_lance_part.rows_of([Item("5", "image")], ONES.astype(np.float32), "float32"))
    index.add([Item("6", "image")], ONES)
    assert rows_of(target) == ["0", "1", "6"]


def test_a_writer_that_slept_through_many_versions_is_refused(target: str) -> None:
    """Also when the records that it would have met are removed."""
    LanceIndex.create(target, "f00d", 4).close()
    late, busy = LanceIndex.open(target), LanceIndex.open(target)
    late._lock = None
    record = {**late._state.record, "version": 2}
    for turn in range(_lance_versions.KEPT + 3):
        busy.add(items(1, turn), ONES)
    busy.close()
    with pytest.raises(StorageError, match="meanwhile"):
        late._records.append(record)
    assert LanceIndex.open(target).version == _lance_versions.KEPT + 4
    late.refresh()
    late.add([Item("x", "image")], ONES)
    assert rows_of(target) == ["0", "x"]


def test_a_reader_keeps_its_version_whatever_is_done(target: str) -> None:
    index = LanceIndex.create(target, "f00d", 4)
    index.add(items(3), np.eye(4)[:3])
    reader = LanceIndex.open(target)  # nothing of it was read yet
    for turn in range(1, 40):
        index.add(items(3, turn), np.eye(4)[:3])
    index.delete(["0"])
    index.finish()
    assert {hit.text for hit in search(reader, ONES, 9)[0]} == {"caption 0"} and len(reader) == 3
    reader.check_unchanged()
    assert reader.refresh() and len(reader) == 2 and not reader.refresh()
    records = Database(target).open("versions")
    assert records.count_rows() <= _lance_versions.KEPT + 1


def test_no_version_is_forgotten_before_a_record_lists_another(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that was left alone for long, finished by a process that dies before its record."""
    monkeypatch.setattr(lance, "KEPT", timedelta(microseconds=1))
    index = LanceIndex.create(target, "f00d", 4)
    for turn in range(3):
        index.add(items(3, turn), np.eye(4)[:3])
    with monkeypatch.context() as patch:
        patch.setattr(_lance_versions.Records, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            index.finish()
    index.close()
    again = LanceIndex.open(target)
    assert {hit.text for hit in search(again, ONES, 9)[0]} == {"caption 2"}
    for _ in range(2):
        again.finish()
        assert {hit.text for hit in search(LanceIndex.open(target), ONES, 9)[0]} == {"caption 2"}
    assert len(Database(target).open("items_image").list_versions()) == 1
    again.close()


KINDS = [
    "ivf_pq",
    "ivf_pq:num_partitions=8,num_sub_vectors=4",
    "ivf_rq",
    "ivf_rq:num_bits=4",
    "ivf_hnsw_sq:m=12",
    "ivf_flat",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_its_promise(target: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 500)
    monkeypatch.setattr(_lance_part, "COST", 1)
    data, queries = latent(2000, 1), latent(50, 2)
    index = LanceIndex.create(target, "f00d", 32)
    index.choose_ann(kind)
    index.add([Item(str(n), "image") for n in range(2000)], data)
    assert index.measured == {}
    index.finish()
    index.close()
    again = LanceIndex.open(target)
    found = again.measured["image"]
    assert found == index.measured["image"] and (found.ann, found.rows, found.queries) == (kind, 2000, ann.QUERIES)
    assert found.recall >= ann.PROMISE and "recall@10" in found.sentence("images")
    assert recall_of(again, data, queries) >= 0.95
    again.choose_ann("exact")
    again.finish()
    assert again.measured == {} == LanceIndex.open(target).measured and recall_of(again, data, queries) == 1.0
    again.close()


def recall_of(index: LanceIndex, data: np.ndarray, queries: np.ndarray) -> float:
    truth = np.argsort(-(units(queries) @ units(data).T), axis=1)[:, :10]
    found = [{int(hit.id) for hit in hits} for hits in search(index, queries, 10)]
    return float(np.mean([len(some & set(true.tolist())) / 10 for some, true in zip(found, truth, strict=True)]))


def test_an_index_that_fails_its_promise_is_not_used(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 500)
    monkeypatch.setattr(_lance_part, "COST", 1)
    monkeypatch.setattr(ann, "PROMISE", 1.01)
    data, queries = latent(1000, 1), latent(20, 2)
    index = LanceIndex.create(target, "f00d", 32)
    index.add([Item(str(n), "image") for n in range(1000)], data)
    index.finish()
    assert not index.measured["image"].used and "are searched exactly" in index.measured["image"].sentence("images")
    asked: list[int] = []
    monkeypatch.setattr(_lance_part.Part, "near", lambda *_: asked.append(1))
    assert recall_of(index, data, queries) == 1.0 and not asked
    index.close()


def test_a_width_that_eight_does_not_divide_has_an_index_too(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 500)
    monkeypatch.setattr(_lance_part, "COST", 1)
    data, queries = latent(1000, 1, width=30), latent(20, 2, width=30)
    index = LanceIndex.create(target, "f00d", 30)
    index.add([Item(str(n), "image") for n in range(1000)], data)
    index.finish()
    assert index.measured["image"].ann == "ivf_pq" and recall_of(index, data, queries) >= 0.95
    index.close()


def test_recall_is_what_a_full_matrix_says() -> None:
    """A search that loses a known share; of equal vectors any will do, and a query is no answer to itself."""
    data = units(latent(300, 1))
    data[150:] = data[:150]

    class Sampled:
        queries = 40

        def select(self, where: Any = (), most: int | None = None, seed: int = 0) -> np.ndarray:
            return np.arange(most or 300)

        def vectors(self, numbers: np.ndarray) -> np.ndarray:
            return data[numbers]

    def answer(lost: int) -> Any:
        def search(queries: np.ndarray, k: int, given: Any) -> Any:
            scores = queries @ data.T
            order = np.argsort(-scores, axis=1, kind="stable" if given is None else "quicksort")
            order = order[:, : k + lost][:, lost:] if given is not None and lost else order[:, :k]
            return ann.Found(order, np.take_along_axis(scores, order, axis=1).astype(np.float32))

        return search

    tried = [{"n": 1}, {"n": 2}]
    assert ann.measure(Sampled(), "image", ["image"], answer(0), tried) == ({"n": 1}, 1.0, 40)
    search, recall, _ = ann.measure(Sampled(), "image", ["text"], answer(3), tried)
    assert (search, recall) == ({"n": 2}, pytest.approx(0.7, abs=0.02)), "the best three of ten are missing"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("annoy", "no vector index of this store; choose one of exact, ivf_flat, ivf_hnsw_sq, ivf_pq, ivf_rq"),
        ("ivf_pq:m=3", "ivf_pq has no option 'm'; allowed are: num_partitions, num_sub_vectors"),
        ("ivf_hnsw_sq:m=1", "m of ivf_hnsw_sq is a whole number from 2 to 256, '1' was given"),
        ("ivf_hnsw_sq:m=x", "'x' was given"),
        ("exact:m=2", "allowed are: none"),
    ],
)
def test_what_is_no_vector_index(target: str, written: str, said: str) -> None:
    index = LanceIndex.create(target, "f00d", 4)
    with pytest.raises(UserError, match=said):
        index.choose_ann(written)


def test_a_setting_is_written_as_it_was_read() -> None:
    kinds = {"hnsw": {"m": (2, 100), "ef_construction": (4, 1000)}}
    for written in ("hnsw", "hnsw:m=32", "hnsw:m=32,ef_construction=200"):
        assert str(Ann.parse(written, kinds)) == written
    found = Measured("hnsw:m=32", 9, 0.5, 3, {"ef_search": 50})
    assert Measured.from_plain(found.plain()) == found


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-6), ("float16", 2**-11 + 1e-6)])
def test_scores_of_each_precision_are_within_their_bound(target: str, precision: str, bound: float) -> None:
    drawn = np.random.default_rng(0)
    data, queries = drawn.normal(size=(100, 64)), drawn.normal(size=(5, 64))
    index = LanceIndex.create(target, "f00d", 64, precision)
    index.add(items(100), data)
    found = index.nearest(queries, 100)
    exact, numbers = units(queries) @ units(data).T, index.numbers([str(n) for n in range(100)])
    for row, scores, true in zip(found.numbers_QK, found.scores_QK, exact, strict=True):
        np.testing.assert_allclose(scores, true[[numbers.tolist().index(n) for n in row]], atol=bound)
    assert LanceIndex.open(target).precision == precision
    index.close()


def test_any_text_is_a_text(target: str) -> None:
    index = LanceIndex.create(target, "f00d", 4)
    made = [Item(name, name or "image", name, name, name, extras={name: name}) for name in NASTY]
    index.add(made, np.ones((len(NASTY), 4)))
    index.close()
    reader = LanceIndex.open(target)
    assert reader.items(reader.numbers(NASTY).tolist()) == made
    assert reader.numbers(["\udcff", "none"]).tolist() == [-1, -1] and reader.delete(["\udcff"]) == 0
    assert reader.delete(NASTY[::2]) == len(NASTY[::2]) and sorted(reader.hashes()) == sorted(NASTY[1::2])
    small = LanceThumbnails(target)
    small.add([(name, 64, name.encode()) for name in NASTY])
    assert [small.get(name, 64) for name in NASTY] == [name.encode() for name in NASTY]
    small.remove(NASTY[:3])
    assert small.known([*NASTY, "none", "\udcff"]) == set(NASTY[3:]) and small.get("\udcff", 64) is None
    reader.close()


def test_small_pictures_and_files_are_replaced(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lance_blobs, "MOST_PIECES", 3)
    monkeypatch.setattr(_lance_blobs, "INDEXED_ROWS", 4)
    LanceIndex.create(target, "f00d", 4).close()
    small = LanceThumbnails(target)
    assert small.get("a", 64) is None and small.known(["a"]) == set()
    for turn in range(8):
        small.add([("a", 64, b"%d" % turn), (str(turn), 64, b"x"), (str(turn), 256, b"y")])
    assert (LanceThumbnails(target).get("a", 64), small.get("7", 256)) == (b"7", b"y")
    kept = Database(target).open("thumbnails")
    assert kept.count_rows() == 17 and kept.list_indices()
    files = LanceSaved(target)
    files.put("two", b"2")
    files.put("one", b"1")
    files.put("two", b"two")
    assert (files.names(), files.get("two"), files.get("three")) == (["one", "two"], b"two", None)
    assert files.remove("one") and not files.remove("one")


FINISHER = """
import sys
from cospace.stores import _lance_part
from cospace.stores.lance import LanceIndex
_lance_part.ANN_ROWS = 300
index = LanceIndex.open(sys.argv[1])
for turn in range(10**6):
    index.choose_ann(("ivf_rq", "ivf_flat", "exact")[turn % 3])
    index.finish()
    print(turn, flush=True)
"""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_killed_while_it_builds(target: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it is killed, everything is found, and the next writer goes on."""
    monkeypatch.setattr(_lance_part, "ANN_ROWS", 300)
    monkeypatch.setattr(_lance_part, "COST", 1)
    data = latent(600, 1)
    with LanceIndex.create(target, "f00d", 32) as index:
        index.add([Item(str(n), "image") for n in range(600)], data)
    drawn = np.random.default_rng(seed)
    child = subprocess.Popen([sys.executable, "-c", FINISHER, target], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(int(drawn.integers(1, 5))):
        child.stdout.readline()
    threading.Event().wait(float(drawn.random()) * 0.4)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    again = LanceIndex.open(target)
    assert len(again) == 600 and recall_of(again, data, data[::20]) >= 0.95
    again.finish()
    assert recall_of(again, data, data[::20]) >= 0.95
    again.close()


def test_damage_is_noticed(target: str) -> None:
    index = LanceIndex.create(target, "f00d", 4)
    index.add(items(3), np.eye(4)[:3])
    index.close()
    for path in Path(target).glob("items_image.lance/data/*"):
        path.unlink()
    with pytest.raises(StorageError, match="cannot be used"):
        search(LanceIndex.open(target), ONES, 3)
    for path in Path(target).glob("versions.lance/data/*"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StorageError, match="cannot be used"):
        LanceIndex.open(target)


def test_the_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UserError, match=r"pip install 'cospace\[lance\]'"):
        LanceIndex.create(target, "f00d", 4)
    assert not Path(target).exists()
