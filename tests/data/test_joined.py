"""Tables with any subset of modalities, and several of them joined into one set: who has what, and what matches."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cospace.data.batches import Batch, DecoderTargets, TrainingBatches
from cospace.data.check import check
from cospace.data.keys import ABSENT
from cospace.data.pairs import Pairs, build, join_pairs, open_pairs
from cospace.data.prepared import PreparedPairs, different_items, prepare_pairs
from cospace.data.sampler import BatchSampler
from cospace.data.sources import Rows
from cospace.data.splits import hold_out
from cospace.data.targets import TaskTargets
from cospace.matches import modality_pairs
from cospace.modalities import FIELDS, modality
from cospace.types import Problem, UserError

NAMES = ("audio", "image", "text")


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """A table of these rows; files that it names are made beside it, different for different names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    for name in {row[column] for row in rows for column in ("image", "audio") if row.get(column)}:
        number = zlib.crc32(name.encode()) % 65_536
        if name.endswith(".png"):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(path.parent / name)
        else:
            samples = np.sin(np.arange(2000) * (0.01 + number / 65_536)).astype(np.float32)
            (path.parent / name).write_bytes(modality("audio").export((samples, 8_000))[0])
    return path


@pytest.fixture
def sights(tmp_path: Path) -> Path:
    """Images with captions."""
    rows = [{"image": f"{n}.png", "text": text} for n, text in enumerate(["a bell", "a dog", "a bell", "a bus"])]
    return write(tmp_path / "sights" / "t.csv", rows)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Sounds with captions, of which two are those of images, in another spelling."""
    rows = [{"audio": f"{n}.wav", "text": text} for n, text in enumerate(["A  Bell", "rain", "A DOG"])]
    return write(tmp_path / "sounds" / "t.csv", rows)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Questions about two of the images and another one; there are no captions."""
    asked = [("0.png", "what is it", "bell"), ("1.png", "is it red", "no"), ("9.png", "is it red", "yes")]
    rows = [{"image": name, "question": question, "answer": answer} for name, question, answer in asked]
    return write(tmp_path / "questions" / "t.csv", rows)


def matching(pairs: Pairs, left: str, right: str) -> set[tuple[str, str]]:
    """Pairs of ids whose left and right items match."""
    rows = [np.flatnonzero(pairs.keys[name] != ABSENT) for name in (left, right)]
    dense = pairs.matches.between(left, right, *rows).dense().numpy()
    return {(pairs.place(rows[0][a]), pairs.place(rows[1][b])) for a, b in np.argwhere(dense)}


# --- one table --------------------------------------------------------------------------------------------------------


def test_a_table_may_lack_some_modalities_of_some_rows(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "audio": "a.wav", "text": "both"},
        {"image": "b.png", "text": "seen"},
        {"audio": "b.wav", "text": "heard"},
        {"image": "a.png", "audio": "b.wav"},
    ]
    pairs = open_pairs(write(tmp_path / "t.csv", rows))
    assert not pairs.problems
    assert sorted(pairs.modalities) == list(NAMES)
    assert pairs.items["text"] == ["both", "seen", "heard", None]
    assert [item and item.name for item in pairs.items["audio"]] == ["a.wav", None, "b.wav", "b.wav"]
    assert pairs.keys["image"].tolist() == [0, 1, ABSENT, 0]
    assert pairs.keys["audio"].tolist() == [0, ABSENT, 1, 1]
    assert pairs[1].items.keys() == {"image", "text"}
    assert pairs.contents["audio"][1] == ""
    assert pairs.groups.tolist() == [0, 1, 0, 0]
    assert matching(pairs, "image", "audio") >= {("t.csv:2", "t.csv:2"), ("t.csv:2", "t.csv:5")}
    assert ("t.csv:3", "t.csv:4") not in matching(pairs, "image", "audio")


def test_a_row_with_less_than_two_modalities_pairs_nothing(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "audio": "a.wav", "text": "both"}, {"text": "nothing else"}, {"image": "b.png"}]
    (write(tmp_path / "t.csv", rows).parent / "t.csv").open("a").write("  , b.wav,\n")
    pairs = open_pairs(tmp_path / "t.csv")
    assert list(pairs.places) == ["t.csv:2"]
    assert [problem.id for problem in pairs.problems] == ["t.csv:3", "t.csv:4", "t.csv:5"]


def test_where_a_table_pairs_two_modalities_every_row_needs_both(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "audio": "a.wav"}, {"image": "b.png", "audio": ""}]
    pairs = open_pairs(write(tmp_path / "t.csv", rows))
    assert pairs.modalities == ["audio", "image"]
    assert [(problem.id, problem.kind) for problem in pairs.problems] == [("t.csv:3", "missing")]


def test_a_table_may_caption_some_images_and_ask_about_others(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "text": "a bell", "question": "", "answer": ""},
        {"image": "b.png", "question": "what is it", "answer": "a dog"},
        {"image": "c.png", "text": "a bus", "question": "is it red", "answer": "yes"},
        {"image": "d.png", "text": "no answer", "question": "why", "answer": ""},
        {"image": "e.png"},
        {"text": "no image", "question": "why", "answer": "so"},
    ]
    pairs = open_pairs(write(tmp_path / "t.csv", rows))
    assert list(pairs.places) == ["t.csv:2", "t.csv:3", "t.csv:4"]
    assert pairs.items["text"] == ["a bell", None, "a bus"]
    assert pairs.items["answer"] == [None, "a dog", "yes"]
    assert pairs.modalities == ["image", "text"]
    kinds = {problem.id: problem.kind for problem in pairs.problems}
    assert kinds == {"t.csv:5": "empty answer", "t.csv:6": "empty caption", "t.csv:7": "missing"}


# --- several tables ---------------------------------------------------------------------------------------------------


def test_an_equal_caption_joins_two_tables(sights: Path, sounds: Path) -> None:
    pairs = open_pairs([sights, sounds])
    assert len(pairs) == 7
    assert sorted(pairs.modalities) == list(NAMES)
    assert pairs.keys["audio"].tolist() == [ABSENT] * 4 + [0, 1, 2]
    assert pairs.keys["image"].tolist() == [0, 1, 2, 3] + [ABSENT] * 3
    assert pairs.items["image"][4:] == [None] * 3
    assert pairs.contents["image"][4:] == [""] * 3
    assert pairs.groups.tolist() == [0, 1, 0, 2, 0, 3, 1]
    first, second = ([f"{n}:t.csv/t.csv:{line}" for line in range(2, 6)] for n in (1, 2))
    bells = {first[0], first[2], second[0]}
    assert {pair for pair in matching(pairs, "text", "audio") if pair[1] == second[0]} == {
        (i, second[0]) for i in bells
    }
    assert {i for i, text in matching(pairs, "image", "text") if text == second[0]} == {first[0], first[2]}
    assert matching(pairs, "image", "audio") == set(), "no row pairs an image with a sound"
    through = matching(pairs.matched_through("text"), "image", "audio")
    assert through == {(first[0], second[0]), (first[2], second[0]), (first[1], second[2])}


def test_ids_that_two_tables_give_are_told_apart_and_others_stay(sights: Path, sounds: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "u.csv", [{"image": "x.png", "text": "one more"}])
    pairs = open_pairs([sights, other, sounds])
    assert len(set(pairs.ids)) == len(pairs) == 8
    assert list(pairs.places)[3:6] == ["t.csv:5", "u.csv:2", "3:t.csv/t.csv:2"]
    assert len(set(open_pairs([sights, sights]).ids)) == 8


def test_a_problem_is_of_its_own_table(sights: Path, sounds: Path) -> None:
    with sounds.open("a") as file:
        file.write("none.wav,lost\n")  # line 5, which the other table has as well
    pairs = open_pairs([sights, sounds])
    assert [problem.id for problem in pairs.problems] == ["2:t.csv/t.csv:5"]
    assert "1:t.csv/t.csv:5" in pairs.places
    kept = pairs.without([Problem(pairs.places[0], "undecodable", "broken")])
    assert len(kept) == 6
    assert [problem.id for problem in kept.problems] == ["2:t.csv/t.csv:5", "1:t.csv/t.csv:2"]


def test_equal_files_in_two_tables_are_one_item(sights: Path, questions: Path) -> None:
    pairs = open_pairs([sights, questions])
    assert pairs.modalities == ["image", "text"]
    assert pairs.keys["image"].tolist() == [0, 1, 2, 3, 0, 1, 4]
    assert pairs.keys["question"].tolist() == [ABSENT] * 4 + [0, 1, 1]
    assert pairs.items["text"][4:] == [None] * 3
    assert pairs.groups.tolist() == [0, 1, 0, 2, 0, 1, 3]


def test_one_table_in_a_list_is_that_table_and_none_is_refused(sights: Path) -> None:
    assert open_pairs([sights]).fingerprint == open_pairs(sights).fingerprint
    with pytest.raises(UserError, match="at least one"):
        open_pairs([])


def test_the_order_of_tables_decides_the_rows_and_not_what_matches(sights: Path, sounds: Path) -> None:
    one, other = open_pairs([sights, sounds]), open_pairs([sounds, sights])
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == open_pairs([sights, sounds]).fingerprint

    def by_content(pairs: Pairs) -> set[tuple[str, str]]:
        place = {pairs.place(row): row for row in range(len(pairs))}
        found = matching(pairs, "text", "audio")
        return {(pairs.items["text"][place[a]], pairs.items["audio"][place[b]].name) for a, b in found}

    assert by_content(one) == by_content(other)


def test_a_selection_keeps_numbers_and_matches(sights: Path, sounds: Path, questions: Path) -> None:
    pairs = open_pairs([sights, sounds, questions])
    rows = np.array([8, 4, 0, 6])
    kept = pairs.select(rows)
    for column in pairs.items:
        assert kept.items[column] == [pairs.items[column][row] for row in rows]
        assert kept.keys[column].tolist() == pairs.keys[column][rows].tolist()
    assert kept.groups.tolist() == pairs.groups[rows].tolist()
    assert matching(kept, "text", "audio") == {
        pair for pair in matching(pairs, "text", "audio") if set(pair) <= set(kept.places)
    }


def test_the_check_counts_what_there_is_and_its_clean_table_reads_back(
    sights: Path, sounds: Path, questions: Path, tmp_path: Path
) -> None:
    sights.parent.joinpath("3.png").write_bytes(b"junk")
    checked = check(open_pairs([sights, sounds, questions]))
    assert {kind: len(found) for kind, found in checked.problems.items()} == {"undecodable": 1}
    counts = checked.counts
    assert [counts[f"unique_{name}s"] for name in NAMES] == [3, 4, 5]
    assert [counts[f"unique_{name}s"] for name in FIELDS] == [2, 3]
    assert counts["duplicates"] == 0
    assert "audio_seconds/max" in counts and "image_width/max" in counts
    again = open_pairs(checked.write(tmp_path / "clean"))
    assert not again.problems
    assert sorted(again.modalities) == list(NAMES)
    for name in NAMES:
        kept, read = (np.unique(pairs.keys[name], return_inverse=True)[1] for pairs in (checked.pairs, again))
        assert read.tolist() == kept.tolist()
    assert again.items["question"] == checked.pairs.items["question"]


PAIRED = st.sampled_from([("image", "text"), ("audio", "text"), ("audio", "image")])
ROWS = st.lists(st.tuples(PAIRED, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12)


@given(rows=ROWS)
def test_joining_parts_gives_the_keys_and_components_of_one_table(
    rows: list[tuple[tuple[str, str], int, int]],
) -> None:
    """Whether rows come in one set or each in a set of its own."""

    def item(name: str, number: int) -> object:
        return f"text {number}" if name == "text" else np.full((2, 2), number, np.uint8)

    def set_of(some: Sequence[tuple[tuple[str, str], int, int]], first: int) -> Pairs:
        columns = {
            name: [item(name, numbers[pair.index(name)]) if name in pair else None for pair, *numbers in some]
            for name in dict.fromkeys(name for pair, *_ in some for name in pair)
        }
        return build("part", Rows([f"r{first + n}" for n in range(len(some))], columns, least=2))

    whole = set_of(rows, 0)
    joined = join_pairs([set_of([row], number) for number, row in enumerate(rows)])
    assert joined.ids == whole.ids
    for name in whole.items:
        assert joined.keys[name].tolist() == whole.keys[name].tolist()
    assert joined.groups.tolist() == whole.groups.tolist()
    for pair in modality_pairs(whole.modalities):
        assert matching(joined, *pair) == matching(whole, *pair)


# --- what training makes of it ----------------------------------------------------------------------------------------


def many(folder: Path, count: int = 60) -> list[Path]:
    """An image and a sound for each of many captions, in two tables; and a question about every fifth image."""
    sights = [{"image": f"{n}.png", "text": f"thing {n}"} for n in range(count)]
    sounds = [{"audio": f"{n}.wav", "text": f"Thing {n}"} for n in range(count)]
    asked = [{"image": f"{n}.png", "question": f"what is {n}", "answer": "it"} for n in range(0, count, 5)]
    tables = {"sights": sights, "sounds": sounds, "asked": asked}
    return [write(folder / name / "t.csv", rows) for name, rows in tables.items()]


def test_what_is_held_out_is_held_out_in_every_table(tmp_path: Path) -> None:
    pairs = open_pairs(many(tmp_path))
    train, val = hold_out(pairs, 0)
    assert sorted([*train.ids, *val.ids]) == sorted(pairs.ids)
    assert not set(train.groups) & set(val.groups), "a caption's image, sound and questions go together"
    assert len(np.unique(val.groups)) == 3
    for name in NAMES:
        assert (val.keys[name] != ABSENT).any()
        assert not set(train.keys[name]) & set(val.keys[name]) - {ABSENT}


def test_tables_that_nothing_joins_are_held_out_by_item(tmp_path: Path) -> None:
    classes = [{"image": f"{n}.png", "text": f"class {n % 3}"} for n in range(40)]
    sounds = [{"audio": f"{n}.wav", "text": f"sound {n % 3}"} for n in range(40)]
    pairs = open_pairs([write(tmp_path / "a" / "a.csv", classes), write(tmp_path / "b" / "b.csv", sounds)])
    train, val = hold_out(pairs, 0)
    assert len(val) == 4
    assert set(train.groups) == set(pairs.groups)
    assert not val.matches.all_match()


def training(pairs: Pairs, batch_size: int) -> tuple[TrainingBatches, PreparedPairs]:
    settings = {name: modality(name).settings_class()() for name in NAMES}
    texts = different_items(pairs, "text")[0]
    fitted = {
        name: modality(name).fit_settings(settings[name], different_items(pairs, name)[0], texts, generates=False)
        for name in NAMES
    }
    processors = {name: modality(name).build_processor(fitted[name], texts) for name in NAMES}
    prepared = prepare_pairs(pairs, processors)
    batchers = {
        name: modality(name).batcher(
            prepared.items[name], prepared.item_of_row[name], processors[name], fitted[name], 0, 10
        )
        for name in NAMES
    }
    columns = {}
    for column in FIELDS:
        different, item_of_row = different_items(prepared.pairs, column)
        columns[column] = [processors["text"].prepare(text) for text in different], item_of_row
    targets = {"vqa": TaskTargets(*columns["question"], *columns["answer"], max_length=32)}
    sampler = BatchSampler(len(prepared.pairs), batch_size, seed=0)
    decoder_targets = DecoderTargets("image", targets)
    return TrainingBatches(batchers, prepared.pairs.matches, sampler, 4, decoder_targets), prepared


def test_batches_hold_what_their_rows_have(tmp_path: Path) -> None:
    pairs = open_pairs(many(tmp_path, 20))
    batches, prepared = training(pairs, 16)
    seen: list[int] = []
    for step in range(3):
        batch = batches[step]
        seen += batch.row_B.tolist()
        for name in NAMES:
            has = np.flatnonzero(pairs.keys[name][batch.row_B] != ABSENT)
            places = batch.matches.rows[name]
            assert (np.arange(16) if places is None else places.numpy()).tolist() == has.tolist()
            if len(has):
                item_B = batch.parts[name].item_B.numpy()
                key_B = pairs.keys[name][batch.row_B[has]]
                assert len(item_B) == len(has)
                assert (np.equal.outer(item_B, item_B) == np.equal.outer(key_B, key_B)).all()
        assert_matches(batch, pairs)
        asked = [sequences for sequences in batch.targets.get("vqa", []) if sequences is not None]
        assert sum(map(len, asked)) == (pairs.keys["question"][batch.row_B] != ABSENT).sum()
    assert len(prepared.items["image"]) == 20
    assert set(seen) <= set(range(len(pairs)))


def assert_matches(batch: Batch, pairs: Pairs) -> None:
    """A batch's relations against those of the whole set."""
    for left, right in modality_pairs(NAMES):
        both = [row for row in batch.row_B if ABSENT not in (pairs.keys[left][row], pairs.keys[right][row])]
        expected = pairs.matches.between(left, right, np.array(both, int), np.array(both, int)).dense()
        assert torch.equal(batch.matches.relation(left, right).dense(), expected)


def test_a_batch_of_one_table_alone_has_no_part_of_the_others(tmp_path: Path) -> None:
    pairs = open_pairs(many(tmp_path, 20))
    batches, _ = training(pairs, batch_size=1)
    for step in range(6):
        batch = batches[step]
        (row,) = batch.row_B.tolist()
        assert batch.parts.keys() == {name for name in NAMES if pairs.keys[name][row] != ABSENT}
