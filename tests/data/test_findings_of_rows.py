"""What only rows show of captions: one caption of several items, small classes, copies under different classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cospace.commands.check_report import report
from cospace.data.caption_findings import class_imbalance, duplicate_text, of_rows
from cospace.data.check import Checked, check
from cospace.data.findings import Finding
from cospace.data.fine_marks import FineMarks
from cospace.data.pairs import Pairs, build, open_pairs
from cospace.data.sources import Rows
from photographs import photograph

KINDS = ("duplicate_text", "class_imbalance", "contradictory_labels")


def made(columns: dict[str, Sequence[str | None]], labels: Sequence[str] = ()) -> Pairs:
    """Pairs of texts and stand-ins for files: bytes that are equal where their names are."""
    items = {name: [value if name == "text" or value is None else value.encode() for value in values]
             for name, values in columns.items()}  # fmt: skip
    count = len(next(iter(columns.values())))
    extras = {"label": list(labels)} if labels else {}
    return build("made", Rows([str(row) for row in range(count)], items, extras, least=1))


def rows_named(found: Finding) -> list[tuple[int, ...]]:
    return [tuple(rows) for rows in found.groups]


def captions_of(count: int) -> list[str | None]:
    return [f"what item {number} shows" for number in range(count)]


def found(checked: Checked) -> dict[str, int]:
    flat = checked.to_json()
    return {kind: int(flat[kind]) for kind in KINDS}


# --- one caption of several items


def test_a_caption_of_several_items_is_found_where_captions_differ() -> None:
    texts = captions_of(60)
    texts[7], texts[20], texts[41] = "A dog", "a  DOG", "a dog"
    pairs = made({"image": [f"i{number}" for number in range(60)], "text": texts})
    one = duplicate_text(pairs, {}, {})
    assert (one.count, rows_named(one), list(one.rows), list(one.notes)) == (2, [(7, 20, 41)], [7, 20, 41], ['"A dog"'])
    assert one.sentence == "2 rows have the caption of another item, where captions are otherwise all different"


def test_the_same_item_twice_is_no_other_item() -> None:
    texts = captions_of(60)
    texts[8] = texts[7]
    pairs = made({"image": ["i7" if number == 8 else f"i{number}" for number in range(60)], "text": texts})
    assert duplicate_text(pairs, {}, {}).count == 0


@pytest.mark.parametrize("each", [2, 5, 50])
def test_classes_have_several_items(each: int) -> None:
    texts = [f"class {number // each}" for number in range(50 * each)]
    assert duplicate_text(made({"image": [f"i{n}" for n in range(50 * each)], "text": texts}), {}, {}).count == 0


def test_the_one_caption_of_half_of_all_is_another_finding() -> None:
    pairs = made({"image": [f"i{n}" for n in range(80)], "text": [*captions_of(40), *["a photo"] * 40]})
    assert {one.kind: one.count for one in of_rows(pairs, {}, {}) if one.count} == {"repeated_text": 40}


# --- classes


def test_small_classes_are_found_beside_the_largest() -> None:
    counts = {"cat": 120, "dog": 13, "ibex": 12, "newt": 5, "yak": 4, "emu": 1}
    texts = [name for name, count in counts.items() for _ in range(count)]
    one = class_imbalance(made({"image": [f"i{number}" for number in range(len(texts))], "text": texts}))
    assert one.count == 4
    assert list(one.notes) == ['"emu": 1 item', '"yak": 4 items', '"newt": 5 items', '"ibex": 12 items']
    assert len(one.rows) == 22
    assert one.sentence == (
        '4 classes are small (2 with fewer than 5 items): "cat" has 120 items, "emu" 1, a ratio of 120'
    )


def test_balanced_classes_are_no_finding() -> None:
    texts = [name for name, count in {"cat": 60, "dog": 40, "ibex": 7}.items() for _ in range(count)]
    assert class_imbalance(made({"image": [f"i{n}" for n in range(107)], "text": texts})).count == 0


def test_captions_are_no_classes_though_one_is_frequent() -> None:
    texts = [*captions_of(60), *["sunset"] * 400]
    assert class_imbalance(made({"image": [f"i{n}" for n in range(460)], "text": texts})).count == 0


def test_a_column_that_is_called_a_label_has_classes() -> None:
    labels = ["cat"] * 40 + ["dog"] * 17 + ["yak"] * 3
    columns = {"image": [f"i{number}" for number in range(60)], "text": captions_of(60)}
    one = class_imbalance(made(columns, labels))
    assert (one.count, list(one.rows)) == (1, [57, 58, 59])
    assert one.sentence.startswith('1 class of the column "label" is small (1 with fewer than 5 items): "cat" has 40')
    assert class_imbalance(made(columns, [f"number {number}" for number in range(60)])).count == 0, "these are ids"
    assert class_imbalance(made(columns, ["cat"] * 40 + ["dog"] * 17 + [""] * 3)).count == 0, "some have no label"


def test_the_same_image_in_many_rows_is_one_item() -> None:
    labels = ["cat"] * 40 + ["dog"] * 20
    columns = {"image": [f"i{min(number, 41)}" for number in range(60)], "text": captions_of(60)}
    assert list(class_imbalance(made(columns, labels)).notes) == ['"dog": 2 items']


def test_questions_and_answers_are_no_captions() -> None:
    asked = {"image": [f"i{number // 4}" for number in range(80)], "question": ["what is it"] * 80}
    pairs = made({**asked, "answer": ["cat"] * 77 + ["null"] * 3})
    assert [one.kind for one in of_rows(pairs, {}, {}) if one.count] == []
    kinds = {one.kind for one in check(pairs, decode=False).findings}
    assert not kinds & {"boilerplate", "wrong_language", "markup", "over_long", "wrong_encoding"}


# --- copies under different classes


def class_folder(folder: Path) -> Path:
    for number in range(24):
        path = folder / ("cat", "dog", "ibex")[number % 3] / f"{number:02d}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        photograph(160, 120, seed=number).save(path, quality=92)
    return folder


def test_a_near_duplicate_in_another_class_contradicts(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "classes")
    assert found(check(open_pairs(folder))) == dict.fromkeys(KINDS, 0)
    original = Image.open(folder / "cat" / "06.jpg")
    ImageOps.mirror(original.resize((120, 90))).save(folder / "dog" / "again.jpg", quality=60)
    Image.open(folder / "dog" / "04.jpg").save(folder / "dog" / "fine.jpg", quality=60)  # a copy in its own class
    checked = check(open_pairs(folder))
    assert found(checked) == {"duplicate_text": 0, "class_imbalance": 0, "contradictory_labels": 1}
    assert checked.to_json()["joined"] == 0, "no file is in both"
    one = next(one for one in checked.findings if one.kind == "contradictory_labels" and one.count)
    assert '06.jpg ~ again.jpg  filed under "cat" and "dog"' in checked.to_text()
    assert 0 < one.certainty[0] < 1
    assert {Path(checked.pairs.items["image"][row]).name for row in one.rows} == {"06.jpg", "again.jpg"}


def test_near_duplicates_with_captions_of_their_own_are_no_contradiction(tmp_path: Path) -> None:
    rows = []
    for number in range(24):
        photograph(160, 120, seed=number).save(tmp_path / f"{number}.jpg", quality=92)
        photograph(160, 120, seed=number).save(tmp_path / f"{number}b.jpg", quality=60)
        rows += [(f"{number}.jpg", f"the scene of seed {number}"), (f"{number}b.jpg", f"the same of seed {number}")]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    assert found(check(open_pairs(tmp_path / "t.csv"))) == dict.fromkeys(KINDS, 0)


def test_near_duplicates_may_share_a_caption(tmp_path: Path) -> None:
    rows = []
    for number in range(30):
        photograph(160, 120, seed=number).save(tmp_path / f"{number}.jpg", quality=92)
        rows.append((f"{number}.jpg", f"the scene of seed {number}"))
    photograph(160, 120, seed=3).save(tmp_path / "again.jpg", quality=60)
    rows.append(("again.jpg", "the scene of seed 3"))
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    assert found(check(open_pairs(tmp_path / "t.csv"))) == dict.fromkeys(KINDS, 0)


# --- captions that are found reach the report, the JSON and the clean table


def test_captions_without_use_are_left_out_of_the_clean_table(tmp_path: Path) -> None:
    rows = [(f"{number}.png", f"the scene of number {number}") for number in range(30)]
    rows += [("30.png", "untitled"), ("31.png", "https://example.com/a"), ("32.png", "a cafÃ© by the sea")]
    for number, (name, _) in enumerate(rows):
        photograph(160, 120, seed=number).save(tmp_path / name)
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    checked = check(open_pairs(tmp_path / "t.csv"))
    flat = checked.to_json()
    assert (flat["boilerplate"], flat["markup"], flat["wrong_encoding"], flat["over_long"]) == (1, 1, 1, 0)
    assert len(checked.clean()) == 31
    assert "a café by the sea" in checked.to_text()
    assert len(checked.leaving(["wrong_encoding"], ["markup"]).clean()) == 31


def test_a_kind_of_two_findings_is_summed_and_linked_apart(tmp_path: Path) -> None:
    texts = [f"the scene of number {number}" for number in range(60)]
    texts[:12] = [f"{text} | Free shipping" for text in texts[:12]]
    checked = check(made({"image": [f"i{number}" for number in range(61)], "text": [*texts, "untitled"]}), decode=False)
    assert checked.to_json()["boilerplate"] == 13
    report(tmp_path / "page.html", checked, ["t.csv"])
    page = (tmp_path / "page.html").read_text("utf-8")
    anchors = re.findall(r'<section id="([^"]+)"', page)
    assert anchors == ["boilerplate", "boilerplate-2"]
    assert re.findall(r'href="#([^"]+)"', page) == anchors
    marks = FineMarks(tmp_path / "t.fine.csv")
    marks.add(checked.pairs, checked.findings, ["boilerplate"])
    assert (marks.of(checked).to_json()["boilerplate"], marks.of(checked).to_json()["fine/boilerplate"]) == (0, 13)


# --- any rows at all

values = st.one_of(st.none(), st.sampled_from(["a", "b", "c d", "A"]))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(values, values, values, values), min_size=1, max_size=80))
def test_any_rows_are_looked_at_without_a_fault(rows: list[tuple[str | None, ...]]) -> None:
    image, audio, text, label = zip(*rows, strict=True)
    pairs = made({"image": image, "audio": audio, "text": text}, [value or "" for value in label])
    for one in of_rows(pairs, {}, {}):
        assert one.count >= 0
        assert all(0 <= row < len(pairs) for group in one.groups for row in group)
        assert all(0 <= row < len(pairs) for row in one.rows)
        assert all(0 <= certainty <= 1 for _, certainty, _ in one.each(pairs))
        assert {row for group in one.groups for row in group} <= set(one.rows)
