"""Rows of tables, JSON lines and plain text: each at its place, or rejected with its reason."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from roberta_sentiment.errors import DataError
from roberta_sentiment.tools.rows import MAX_ROW_BYTES, BadRow, Position, Row, open_source

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@hypothesis_settings(deadline=None)
@given(
    table=st.lists(st.tuples(cells, cells.map(lambda c: f"x{c}")), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    last=st.booleans(),
)
def test_a_table_can_be_read_on_from_the_end_of_any_row(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str]],
    end: str,
    bom: bool,
    last: bool,
) -> None:
    """Cells hold quotes, commas and line breaks; a resumed run begins between two rows all the
    same, and counts lines as an editor does."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *table])
    content = text.getvalue() if last else text.getvalue().removesuffix(end)
    path = tmp_path_factory.mktemp("table") / "in.csv"
    path.write_bytes(b"\xef\xbb\xbf" * bom + content.encode())
    source = open_source(path)
    rows = list(source.rows())
    bad = [not review.strip() for _, review in table]
    assert bad == [isinstance(row, BadRow) for row in rows]
    good = [row for row in rows if isinstance(row, Row)]
    assert [{"id": i, "text": t} for i, t in table if t.strip()] == [r.columns for r in good]
    for i, row in enumerate(rows):
        assert rows[i + 1 :] == list(source.rows(row.end))
        before = path.read_bytes()[: row.end.offset]
        assert before.count(b"\n") + (not before.endswith(b"\n")) == row.end.line


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.csv", b'id,text\n1,"a\nb"\n2,good,bad\n', 4, "3 columns, expected 2 (id, text)"),
        ("a.csv", b"id,text\n1,\n", 2, "the text is empty"),
        ("a.csv", b"id,text\n1,f\xfcr\n", 2, "not UTF-8: byte 0xfc after 1 characters"),
        ("a.csv", b'id,text\n1,"good" film\n', 2, "',' expected after '\"'"),
        ("a.csv", b'id,text\n\n\n1,"good\nfilm\n', 4, "unexpected end of data"),
        ("a.tsv", b"text\tid\ngood\n", 2, "1 column, expected 2 (text, id)"),
        ("a.jsonl", b'{"text": "good"\n', 1, "not valid JSON: Expecting ',' delimiter"),
        ("a.jsonl", b'\n["good"]\n', 2, "each line must be a JSON object"),
        ("a.jsonl", b'{"text": "good", "a": 1, "a": 2}\n', 1, "two values named 'a'"),
        ("a.jsonl", b'{"a": "good"}\n', 1, "no 'text' in it"),
        ("a.jsonl", b'{"text": 5}\n', 1, "text is int; a string is needed"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', 1, "half a surrogate pair"),
        ("a.jsonl", b'{"text": "good", "a": NaN}\n', 1, "NaN is not a JSON number"),
        ("a.jsonl", b'{"text": "good", "a": 1e999}\n', 1, "not valid JSON"),
        ("a.jsonl", b'{"text": "good", "a": ' + b"[" * 100_000 + b"\n", 1, "not valid JSON"),
        ("a.jsonl", b'{"text": "a \xff"}\n', 1, "not UTF-8: byte 0xff"),
        ("a.txt", b"\t \n", 1, "the text is empty"),
        ("a.txt", b"a" * (MAX_ROW_BYTES + 1) + b"\n", 1, f"longer than {MAX_ROW_BYTES} bytes"),
    ],
    ids=[
        "csv columns", "csv empty", "csv encoding", "csv quote", "csv end", "tsv columns",
        "json cut", "json array", "json double", "json without text", "json number",
        "json surrogate", "json NaN", "json infinity", "json depth", "json encoding",
        "text empty", "text long",
    ],
)  # fmt: skip
def test_a_bad_row_is_rejected_with_its_line_and_its_reason(
    tmp_path: Path, name: str, content: bytes, line: int, reason: str
) -> None:
    """And the row after it is read as if nothing had been."""
    good = {"csv": b"7,good\n", "tsv": b"good\t7\n", "jsonl": b'{"text": "good"}\n', "txt": b"good"}
    path = tmp_path / name
    after = b"" if reason == "unexpected end of data" else good[path.suffix[1:]]
    path.write_bytes(content + after)
    rows = list(open_source(path).rows())
    [bad] = [row for row in rows if isinstance(row, BadRow)]
    assert line == bad.start.line + 1
    assert reason in bad.reason
    assert content.endswith(bad.raw) or len(bad.raw) == MAX_ROW_BYTES
    others = rows[rows.index(bad) + 1 :]
    assert ["good"] * bool(after) == [row.text for row in others if isinstance(row, Row)]


def test_a_quote_that_is_never_closed_does_not_hide_the_rest(tmp_path: Path) -> None:
    """The reader gives up after a megabyte, in little memory, and finds the next row."""
    path = tmp_path / "a.csv"
    filler = "0,good film\n" * 2 * (MAX_ROW_BYTES // 12)
    path.write_text('id,text\n1,good\n2,"bad\n' + filler)
    tracemalloc.start()
    after = lines = 0
    bad = None
    for row in open_source(path).rows():
        if isinstance(row, BadRow):
            bad = row
        elif bad:
            assert "good film" == row.text
            after += 1
        lines = row.end.line
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad is not None
    assert 2 == bad.start.line
    assert "is a quote not closed?" in bad.reason
    assert lines - bad.end.line == after
    assert 2 * (MAX_ROW_BYTES // 12) + 3 == lines
    assert peak < 16 * MAX_ROW_BYTES


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"id,film\n1,good\n", "no column named text, sentence"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"text,id,id\n", "two columns are named 'id'"),
        ("a.csv", b'"text\n', "first line can't be read: unexpected end of data"),
        ("a.csv", b"\xff\xfet\x00", "UTF-16; convert it"),
        ("a.csv", b"t\x00e\x00x\x00t\x00\n\x00", "UTF-16; convert it"),
        ("a.csv", b"text,id\rgood,1\r", "its first line can't be read: a CR .* end lines with LF"),
        ("a.csv", "text,größe\ngood,1\n".encode("latin-1"), "not UTF-8: byte 0xf6"),
        ("a.xlsx", b"", "must end in one of .csv, .tsv"),
        ("b/a.csv", None, "No such file"),
    ],
)
def test_a_file_that_is_no_table_of_texts_is_refused(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    """At once, and not with a million rejected rows."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "option", "start"),
    [
        ("a.csv", b"Review,text\ngood,bad\n", "Review", Position(12, 1)),
        ("a.csv", b"id,Review\n1,good\n", "", Position(10, 1)),
        ("a.tsv", b"1\tgood\n", "", Position(0, 0)),
        ("a.tsv", b"label\ttext\n1\tgood\n", "", Position(11, 1)),
        ("a.jsonl", b'{"comment": "bad", "sentence": "good"}\n', "", Position(0, 0)),
        ("a.jsonl", b'{"text": "bad", "mine": "good"}\n', "mine", Position(0, 0)),
        ("a.txt", b"\xef\xbb\xbfgood\r\n", "", Position(3, 0)),
    ],
)
def test_the_column_of_the_texts_is_found(
    tmp_path: Path, name: str, content: bytes, option: str, start: Position
) -> None:
    """By what is asked for, else by its usual names."""
    (tmp_path / name).write_bytes(content)
    source = open_source(tmp_path / name, option)
    assert start == source.start
    assert ["good"] == [row.text for row in source.rows() if isinstance(row, Row)]
