"""`score --engine spark` gives what `score` gives, whatever happens to executors and tasks."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from roberta_sentiment.errors import DataError
from roberta_sentiment.model.artifact import DEFAULT_MODEL, open_artifact
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.score.run import score as score_here
from tests import ROOT

pytest.importorskip("pyspark", reason="needs PySpark: make test-spark installs it")
if not shutil.which("java"):
    pytest.skip("needs Java, for Spark's JVM", allow_module_level=True)

from pyspark.sql import SparkSession

from roberta_sentiment import spark

pytestmark = pytest.mark.long
WORDS = ("good", "bad", "film", "plot", "not", "so", "very", "long", "dull", "bright")
REVIEWS = int(os.environ.get("SPARK_REVIEWS", "6000"))
"""Of the run with killed processes; 50000 take some minutes."""
TASKS = 12
QUIET = "--conf spark.ui.enabled=false pyspark-shell"


def reviews(rows: int) -> list[dict[str, Any]]:
    """Texts of one to 60 words; every 97th can't be scored."""
    bad = (None, " ", "good\0film")
    return [
        {
            "id": i,
            "text": bad[i % 3]
            if i % 97 == 5
            else " ".join(WORDS[(i * 7 + j * (i % 11)) % len(WORDS)] for j in range(1 + i % 60)),
        }
        for i in range(rows)
    ]


def read(path: Path) -> Any:
    """All rows of a directory that Spark wrote, in the order of its files."""
    return parquet.read_table(path, schema=parquet.read_table(path).schema)


def score_locally(path: Path, output: Path) -> Any:
    """The same file without Spark."""
    score_here(path, output, open_artifact(DEFAULT_MODEL), Settings())
    return parquet.read_table(output)


def processes(under: int) -> Iterator[tuple[int, str]]:
    """Processes below one, started by any of its threads, with their command lines."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{under}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield int(child), Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                yield from processes(int(child))


def named(word: str, under: int) -> list[int]:
    """Processes below one whose command line has a word, parents first."""
    return [pid for pid, command in processes(under) if word in command]


def kill(process: int) -> None:
    """SIGKILL, as the kernel does it for want of memory."""
    os.kill(process, signal.SIGKILL)


def begun(scratch: Path) -> int:
    """Tasks that have begun to write their rows."""
    return len({file.name for file in scratch.glob("**/rdd_*")})


def test_a_killed_executor_and_a_failed_task_change_nothing(tmp_path: Path) -> None:
    """Two executor processes; in the middle the first is killed, and of the second the Python
    worker, which fails its task: every row is there once, with the same scores."""
    path, output, scratch = (tmp_path / name for name in ("in.parquet", "out", "scratch"))
    parquet.write_table(arrow.Table.from_pylist(reviews(REVIEWS)), path)
    expected = score_locally(path, tmp_path / "local.parquet")
    scratch.mkdir()
    environment = {
        **os.environ,
        "PYSPARK_SUBMIT_ARGS": f"--master local-cluster[2,1,1024] {QUIET}",
        "SPARK_LOCAL_DIRS": str(scratch),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    patience = 300 + REVIEWS / 20
    command = [sys.executable, "-m", "roberta_sentiment", "score", "--engine", "spark"]
    with subprocess.Popen(
        [*command, str(path), str(output), "--partitions", str(TASKS)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as job:  # fmt: skip
        deadline = time.monotonic() + patience
        executors: list[int] = []
        python: list[int] = []
        while not (begun(scratch) >= TASKS // 2 and len(executors) == 2 and python):
            assert job.poll() is None, job.stderr and job.stderr.read()[-3000:]
            assert time.monotonic() < deadline, "half of the tasks were not begun"
            time.sleep(0.05)
            executors = named("CoarseGrainedExecutorBackend", job.pid)
            python = [pid for daemon in executors[1:] for pid in named("pyspark.daemon", daemon)]
        kill(executors[0])
        kill(python[-1])
        _, log = job.communicate(timeout=patience)
    assert 0 == job.returncode, log[-3000:]
    assert "Lost executor" in log
    scored = read(output)
    assert expected.equals(scored.drop_columns("model_version"))
    assert {open_artifact(DEFAULT_MODEL).version} == set(scored["model_version"].to_pylist())
    rejected = read(Path(f"{output}.rejected")).to_pylist()
    assert [i for i in range(REVIEWS) if i % 97 == 5] == [row["id"] for row in rejected]
    assert [row["id"] + 1 for row in rejected] == [row["line"] for row in rejected]
    assert {"no 'text' in it", "the text is empty", "holds a NUL at character 4"} == {
        row["reason"] for row in rejected
    }
    assert {path.as_uri().replace("///", "/")} == {
        row["file"].replace("///", "/") for row in rejected
    }


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Spark in this process."""
    folder = tmp_path_factory.mktemp("spark")
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[2] {QUIET}"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_DIRS"] = str(folder)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    found = SparkSession.builder.getOrCreate()
    yield found
    found.stop()


LINES = {
    "in.csv": 'id;text\n1;"a good; ""nice""\nfilm"\n2;bad\n3;\n4;good;bad\n',
    "in.jsonl": '{"id": "1", "text": "a good; \\"nice\\"\\nfilm"}\n{"id": "2", "text": "bad"}\n'
    '{"id": "3", "text": null}\n{"id": 4\n',
    "in.tsv": 'id\ttext\n1\ta good; "nice" film\n2\tbad\n3\t\n4\n',
    "in.txt": 'a good; "nice" film\nbad\n \nsch\udcf6n\n',
    "crlf.csv": '\ufefftext,id\r\n"a good\r\nfilm",1\r\nbad,\r\nsch\udcf6n,3\r\n',
}
"""Half a surrogate pair stands for a byte that is not UTF-8."""


@pytest.mark.parametrize("name", LINES)
def test_other_formats_give_the_same_scores(session: Any, tmp_path: Path, name: str) -> None:
    """Line breaks and quotes in cells included; what can't be read is rejected, and told."""
    path, output = tmp_path / name, tmp_path / "out"
    path.write_bytes(LINES[name].encode("utf-8", "surrogateescape"))
    rows, bad = spark.score(str(path), str(output), None, Settings())
    expected = tmp_path / "local.parquet"
    state = score_here(path, expected, open_artifact(DEFAULT_MODEL), Settings())
    assert (state.rows, state.rejected) == (rows, bad)
    got = read(output).drop_columns("model_version")
    assert parquet.read_table(expected).to_pylist() == got.to_pylist()
    reasons = [row["reason"] for row in read(Path(f"{output}.rejected")).to_pylist()]
    known = ("can't be read", "text", "not UTF-8")
    assert len(reasons) == sum(any(word in r for word in known) for r in reasons) == bad


def test_other_outputs_are_those_of_the_local_engine(session: Any, tmp_path: Path) -> None:
    """Line by line, but for the column of the model's version."""
    path = tmp_path / "in.parquet"
    parquet.write_table(arrow.Table.from_pylist(reviews(50)), path)
    version = open_artifact(DEFAULT_MODEL).version
    for name in ("out.csv", "out.jsonl.gz"):
        output, local = tmp_path / name, tmp_path / f"local_{name}"
        spark.score(str(path), str(output), None, Settings(), partitions=1)
        score_here(path, local, open_artifact(DEFAULT_MODEL), Settings())
        [part] = output.glob("part-*")
        with (
            arrow.input_stream(part, compression="detect") as got,
            arrow.input_stream(local, compression="detect") as wanted,
        ):
            expected, lines = (file.read().decode().splitlines() for file in (wanted, got))
        if name == "out.csv":
            assert [
                f"{expected[0]},model_version",
                *(f"{e},{version}" for e in expected[1:]),
            ] == lines
        else:
            rows = [{**json.loads(line), "model_version": version} for line in expected]
            assert rows == [json.loads(line) for line in lines]


def test_a_column_of_a_table(session: Any) -> None:
    """For pipelines that read and write by themselves."""
    table = session.createDataFrame([("good film",), (None,)], ["text"])
    sentiment = spark.sentiment(session, text_column="review")
    rows = table.select(sentiment("text").alias("s")).select("s.*").collect()
    assert ("positive", None) == (rows[0].label, rows[0].reason)
    assert (None, "no 'review' in it") == (rows[1].label, rows[1].reason)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": "out.txt"}, "Spark writes csv, jsonl, parquet"),
        ({"output": "in.parquet", "prefix": "my_"}, "already exists|ALREADY_EXISTS"),
        ({"data": "none.parquet"}, "PATH_NOT_FOUND|does not exist"),
        ({"text_column": "film"}, "no column 'film', found 'id', 'text', 'file'"),
        ({"text_column": "id"}, "the column 'id' holds bigint; strings are needed"),
        ({"text_column": "file"}, "has a column 'file' already; .*--prefix"),
        ({"data": "cut.jsonl.gz"}, "Unexpected end of input stream"),
        ({"prefix": "i", "text_column": "file"}, None),
    ],
    ids=["format", "output", "input", "column", "type", "name", "cut", "prefix"],
)
def test_what_can_not_be_done_is_one_sentence(
    session: Any, tmp_path: Path, change: dict[str, str], words: str | None
) -> None:
    """Spark's traces are long."""
    rows = [{**row, "file": "good"} for row in reviews(3)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "good"}\n' * 9999)[:-20])
    asked = {"data": "in.parquet", "output": "out", **change}
    data, output = (str(tmp_path / asked.pop(name)) for name in ("data", "output"))
    if words is None:
        assert (3, 0) == spark.score(data, output, None, Settings(), **asked)  # type: ignore[arg-type]
        return
    with pytest.raises(DataError, match=words):
        spark.score(data, output, None, Settings(), **asked)  # type: ignore[arg-type]
