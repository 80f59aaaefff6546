"""The formats of `score`: the same rows in, the same rows out."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from roberta_sentiment.errors import DataError
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.run.session import Session
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.arrow import Pieces
from roberta_sentiment.tools.rows import MAX_ROW_BYTES, BadRow, Row, open_source
from roberta_sentiment.tools.score.cli import _shard
from roberta_sentiment.tools.score.run import score
from tests import ROOT
from tests.roberta_sentiment.tools.test_score import Crash, Steps, beside, rejected, run

TEXTS = ["good film", "so bad", "é 🎬 good", 'a "good", film; bad', "bad " * 5 + "good"] * 20
ROWS = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
SUFFIXES = (
    "csv",
    "tsv",
    "jsonl",
    "ndjson",
    "parquet",
    "csv.gz",
    "tsv.zst",
    "jsonl.gz",
    "jsonl.zst",
)


def write(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    """Rows in the format that a name tells, by other libraries than ours."""
    kind = path.name.split(".")[1]
    if kind == "parquet":
        parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=7)
        return
    if kind == "tsv":
        text = "".join("\t".join(cells) + "\n" for cells in (rows[0], *(r.values() for r in rows)))
    elif kind == "csv":
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        text = "".join(
            delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) + "\n"
            for line in lines
        )
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".zst":
        with arrow.output_stream(path, compression="zstd") as file:
            file.write(text.encode())
    else:
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of an output, by other libraries than ours; all values as text."""
    kind = path.name.split(".")[1]
    if kind == "parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        with arrow.input_stream(path, compression=compression) as file:
            text = file.read().decode()
        if kind == "tsv":
            header, *lines = (line.split("\t") for line in text.splitlines())
            rows = [dict(zip(header, line, strict=True)) for line in lines]
        elif kind == "csv":
            rows = list(csv.DictReader(text.splitlines()))
        else:
            rows = [json.loads(line) for line in text.splitlines()]
    return [{name: _as_text(value) for name, value in row.items()} for row in rows]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else str(value)


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, toy_artifact: Artifact
) -> list[dict[str, Any]]:
    """What comes out of a CSV."""
    folder = tmp_path_factory.mktemp("csv")
    write(folder / "in.csv", ROWS)
    run(folder / "in.csv", folder / "out.csv", toy_artifact)
    found = read(folder / "out.csv")
    assert ROWS == [{"id": row["id"], "text": row["text"]} for row in found]
    assert "0.731059" == found[0]["score"]
    return found


@pytest.mark.parametrize("written", SUFFIXES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_rows(
    tmp_path: Path,
    toy_artifact: Artifact,
    expected: list[dict[str, Any]],
    suffix: str,
    written: str,
) -> None:
    """In the same order, with the same scores to the last digit."""
    write(tmp_path / f"in.{suffix}", ROWS)
    output = tmp_path / f"out.{written}"
    state = run(tmp_path / f"in.{suffix}", output, toy_artifact, chunk_rows=7)
    assert (len(ROWS), 0) == (state.rows, state.rejected)
    assert expected == read(output)
    assert [""] == beside(output)


def test_a_csv_between_semicolons_is_recognised(
    tmp_path: Path, toy_artifact: Artifact, expected: list[dict[str, Any]]
) -> None:
    """As spreadsheets of half of Europe write it, packed or not."""
    for name in ("in.csv", "in.csv.gz"):
        write(tmp_path / name, ROWS, ";")
        run(tmp_path / name, tmp_path / "out.csv", toy_artifact, restart=True)
        assert expected == read(tmp_path / "out.csv")


def test_text_has_a_line_for_each_text(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Label, score and text between tabs; what would break the line is escaped."""
    (tmp_path / "in.jsonl").write_text('{"text": "good\\nfilm\\tso"}\n{"text": "bad"}\n')
    run(tmp_path / "in.jsonl", tmp_path / "out.txt", toy_artifact)
    assert (
        "positive\t0.731059\tgood\\nfilm\\tso\nnegative\t0.731059\tbad\n"
        == (tmp_path / "out.txt").read_text()
    )


TYPED = arrow.table(
    {
        "text": arrow.array(["good", "bad", None, "film"], arrow.large_string()),
        "at": arrow.array([datetime.datetime(2026, 1, 2, 3, 4, 5, 6), None] * 2),
        "price": arrow.array([decimal.Decimal("1.50"), None] * 2),
        "raw": arrow.array([b"\xff\x00", None] * 2),
        "tags": arrow.array([["a", None], None] * 2),
        "more": arrow.array([{"a": 1, "b": [1.5]}, None] * 2),
        "number": arrow.array([1e300, 1.5, 2.5, math.inf]),
        "small": arrow.array([1, 2, 3, 255], arrow.uint8()),
        "kind": arrow.array(["x", None] * 2).dictionary_encode(),
        "kinds": arrow.array([["x"], None] * 2, arrow.list_(arrow.dictionary("int8", "string"))),
        "time": arrow.array([5, None] * 2, arrow.time64("ns")),
        "nothing": arrow.nulls(4),
    }
)


def test_parquet_keeps_its_types(tmp_path: Path, toy_artifact: Artifact) -> None:
    """A pipeline behind must not find text where a time was; of the rejected row all is shown."""
    parquet.write_table(TYPED, tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(tmp_path / "in.parquet", output, toy_artifact, chunk_rows=1)
    found = parquet.read_table(output)
    read = parquet.read_table(tmp_path / "in.parquet").take([0, 1, 3])
    assert read.equals(found.select(TYPED.column_names))
    assert ["double", "int64", "bool"] == [
        str(found.schema.field(name).type) for name in ("score", "tokens", "truncated")
    ]
    [bad] = rejected(output)
    assert (3, "no 'text' in it", 2.5) == (
        bad["line"],
        bad["reason"],
        json.loads(bad["row"])["number"],
    )


def test_parquet_to_json_lines(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Times are text, bytes are base64, what is no number is null."""
    parquet.write_table(TYPED, tmp_path / "in.parquet")
    run(tmp_path / "in.parquet", tmp_path / "out.jsonl", toy_artifact)
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert {
        "text": "good", "at": "2026-01-02T03:04:05.000006", "price": "1.50", "raw": "/wA=",
        "tags": ["a", None], "more": {"a": 1, "b": [1.5]}, "number": 1e300, "small": 1, "kind": "x",
        "kinds": ["x"], "time": "00:00:00", "nothing": None,
    } == {name: row[name] for name in TYPED.column_names}  # fmt: skip


def test_json_lines_to_parquet_have_a_type_for_all_rows(
    tmp_path: Path, toy_artifact: Artifact
) -> None:
    """A whole number may become a fraction; what has nothing in common becomes JSON as text."""
    rows = [
        {"text": "good", "a": 1, "mixed": 1, "empty": {}, "large": 2**70},
        {"text": "bad", "a": 1.5, "mixed": ["x"], "late": True},
        {"text": "film", "a": None, "mixed": "y", "large": 2**60},
    ]
    path, output = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(path, output, toy_artifact, chunk_rows=1)
    found = parquet.read_table(output)
    assert [1.0, 1.5, None] == found["a"].to_pylist()
    assert ["1", '["x"]', "y"] == found["mixed"].to_pylist()
    assert [None, True, None] == found["late"].to_pylist()
    assert ["{}", None, None] == found["empty"].to_pylist()
    assert [str(2**70), None, str(2**60)] == found["large"].to_pylist()


def test_a_directory_of_parquet_is_read_as_one(tmp_path: Path, toy_artifact: Artifact) -> None:
    """As Spark writes it; a position counts through all files."""
    folder = tmp_path / "in.parquet"
    folder.mkdir()
    for i in range(3):
        write(folder / f"part-{i}.parquet", ROWS[i * 30 : i * 30 + 30])
    rows = [row for row in open_source(folder).rows() if isinstance(row, Row)]
    assert TEXTS[:90] == [row.text for row in rows]
    for i in (0, 6, 29, 30, 61, 89):
        assert rows[i + 1 :] == list(open_source(folder).rows(rows[i].end))
    run(folder, tmp_path / "out.csv", toy_artifact)
    assert TEXTS[:90] == [row["text"] for row in read(tmp_path / "out.csv")]


def test_files_of_a_directory_may_differ_in_columns(tmp_path: Path, toy_artifact: Artifact) -> None:
    """What one lacks is null, numbers get a common type, and names of folders are a column."""
    folder, output = tmp_path / "in", tmp_path / "out.parquet"
    tables = [{"text": ["good"], "n": [1]}, {"n": [1.5], "text": ["bad"], "more": ["x"]}]
    for year, columns in enumerate(tables, 2025):
        (folder / f"year={year}").mkdir(parents=True)
        parquet.write_table(arrow.table(columns), folder / f"year={year}" / "a.parquet")
    (folder / "_SUCCESS").touch()
    run(folder, output, toy_artifact, kind="parquet")
    found = parquet.read_table(output).select(["text", "n", "year", "more"])
    assert [("good", 1.0, 2025, None), ("bad", 1.5, 2026, "x")] == [
        tuple(row.values()) for row in found.to_pylist()
    ]
    parquet.write_table(arrow.table({"text": ["so"], "n": ["x"]}), folder / "b.parquet")
    with pytest.raises(DataError, match=r"its files differ: .* n has incompatible types"):
        run(folder, output, toy_artifact, kind="parquet", restart=True)


def test_a_piece_holds_no_dictionary_of_the_whole_file(tmp_path: Path) -> None:
    """Else what is written in pieces grows with the square of the rows."""
    names = arrow.array([f"film {i}" for i in range(1000)])
    table = arrow.table({"text": names, "film": names.dictionary_encode()})
    pieces = Pieces(table.schema, {"score": 0.5})
    piece = pieces.piece([table.slice(i, 1) for i in range(3)], [], [[0.5]] * 3)
    read = arrow.ipc.open_stream(piece).read_all()
    assert ["film 0", "film 1", "film 2"] == read["film"].chunk(0).dictionary.to_pylist()
    assert table.schema.field("film").type == read.schema.field("film").type


def test_zstandard_in_several_frames(tmp_path: Path, toy_artifact: Artifact) -> None:
    """As parallel compressors write it, with a frame to be skipped before each."""
    skipped = b"\x5a\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    compress = arrow.Codec("zstd").compress
    frames = [skipped + compress(piece, asbytes=True) for piece in (b"text\ngo", b"od\n", b"bad")]
    (tmp_path / "in.csv.zst").write_bytes(b"".join(frames))
    run(tmp_path / "in.csv.zst", tmp_path / "out.csv", toy_artifact)
    assert ["good", "bad"] == [row["text"] for row in read(tmp_path / "out.csv")]


def test_a_carriage_return_in_a_cell_ends_no_row(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Readers of CSV take it for the end of a row where it is not quoted."""
    (tmp_path / "in.jsonl").write_text('{"text": "good\\rfilm"}\n{"text": "bad\\r\\n"}\n')
    run(tmp_path / "in.jsonl", tmp_path / "out.csv", toy_artifact)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert ["good\rfilm", "bad\r\n"] == [row["text"] for row in csv.DictReader(file)]


def test_a_bad_string_in_parquet_costs_its_row_only(tmp_path: Path) -> None:
    """As do rows that are too long."""
    values = [b"good", b"b\xffd", b"bad", b"a" * (MAX_ROW_BYTES + 1), b""]
    strings = arrow.array(values).view(arrow.string())
    parquet.write_table(arrow.table({"text": strings}), tmp_path / "in.parquet")
    rows = list(open_source(tmp_path / "in.parquet").rows())
    assert ["good", "bad"] == [row.text for row in rows if isinstance(row, Row)]
    reasons = [row.reason for row in rows if isinstance(row, BadRow)]
    assert "codec can't decode byte 0xff" in reasons[0]
    assert [f"the row is longer than {MAX_ROW_BYTES} bytes", "the text is empty"] == reasons[1:]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv.gz", gzip.compress(b"text\ngood\n")[:-9], "Compressed file ended"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd1234", "can't be read"),
        (
            "a.csv.zst",
            arrow.compress(b"text\ngood\n" * 99, "zstd", asbytes=True)[:-9],
            "can't be read",
        ),
        ("a.parquet", b"PAR1 not", "can't be read"),
        ("a.parquet", None, "No such file"),
    ],
    ids=["gzip", "zstandard", "cut zstandard", "parquet", "missing"],
)
def test_a_damaged_file_gives_a_sentence(
    tmp_path: Path, toy_artifact: Artifact, name: str, content: bytes | None, words: str
) -> None:
    """Not a stack trace of a library."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        run(tmp_path / name, tmp_path / "out.csv", toy_artifact)


@pytest.mark.parametrize(
    ("table", "option", "words"),
    [
        ({"film": ["good"]}, "", "no column named text, .* found 'film'"),
        ({"text": [1]}, "", "the column 'text' holds int64; strings are needed"),
        ({"text": ["good"]}, "film", "no column 'film'"),
        ({"text": [["good"]]}, "", "the column 'text' holds list<.*>; strings are needed"),
    ],
)
def test_parquet_without_texts_is_refused(
    tmp_path: Path, table: dict[str, Any], option: str, words: str
) -> None:
    """At once, and not with a million rejected rows."""
    parquet.write_table(arrow.table(table), tmp_path / "in.parquet")
    with pytest.raises(DataError, match=words):
        open_source(tmp_path / "in.parquet", option)


@pytest.mark.parametrize("written", ["csv.gz", "parquet"])
def test_a_crash_at_any_step_loses_nothing_of_what_is_packed(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """A piece that was half written is cut off as a plain one is; Parquet is made at the end."""
    path, calm = tmp_path / "in.jsonl.gz", tmp_path / f"calm.{written}"
    write(path, ROWS[:20])
    run(path, calm, toy_artifact, chunk_rows=4)
    crashes, finished = 0, False
    while not finished:
        output = tmp_path / f"{crashes}.{written}"
        with monkeypatch.context() as patch:
            Steps(patch, crashes + 1)
            try:
                run(path, output, toy_artifact, chunk_rows=4)
                finished = True
            except Crash:
                crashes += 1
        if not finished and (not output.exists() or Path(f"{output}.state").exists()):
            run(path, output, toy_artifact, chunk_rows=4)
        assert calm.read_bytes() == output.read_bytes()
        assert [""] == [name for name in beside(output) if name != ".new"]
    assert crashes > 30


@pytest.mark.parametrize("written", ["csv", "csv.gz", "tsv", "jsonl.zst", "txt", "parquet"])
def test_shards_one_after_the_other_are_the_whole(
    tmp_path: Path, toy_artifact: Artifact, written: str
) -> None:
    """To the byte, packed or not; of Parquet, to the row."""
    path = tmp_path / "in.csv.gz"
    write(path, [*ROWS[:50], {"id": "x", "text": ""}, *ROWS[50:]])
    run(path, tmp_path / f"whole.{written}", toy_artifact, chunk_rows=3)
    parts = [tmp_path / f"part{i}.{written}" for i in range(1, 6)]
    for number, part in enumerate(parts, 1):
        state = run(path, part, toy_artifact, chunk_rows=3, shard=(number, 5))
        assert 0 < state.rows < len(ROWS) / 2
    whole = tmp_path / f"whole.{written}"
    if written == "parquet":
        table = arrow.concat_tables([parquet.read_table(part) for part in parts])
        assert parquet.read_table(whole).equals(table)
    else:
        assert whole.read_bytes() == b"".join(part.read_bytes() for part in parts)
    bad = [row for part in parts if ".rejected.jsonl" in beside(part) for row in rejected(part)]
    assert rejected(whole) == bad
    assert [52] == [row["line"] for row in bad]


def test_a_shard_resumes_and_is_not_taken_for_another(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted shard must not go on as its neighbour."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    write(path, ROWS)
    run(path, tmp_path / "calm.csv", toy_artifact, chunk_rows=3, shard=(2, 3))
    with monkeypatch.context() as patch, pytest.raises(Crash):
        Steps(patch, 20)
        run(path, output, toy_artifact, chunk_rows=3, shard=(2, 3))
    with pytest.raises(DataError, match=r"another set of options \(shard\)"):
        run(path, output, toy_artifact, chunk_rows=3, shard=(3, 3))
    run(path, output, toy_artifact, chunk_rows=3, shard=(2, 3))
    assert (tmp_path / "calm.csv").read_bytes() == output.read_bytes()


@pytest.mark.parametrize("asked", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0", "1/3/5"])
def test_a_shard_that_does_not_exist_is_refused(asked: str) -> None:
    """They count from 1."""
    with pytest.raises(DataError, match="none of 1/16 to 16/16"):
        _shard(asked)


def test_float_models_run_each_text_by_itself(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the last digit of a score would depend on its neighbours, and on where a shard ends."""
    write(tmp_path / "in.csv", ROWS)
    rows: list[int] = []
    real: Callable[..., Any] = Session.run

    def counted(self: Session, ids: Any, lengths: Any) -> Any:
        rows.append(len(ids))
        return real(self, ids, lengths)

    monkeypatch.setattr(Session, "run", counted)
    score(tmp_path / "in.csv", tmp_path / "out.csv", toy_artifact, Settings(threads=1))
    assert [1] * len(ROWS) == rows[-len(ROWS) :]


def piped(content: bytes, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A command that reads standard input."""
    return subprocess.run(
        [sys.executable, "-m", "roberta_sentiment", *map(str, arguments)],
        input=content, capture_output=True, cwd=ROOT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.zst"])
def test_standard_input_to_standard_output(tmp_path: Path, toy_path: Path, suffix: str) -> None:
    """In the format of the input, which is recognised; rejected rows are told."""
    path, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix.partition('.')[0]}"
    write(path, [*ROWS, {"id": "x", "text": " "}])
    done = piped(path.read_bytes(), "score", "-", "-", "--model", toy_path)
    assert 0 == done.returncode, done.stderr
    piped(b"", "score", path, output, "--model", toy_path)
    assert output.read_bytes() == done.stdout
    line = len(ROWS) + 2 - suffix.startswith("jsonl")
    assert f"line {line}: the text is empty".encode() in done.stderr


def test_a_pipe_can_be_of_any_kind_but_parquet(tmp_path: Path, toy_path: Path) -> None:
    """What can't be told is asked for."""
    texts = b"good film\nbad\n"
    done = piped(texts, "score", "-", tmp_path / "a.csv", "--format", "text", "--model", toy_path)
    assert 0 == done.returncode, done.stderr
    assert ["good film", "bad"] == [row["text"] for row in read(tmp_path / "a.csv")]
    for arguments, words in (
        (("-", "-"), b"no column named text"),
        (("-", "-", "--format", "parquet"), b"can't be read from standard input"),
        (("-", "-", "--format", "xml"), b"the format 'xml' is not one of csv, tsv"),
        (("-", "-", "--format", "text", "--shard", "1/2"), b"part of standard input can't be told"),
        (("-", "-", "--format", "text", "--output-format", "parquet"), b"name a file"),
    ):
        done = piped(texts, "score", *arguments, "--model", toy_path)
        assert (1, b"") == (done.returncode, done.stdout)
        assert words in done.stderr
        assert b"Traceback" not in done.stderr


def test_predict_reads_lines(toy_path: Path) -> None:
    """A line for each line, with all scores or the reason why not."""
    done = piped(b"good\n\nb\xffd\nbad\n", "predict", "--json", "--model", toy_path)
    assert 1 == done.returncode
    assert [
        {"text": "good", "label": "positive", "score": 0.731059, "probability_negative": 0.268941,
         "probability_positive": 0.731059, "tokens": 3, "truncated": False},
        {"text": "", "error": "the text is empty"},
        {"text": "b\\xffd",
         "error": "not UTF-8: byte 0xff after 1 characters; convert it to UTF-8"},
        {"text": "bad", "label": "negative", "score": 0.731059, "probability_negative": 0.731059,
         "probability_positive": 0.268941, "tokens": 3, "truncated": False},
    ] == [json.loads(line) for line in done.stdout.splitlines()]  # fmt: skip
    done = piped(b"good\nbad\n", "predict", "-", "--model", toy_path)
    assert (0, b"positive\t0.731059\tgood\nnegative\t0.731059\tbad\n") == (
        done.returncode,
        done.stdout,
    )


def test_predict_answers_a_line_before_the_next_one_comes(toy_path: Path) -> None:
    """So that a program can ask and read in turns."""
    command = [
        sys.executable,
        "-m",
        "roberta_sentiment",
        "predict",
        "--json",
        f"--model={toy_path}",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as process:
        assert process.stdin
        assert process.stdout
        for text in ("good", "bad"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert text == json.loads(process.stdout.readline())["text"]
        process.stdin.close()
        assert 0 == process.wait()
