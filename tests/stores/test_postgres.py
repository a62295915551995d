"""What only the server has: addresses with secrets, lost connections, models and small pictures beside vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cospace import files
from cospace.stores import Item, _blobs, _links, _tables, ann, search
from cospace.stores._server import Address, Server
from cospace.stores.postgres import PostgresIndex, PostgresThumbnails, exists, read_model, write_model
from cospace.types import UserError
from database import Database
from stores.test_contract import latent, units

ONES = np.ones((1, 4))


@pytest.fixture
def url(server: Database, request: pytest.FixtureRequest) -> str:
    """A schema of its own for a test."""
    names = "".join(letter if letter.isalnum() else "_" for letter in request.node.name.lower())
    return f"{server.tcp}#{names[-60:]}"


def items(count: int) -> list[Item]:
    return [Item(str(n), "image", text=f"caption {n}") for n in range(count)]


@pytest.mark.parametrize(
    ("given", "schema", "shown"),
    [
        ("postgresql://me:s3cret@host/db#photos", "photos", "postgresql://me@host/db#photos"),
        ("postgresql://me@host:5433/db", "cospace", "postgresql://me@host:5433/db#cospace"),
        ("postgres:///db?host=/run/pg&password=s3cret", "cospace", "postgres:///db#cospace"),
    ],
)
def test_an_address_is_shown_without_its_secret(given: str, schema: str, shown: str) -> None:
    address = Address.parse(given)
    assert (address.schema, address.shown) == (schema, shown) and "s3cret" not in repr(address)


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://me:s3/cret@host/db",
        "postgresql://me:s3?cret@host/db",
        "postgresql://me:s3#cret@host/db",
        "postgresql://me:s3@cret@host/db",
        "postgresql://me:s3cret@host/db#Photos",
        "postgresql://me:s3cret@host/db#a;b",
        "mysql://me:s3cret@host/db",
        "host=x password=s3cret",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_repeating_it(given: str) -> None:
    with pytest.raises(UserError) as error:
        Address.parse(given)
    assert "s3" not in str(error.value) and "cret" not in str(error.value)


SECRETS = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=4).map(lambda text: f"Zq{text}qZ")


@example("Zq00&ZqZ", "h/d?password={}")
@given(SECRETS, st.sampled_from(["me:{}@h/d", "h/d?password={}", "h/d?user=me&password={}&port=1"]))
def test_no_password_is_in_any_refusal(secret: str, form: str) -> None:
    """Whatever the secret looks like, neither a refused address nor the server's words carry it on."""
    try:
        address = Address.parse(f"postgresql://{form.format(secret)}")
        refused = str(address.refused(RuntimeError(f"could not use {address.conninfo} at all")))
    except UserError as error:
        refused = str(error)
    assert "Zq" not in refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("127.0.0.1:", "127.0.0.1:1"), "refuses"),
        (("postgres@", "nobody_here:s3cret@"), "nobody_here"),
        (("/postgres", "/no_such_database?password=s3cret"), "no_such_database"),
        (("127.0.0.1", "s3cret:s3cret@127.0.0.1:abc,"), "refuses|%40|spelling"),
    ],
)
def test_a_server_that_cannot_be_had_is_one_sentence(server: Database, change: tuple[str, str], said: str) -> None:
    start, _, end = server.tcp.rpartition(change[0])
    address = start + change[1] + end
    for attempt in (PostgresIndex.open, exists, PostgresThumbnails):
        with pytest.raises(UserError, match=said) as error:
            attempt(address)
        assert ":s3cret" not in str(error.value) and "\n" not in str(error.value)


def test_the_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install 'cospace\[postgres\]'"):
        PostgresIndex.open("postgresql://localhost/db")


def test_connections_that_the_server_ended_are_made_anew(url: str) -> None:
    index = PostgresIndex.create(url, "f00d", 4)
    index.add(items(3), np.eye(4)[:3])

    def end_all() -> None:
        with Server(url).writing() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'cospace%' AND pid <> pg_backend_pid()"
            )

    assert len(search(index, ONES, 5)[0]) == 3
    end_all()
    assert len(search(index, ONES, 5)[0]) == 3, "a reader connects again"
    end_all()
    with pytest.raises(UserError, match="refuses"):
        index.add([Item("x", "image")], ONES)
    index.add([Item("y", "image")], ONES)
    assert sorted(PostgresIndex.open(url).hashes()) == ["0", "1", "2", "y"], "a writer goes on with the next change"
    index.close()


def test_a_change_that_fails_halfway_leaves_nothing(url: str) -> None:
    index = PostgresIndex.create(url, "f00d", 4)
    index.add(items(3), np.eye(4)[:3])
    with pytest.raises(UserError, match="holds a NUL"):
        index.add([*items(2), Item("a\0b", "image")], np.eye(4)[:3])
    too_long = np.random.default_rng(0).bytes(10**4).hex()  # for the index over ids, also compressed
    with pytest.raises(UserError, match="refuses"):
        index.add([Item("1", "image", text="new"), Item(too_long, "image")], np.eye(4)[:2])
    assert {hit.text for hit in search(index, ONES, 9)[0]} == {f"caption {n}" for n in range(3)}
    assert index.version == PostgresIndex.open(url).version == 2
    index.close()


def test_dead_rows_go_when_it_is_finished(url: str) -> None:
    index = PostgresIndex.create(url, "f00d", 4)
    for _ in range(3):
        index.add(items(3), np.eye(4)[:3])
    index.delete(["0"])

    def rows() -> int:
        with Server(url).writing() as connection:
            return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])

    assert rows() == 9 and len(index) == 2
    index.finish()
    assert rows() == 2 == len(index.hashes())
    index.close()


def definitions(url: str) -> list[str]:
    """Of the vector indexes of a schema."""
    with Server(url).writing() as connection:
        asked = "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND indexname LIKE 'graph%%'"
        return [row[0] for row in connection.execute(asked, [Address.parse(url).schema]).fetchall()]


@pytest.mark.parametrize(
    ("kind", "written"),
    [("hnsw:m=8,ef_construction=40", "USING hnsw"), ("ivfflat:lists=12", "USING ivfflat"), ("ivfflat", "lists='2'")],
)
def test_the_vector_index_is_a_setting_and_is_measured(
    url: str, kind: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_links, "GRAPH_ROWS", 500)
    data, queries = latent(1500, 1), latent(30, 2)
    index = PostgresIndex.create(url, "f00d", 32)
    index.choose_ann(kind)
    index.add(items(1500), data)
    assert index.measured == {} and definitions(url) == []
    index.finish()
    index.close()
    (made,) = definitions(url)
    assert written in made and all(f"{name}='{value}'" in made for name, value in index._ann.options.items())
    again = PostgresIndex.open(url)
    found = again.measured["image"]
    assert found == index.measured["image"] and (found.ann, found.rows) == (kind, 1500) and found.recall >= ann.PROMISE
    truth = np.argsort(-(units(queries) @ units(data).T), axis=1)[:, :10]
    hits = [{int(hit.id) for hit in hits} for hits in search(again, queries, 10)]
    assert np.mean([len(some & set(true)) / 10 for some, true in zip(hits, truth.tolist(), strict=True)]) >= 0.95
    again.finish()
    assert definitions(url) == [made], "nothing is built twice"
    again.choose_ann("exact")
    again.finish()
    assert again.measured == {} == PostgresIndex.open(url).measured and definitions(url) == []
    again.close()


def test_a_vector_index_that_fails_its_promise_is_dropped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_links, "GRAPH_ROWS", 500)
    index = PostgresIndex.create(url, "f00d", 32)
    index.add(items(600), latent(600, 1))
    with monkeypatch.context() as patch:
        patch.setattr(ann, "PROMISE", 1.01)
        index.finish()
        assert not index.measured["image"].used and definitions(url) == []
        index.finish()
        assert definitions(url) == [], "it is not tried again until there is more"
    index.add([Item(f"more {n}", "image") for n in range(300)], latent(300, 2))
    index.finish()
    assert index.measured["image"].rows == 900 and len(definitions(url)) == 1
    index.close()


def test_a_graph_of_before_is_kept_and_measured(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_links, "GRAPH_ROWS", 500)
    index = PostgresIndex.create(url, "f00d", 32)
    index.add(items(600), latent(600, 1))
    index.finish()
    with Server(url).writing() as connection:
        connection.execute("DROP TABLE facts")
        (before,) = connection.execute("SELECT 'graph_' || max(relfilenode) FROM pg_class WHERE relname LIKE 'graph%'")
    index.refresh()
    assert index.measured == {} and len(search(index, latent(1, 2), 10)[0]) == 10
    index.finish()
    with Server(url).writing() as connection:
        (after,) = connection.execute("SELECT 'graph_' || max(relfilenode) FROM pg_class WHERE relname LIKE 'graph%'")
    assert index.measured["image"].used and before == after
    index.close()


def test_what_pgvector_has_not_is_refused(url: str) -> None:
    index = PostgresIndex.create(url, "f00d", 4)
    for written, said in (("ivf_pq", "choose one of exact, hnsw, ivfflat"), ("hnsw:m=1", "from 2 to 100, '1'")):
        with pytest.raises(UserError, match=said):
            index.choose_ann(written)


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-6), ("float16", 2**-11 + 1e-6)])
def test_scores_of_each_precision_are_within_their_bound(url: str, precision: str, bound: float) -> None:
    drawn = np.random.default_rng(0)
    data, queries = drawn.normal(size=(100, 64)), drawn.normal(size=(5, 64))
    index = PostgresIndex.create(url, "f00d", 64, precision)
    index.add(items(100), data)
    found = index.nearest(queries, 100)
    data, queries = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (data, queries))
    exact = queries @ data.T
    numbers = index.numbers([str(n) for n in range(100)])
    for row, scores, true in zip(found.numbers_QK, found.scores_QK, exact, strict=True):
        np.testing.assert_allclose(scores, true[np.searchsorted(numbers, row)], atol=bound)
    assert PostgresIndex.open(url).precision == precision
    index.close()


@pytest.mark.parametrize(("width", "precision"), [(0, "float32"), (2001, "float32"), (4001, "float16"), (8, "int8")])
def test_what_pgvector_cannot_hold_is_refused(url: str, width: int, precision: str) -> None:
    with pytest.raises(UserError, match="widths from 1 to|cannot store"):
        PostgresIndex.create(url, "f00d", width, precision)
    assert not exists(url)


def test_an_old_pgvector_and_another_format_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_tables, "PGVECTOR", (99, 0))
        with pytest.raises(UserError, match="pgvector 0"):
            PostgresIndex.create(url, "f00d", 4)
    assert not exists(url)
    PostgresIndex.create(url, "f00d", 4).close()
    assert exists(url)
    monkeypatch.setattr(_tables, "FORMAT", 9)
    with pytest.raises(UserError, match="has format 2, this cospace reads 9; index again"):
        PostgresIndex.open(url)


def test_a_models_files_come_back_as_they_were(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blobs, "PART", 1000)
    content: dict[str, Any] = {"weights.bin": bytes(range(256)) * 20, "sub/empty": b"", "config.json": b"{}"}
    files.write_folder(tmp_path / "model", content)
    with pytest.raises(UserError, match="holds no model|refuses"):
        read_model(url, tmp_path / "copy")
    write_model(url, tmp_path / "model")
    read_model(url, tmp_path / "copy")
    files.verify(tmp_path / "copy")
    assert files.fingerprint(tmp_path / "copy") == files.fingerprint(tmp_path / "model")
    files.write_folder(tmp_path / "model", {"config.json": b"[]"})
    write_model(url, tmp_path / "model")
    read_model(url, tmp_path / "copy")
    assert [path.name for path in sorted((tmp_path / "copy").iterdir())] == ["MANIFEST.json", "config.json"]


def test_small_pictures_are_kept_by_hash_and_size(url: str) -> None:
    small = PostgresThumbnails(url)
    small.add([("a", 64, b"one"), ("a", 256, b"\0two"), ("b", 64, b"")])
    small.add([("a", 64, b"new")])
    again = PostgresThumbnails(url)
    assert (again.get("a", 64), again.get("a", 256), again.get("b", 64)) == (b"new", b"\0two", b"")
    assert again.get("a", 512) is None is again.get("\0", 64)
    assert again.known(["b", "a", "c", "\0"]) == {"a", "b"} and again.known([]) == set()
    small.close()
    again.close()
