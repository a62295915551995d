"""A field arrives exactly as it was written, or its record is refused; no error costs more than its own row."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cospace.data.sources._delimited import Record, records


def read(text: str, separator: str = ",") -> list[Record]:
    return list(records(text, separator))


FIELDS = st.text(st.sampled_from('ab ,;"\n\r\t\u00e9'), max_size=6)


@given(st.lists(st.lists(FIELDS, min_size=2, max_size=3), max_size=5), st.sampled_from(",;\t"), st.booleans())
def test_what_a_writer_quotes_comes_back_unchanged(rows: list[list[str]], separator: str, crlf: bool) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\r\n" if crlf else "\n", quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    assert [record.fields for record in read(buffer.getvalue(), separator)] == rows


@given(st.text(st.sampled_from('a,"\n\r'), max_size=40))
def test_any_text_is_read_or_refused_and_lines_go_up(text: str) -> None:
    found = read(text)
    lines = [record.line for record in found]
    assert lines == sorted(set(lines))
    assert all(bool(record.fault) != bool(record.fields) for record in found)


@given(st.lists(st.text(st.sampled_from('ab"\t \r'), max_size=6), min_size=2, max_size=4))
def test_without_leading_quotes_a_line_is_its_fields(fields: list[str]) -> None:
    fields = [field.lstrip('"') for field in fields[:-1]] + ["end"]
    assert read(",".join(fields)) == [Record(1, fields)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_counted_through_quoted_line_ends(end: str) -> None:
    text = end.join(["a,b", '1,"two', 'lines"', "", "x,y"])
    assert read(text) == [Record(1, ["a", "b"]), Record(2, ["1", f"two{end}lines"]), Record(5, ["x", "y"])]


@pytest.mark.parametrize("bad", ['a.png,"open', 'a.png,"closed" too early', '"a.png,x'])
def test_an_open_quote_costs_one_row(bad: str) -> None:
    found = read(f'image,text\n{bad}\nb.png,fine\nc.png,"also, fine"\n')
    assert [record.line for record in found if record.fault] == [2]
    assert [record.fields for record in found if not record.fault][1:] == [["b.png", "fine"], ["c.png", "also, fine"]]


def test_a_row_swallowed_by_a_quote_is_noticed() -> None:
    text = 'a.png,"open\nb.png,5" wide\nc.png,"open\nd.png,5"\ne.png,fine\n'
    found = list(records(text, ",", swallowed=lambda fields: fields[0].endswith(".png")))
    assert [record.line for record in found if record.fault] == [1, 3]
    assert [record.fields for record in found if not record.fault] == [
        ["b.png", '5" wide'],
        ["d.png", '5"'],
        ["e.png", "fine"],
    ]


def test_quotes_inside_a_plain_field_are_text() -> None:
    assert read('a,5" pipe\n') == [Record(1, ["a", '5" pipe'])]


def test_many_open_quotes_take_linear_time() -> None:
    text = 'a,"open quote\n' * 20_000
    assert sum(bool(record.fault) for record in records(text, ",")) == 20_000
