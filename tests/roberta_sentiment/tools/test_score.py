"""`score`: nothing lost, nothing twice, nothing changed, however often it is interrupted."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from roberta_sentiment.errors import DataError, InferenceError, SettingsError
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.run.session import Session
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.score.cli import command
from roberta_sentiment.tools.score.journal import State
from roberta_sentiment.tools.score.run import score
from tests import ROOT, gpu, toy

SETTINGS = Settings(threads=1, window_overlap=8)
ADDED = "label,score,probability_negative,probability_positive,tokens,truncated"
MANY = 100_000

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def run(path: Path, output: Path, artifact: Artifact, **options: Any) -> State:
    """`score` with settings that fit the toy."""
    return score(path, output, artifact, options.pop("settings", SETTINGS), **options)


def rejected(output: Path) -> list[dict[str, Any]]:
    """Rejected rows."""
    lines = Path(f"{output}.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def beside(output: Path) -> list[str]:
    """What lies beside an output under its name."""
    return sorted(p.name.removeprefix(output.name) for p in output.parent.glob(f"{output.name}*"))


def test_a_csv_gets_the_columns_of_the_scores(tmp_path: Path, toy_artifact: Artifact) -> None:
    """What the input holds is kept, and each number can be worked out by hand."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    long = " ".join(["good"] * 31)
    path.write_text(f'id,text,"a,b"\n1,"so good,\nso bad",x\n2,bad,\n3,good film,é\n4,{long},\n')
    state = run(path, output, toy_artifact)
    assert (4, 0, 1) == (state.rows, state.rejected, state.truncated)
    assert (
        f'id,text,"a,b",{ADDED}\n'
        '1,"so good,\nso bad",x,negative,0.500000,0.500000,0.500000,8,false\n'
        "2,bad,,negative,0.731059,0.731059,0.268941,3,false\n"
        "3,good film,é,positive,0.731059,0.268941,0.731059,4,false\n"
        f"4,{long},,positive,1.000000,0.000000,1.000000,33,true\n"
    ) == output.read_text(encoding="utf-8")
    assert [""] == beside(output)


def test_json_lines_keep_their_values(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Numbers stay numbers and nested values stay nested; keys may differ from row to row."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"id": 1, "text": "good 🎬", "more": {"a": [1.5, None]}}, {"text": "bad", "b": True}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(path, output, toy_artifact)
    got = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    by_hand = {"probability_negative": 0.268941, "probability_positive": 0.731059}
    scores = {"score": 0.731059, **by_hand, "truncated": False}
    assert {**rows[0], "label": "positive", **scores, "tokens": 8} == got[0]
    scores |= {"probability_negative": 0.731059, "probability_positive": 0.268941}
    assert {**rows[1], "label": "negative", **scores, "tokens": 3} == got[1]


def test_json_lines_to_a_table(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Every row is kept: the table has the columns of all rows, in the order in which they come."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.csv"
    path.write_text(
        '{"id": 1, "text": "good", "x": [null]}\n{"text": "bad"}\n'
        '{"text": "", "id": 2}\n{"text": "bad", "y": 1}\n'
    )
    run(path, output, toy_artifact)
    assert [
        f"id,text,x,y,{ADDED}",
        "1,good,[null],,positive,0.731059,0.268941,0.731059,3,false",
        ",bad,,,negative,0.731059,0.731059,0.268941,3,false",
        ",bad,,1,negative,0.731059,0.731059,0.268941,3,false",
    ] == output.read_text().splitlines()
    assert [(3, "the text is empty")] == [(r["line"], r["reason"]) for r in rejected(output)]


def test_a_rejected_row_can_be_found_again(tmp_path: Path, toy_artifact: Artifact) -> None:
    """By its bytes, even if they are no text."""
    path, output = tmp_path / "in.txt", tmp_path / "out.csv"
    path.write_bytes("é\ngood\nb\xffd\nbad\n".encode("latin-1").replace(b"\xe9", "é".encode()))
    run(path, output, toy_artifact)
    [row] = rejected(output)
    assert b"b\xffd\n" == path.read_bytes()[row["offset"] :][: row["bytes"]]
    assert (3, "b\\xffd\n") == (row["line"], row["row"])
    assert 4 == len(output.read_text(encoding="utf-8").splitlines())


def test_a_text_that_the_model_refuses_is_rejected(tmp_path: Path, toy_artifact: Artifact) -> None:
    """With truncation "error" a long text must not stop the run, nor cost its neighbours theirs."""
    path, output = tmp_path / "in.txt", tmp_path / "out.csv"
    path.write_text("good\n" + "film " * 40 + "\nbad\n")
    run(path, output, toy_artifact, settings=Settings(truncation="error"))
    assert ["good", "bad"] == [row["text"] for row in csv.DictReader(output.open(newline=""))]
    [row] = rejected(output)
    assert 2 == row["line"]
    assert row["reason"].startswith("has 43 tokens, the limit is 32")


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_text_is_refused_whatever_stands_beside_it(
    tmp_path: Path, toy_artifact: Artifact, chunk: int
) -> None:
    """A NUL is one, with or without another bad text in its group."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.csv"
    path.write_text('{"text": "good"}\n{"text": "a\\u0000b"}\n{"text": "bad"}\n')
    run(path, output, toy_artifact, chunk_rows=chunk)
    assert [(2, "holds a NUL at character 1")] == [
        (row["line"], row["reason"]) for row in rejected(output)
    ]


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_scores_do_not_depend_on_how_rows_are_grouped(
    tmp_path: Path, toy_artifact: Artifact, chunk: int
) -> None:
    """Rows that happen to be scored together must not matter."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    expected = _write_reviews(path, 50)
    run(path, output, toy_artifact, chunk_rows=chunk)
    assert expected == output.read_text(encoding="utf-8")


def test_memory_does_not_grow_with_the_file(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Eight times the rows need no more than one time."""
    peaks: list[int] = []
    for rows in (500, 500, 4000):  # the first warms up what is kept forever
        path = tmp_path / f"{len(peaks)}.csv"
        _write_reviews(path, rows)
        tracemalloc.start()
        run(path, path.with_suffix(".out.csv"), toy_artifact, chunk_rows=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1] + 100_000


class Crash(BaseException):
    """What kill -9 is to a process, within one."""


class Steps:
    """Counts steps that touch the disk; one of them fails, before or after it is done."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int) -> None:
        self.done = 0
        self._fatal = fatal
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, self._fragile(getattr(owner, name)))

    def _fragile(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            self._count()
            result = real(*arguments, **options)
            self._count()
            return result

        return step

    def _count(self) -> None:
        self.done += 1
        if self.done == self._fatal:
            raise Crash


def test_a_crash_at_any_step_loses_and_doubles_nothing(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before and after each flush, renaming and deletion in turn, then started again."""
    path, calm = tmp_path / "in.csv", tmp_path / "calm.csv"
    _write_reviews(path, 30, bad=True)
    run(path, calm, toy_artifact, chunk_rows=4)
    crashes, finished = 0, False
    while not finished:
        output = tmp_path / f"{crashes}.csv"
        with monkeypatch.context() as patch:
            steps = Steps(patch, crashes + 1)
            try:
                run(path, output, toy_artifact, chunk_rows=4)
                finished = True
            except Crash:
                crashes += 1
        if not finished and (not output.exists() or Path(f"{output}.state").exists()):
            _tear(output)
            run(path, output, toy_artifact, chunk_rows=4)
        assert calm.read_bytes() == output.read_bytes(), steps.done
        assert rejected(calm) == rejected(output), steps.done
        assert ["", ".rejected.jsonl"] == beside(output), steps.done
    assert crashes > 50


def _tear(output: Path) -> None:
    """Leave half a line at the end of what was being written."""
    state = Path(f"{output}.state")
    if not state.exists() or not json.loads(state.read_text())["complete"]:
        for part in output.parent.glob(f"{output.name}*.part"):
            part.write_bytes(part.read_bytes() + b"half a li")


@pytest.mark.long
def test_killed_in_the_middle_and_started_again_gives_the_same_bytes(
    tmp_path: Path, toy_path: Path
) -> None:
    """100,000 reviews, three times kill -9 at a random place, against an undisturbed run and
    against what can be worked out by hand."""
    path, calm, output = (tmp_path / name for name in ("in.csv", "calm.csv", "out.csv"))
    expected = _write_reviews(path, MANY, bad=True)
    assert 0 == _start(path, calm, toy_path).wait()
    assert expected == calm.read_bytes().decode()
    size, reached = path.stat().st_size, []
    for part in (0.2, 0.45, 0.7):
        process = _start(path, output, toy_path)
        _kill_beyond(process, output, int(size * (part + random.uniform(0, 0.15))))
        reached.append(json.loads(Path(f"{output}.state").read_text())["offset"])
        assert not output.exists()
    assert sorted(set(reached)) == reached
    assert 0 == _start(path, output, toy_path).wait()
    assert calm.read_bytes() == output.read_bytes(), reached
    asides = [Path(f"{file}.rejected.jsonl").read_bytes() for file in (calm, output)]
    assert asides[0] == asides[1], reached
    assert ["", ".rejected.jsonl"] == beside(output)


def _start(path: Path, output: Path, model: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "roberta_sentiment", "score", path, output, "--model", model],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )


def _kill_beyond(process: subprocess.Popen[bytes], output: Path, offset: int) -> None:
    """SIGKILL once so much of the input is done, a random moment later."""
    state, deadline = Path(f"{output}.state"), time.monotonic() + 120
    while not state.exists() or json.loads(state.read_text())["offset"] < offset:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, "no progress"
        time.sleep(random.uniform(0, 0.01))
    process.kill()
    assert -signal.SIGKILL == process.wait()


def _write_reviews(path: Path, number: int, *, bad: bool = False) -> str:
    """Write reviews as CSV; return the output worked out by hand.

    Every 5th holds a line break, every 11th is too long for the toy; with `bad` every 97th can't be
    read.
    """
    draw = random.Random(number)
    expected = io.StringIO()
    table = csv.writer(expected, lineterminator="\n")
    table.writerow(["id", "text", *ADDED.split(",")])
    with path.open("wb") as file:
        file.write(b"id,text\n")
        for i in range(number):
            words = draw.choices(toy.WORDS, k=draw.randint(31, 50) if i % 11 == 10 else i % 9 + 1)
            if bad and i % 97 == 5:
                file.write(draw.choice([b"\xff,good\n", b"1,2,3\n", b'1,"good\nfilm"x\n', b"1,\n"]))
                continue
            tokens = [word for word in words for word in ([word, "\n"] if i % 5 == 4 else [word])]
            text = "".join(w if w == "\n" else f" {w}" for w in tokens).strip(" ")
            line = io.StringIO()
            csv.writer(line).writerow([i, text])
            file.write(line.getvalue().encode())
            seen = tokens[:30]
            logit = seen.count("good") - seen.count("bad")
            positive, negative = 1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))
            numbers = [f"{p:.6f}" for p in (max(positive, negative), negative, positive)]
            label = "positive" if logit > 0 else "negative"
            cut = "true" if len(tokens) > 30 else "false"
            table.writerow([i, text, label, *numbers, len(tokens) + 2, cut])
    return expected.getvalue()


@pytest.fixture
def interrupted(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """An input and an output of which a part is written."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    _write_reviews(path, 30)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        Steps(patch, 16)
        run(path, output, toy_artifact, chunk_rows=4)
    return path, output


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda path, _: path.write_text(path.read_text() + "1,bad\n"), {}, r"input \(size"),
        (lambda path, _: os.utime(path, (0, 0)), {}, r"another input \(mtime_ns\);"),
        (
            lambda *_: None,
            {"settings": Settings(truncation="start", window_overlap=8)},
            r"another set of options \(truncation\);",
        ),
        (
            lambda *_: None,
            {"settings": Settings(max_tokens=20, window_overlap=8)},
            r"\(max_tokens\);",
        ),
        (lambda *_: None, {"prefix": "my_"}, r"\(prefix\);"),
        (lambda _, out: Path(f"{out}.part").write_text(""), {}, "0 bytes, but"),
        (lambda _, out: Path(f"{out}.state").write_text("{"), {}, "is damaged"),
        (lambda _, out: Path(f"{out}.state").write_text('{"format": 0}'), {}, "another version"),
    ],
    ids=["input", "time", "truncation", "limit", "prefix", "part", "state", "format"],
)
def test_a_run_is_not_continued_with_something_else(
    interrupted: tuple[Path, Path], toy_artifact: Artifact,
    change: Callable[[Path, Path], object], options: dict[str, Any], words: str,
) -> None:  # fmt: skip
    """Half of an output by one model and half by another would be worse than none."""
    path, output = interrupted
    change(path, output)
    with pytest.raises(DataError, match=f"(?s){words}.*--restart"):
        run(path, output, toy_artifact, **{"chunk_rows": 4, **options})
    run(path, output, toy_artifact, **{"chunk_rows": 4, **options}, restart=True)
    assert 30 <= len(output.read_text().splitlines())
    assert [""] == beside(output)


def test_a_run_is_not_continued_on_another_device(
    interrupted: tuple[Path, Path], toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision the scores of one file would be of two kinds."""
    monkeypatch.setattr("roberta_sentiment.tools.score.run.find_device", lambda *_: gpu.GPU)
    with pytest.raises(DataError, match=r"another set of options \(device\);"):
        run(*interrupted, toy_artifact, chunk_rows=4)


def test_a_run_is_not_continued_with_another_model(
    interrupted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Neither another graph nor other names of the labels."""
    path, output = interrupted
    other = toy.write(tmp_path / "other", mask=False)
    with pytest.raises(DataError, match=r"another model \(sha256\); put that back"):
        run(path, output, open_artifact(other), chunk_rows=4)
    named = toy.write(tmp_path / "named")
    config = json.loads((named / "config.json").read_text())
    config["id2label"] = {"0": "minus", "1": "plus"}
    (named / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"another model \(sha256, labels\); put that back"):
        run(path, output, open_artifact(named), chunk_rows=4)


def test_a_finished_output_is_not_overwritten_by_accident(
    tmp_path: Path, toy_artifact: Artifact
) -> None:
    """Hours of work; when it is replaced on purpose, rejected rows before are gone too."""
    path, output = tmp_path / "in.txt", tmp_path / "out.csv"
    path.write_text("good\n\n")
    run(path, output, toy_artifact)
    assert ["", ".rejected.jsonl"] == beside(output)
    with pytest.raises(DataError, match="exists already; --restart replaces it"):
        run(path, output, toy_artifact)
    path.write_text("bad\n")
    run(path, output, toy_artifact, restart=True)
    assert output.read_text().endswith("bad,negative,0.731059,0.731059,0.268941,3,false\n")
    assert [""] == beside(output)


def test_two_runs_do_not_write_one_output(
    interrupted: tuple[Path, Path], toy_artifact: Artifact
) -> None:
    """The second one is refused, and may not take the first one's progress away."""
    path, output = interrupted
    with Path(f"{output}.part").open("ab") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        for restart in (False, True):
            with pytest.raises(DataError, match="another process is writing"):
                run(path, output, toy_artifact, chunk_rows=4, restart=restart)
    assert Path(f"{output}.state").exists()


def test_a_file_without_any_good_row_gives_an_error(tmp_path: Path, toy_artifact: Artifact) -> None:
    """And names the first reason; no empty output pretends success."""
    path, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(DataError, match="no row that can be scored; line 1: no 'text' in it"):
        run(path, output, toy_artifact)
    assert [] == beside(output)


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("out.csv", {}, "has a column 'label' already; .*--prefix"),
        ("out.xlsx", {"prefix": "my_"}, "must end in .csv, .tsv, .jsonl or .txt"),
        ("none/out.csv", {"prefix": "my_"}, "directory of the output .* does not exist"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused_at_once(
    tmp_path: Path, toy_artifact: Artifact, output: str, options: dict[str, str], words: str
) -> None:
    """Before a model is loaded."""
    path = tmp_path / "in.tsv"
    path.write_text("label\ttext\n1\tgood\n")
    with pytest.raises(DataError, match=words):
        run(path, tmp_path / output, toy_artifact, **options)
    run(path, tmp_path / "right.csv", toy_artifact, prefix="my_")
    header = ",".join(f"my_{name}" for name in ADDED.split(","))
    assert f"label,text,{header}" == (tmp_path / "right.csv").read_text().splitlines()[0]


def test_the_input_is_never_overwritten(tmp_path: Path, toy_artifact: Artifact) -> None:
    """Not by the output, nor by the rejected rows beside it, and not by way of a link."""
    path, link = tmp_path / "out.csv.rejected.jsonl", tmp_path / "link.csv"
    path.write_text('{"text": "good"}\n{"text": ""}\n')
    link.symlink_to(path)
    for output in (path, link, tmp_path / "out.csv"):
        with pytest.raises(DataError, match="is the input; name another output"):
            run(path, output, toy_artifact, restart=True)
    assert ["good", ""] == [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_a_full_disk_gives_a_sentence_and_the_run_resumes(tmp_path: Path, toy_path: Path) -> None:
    """Here a limit on the size of a file stands for the disk."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    expected = _write_reviews(path, 1000)
    command = f"{sys.executable} -m roberta_sentiment score {path} {output} --model {toy_path}"
    for limit, code in (("ulimit -f 32;", 1), ("", 0)):
        done = subprocess.run(
            ["bash", "-c", limit + command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert code == done.returncode, done.stderr
        assert bool(code) == (f"{output} can't be written: File too large" in done.stderr)
    assert "resuming after line" in done.stderr
    assert expected == output.read_text()


def test_a_failing_model_stops_the_run_and_can_be_fixed(
    tmp_path: Path, toy_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was scored before is kept; the message names the lines."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    expected = _write_reviews(path, 30)
    runs = iter(range(100))
    real = Session.run

    def breaks(self: Session, *arguments: Any) -> Any:
        if next(runs) == 20:
            raise InferenceError("the model failed")
        return real(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(InferenceError, match=r"lines \d+ to \d+: "):
        patch.setattr(Session, "run", breaks)
        run(path, output, toy_artifact, chunk_rows=4)
    assert json.loads(Path(f"{output}.state").read_text())["rows"] > 0
    run(path, output, toy_artifact, chunk_rows=4)
    assert expected == output.read_text()


def test_the_command_says_what_it_did(
    tmp_path: Path, toy_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """How many rows, how many of them cut, and which were rejected and why."""
    path, output = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_text("text\n" + "good\n" * 3 + "film " * 40 + "\n" + "a,b\n" * 9)
    command(str(path), str(output), model=toy_path)
    words = capfd.readouterr().err
    assert "out.csv: 4 rows, 1 truncated" in " ".join(words.split())
    assert "rejected.jsonl: 9 rows rejected" in " ".join(words.split())
    assert "line 6: 2 columns, expected 1 (text)" in words
    assert 5 == words.count("expected 1")
    path.write_text("text\nfilm film film film good\n")
    command(str(path), str(output), model=toy_path, max_tokens=6, window_overlap=2, restart=True)
    assert output.read_text().endswith(",negative,0.500000,0.500000,0.500000,7,true\n")
    with pytest.raises(SettingsError, match="truncation is 'ends'"):
        command(str(path), str(output), model=toy_path, truncation="ends")


def test_an_error_is_one_sentence_and_exit_code_1(tmp_path: Path, toy_path: Path) -> None:
    """As with every command: no stack trace."""
    done = subprocess.run(
        [sys.executable, "-m", "roberta_sentiment", "score", "none.csv", "out.csv",
         "--model", toy_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (1, "") == (done.returncode, done.stdout)
    assert "error: none.csv can't be read: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
