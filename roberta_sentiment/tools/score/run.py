"""The loop: read a chunk of the input, score it, make it durable."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from roberta_sentiment.classifier import Classifier, Predictions, load_classifier
from roberta_sentiment.errors import DataError, InferenceError, RequestError
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.driver import find_device
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.check import check_text
from roberta_sentiment.tools import arrow
from roberta_sentiment.tools.rows import BadRow, Kind, Position, Row, Source, open_source
from roberta_sentiment.tools.score.journal import Files, Journal, State, open_journal
from roberta_sentiment.tools.score.sink import Sink, output_kind, render_bad
from roberta_sentiment.tools.streams import STANDARD, is_compressed, reading

CHUNK_ROWS = 256
"""Rows that are scored together and made durable at once."""
CHUNK_BYTES = 2**20
"""Bytes of input after which a chunk ends in any case."""

Shard = tuple[int, int]
"""Number of a part, from 1 on, and how many parts there are."""
WHOLE: Shard = (1, 1)

_START_BYTES = 2**20
_OPTIONS = ("truncation", "max_tokens", "window_overlap", "batch_tokens")


@dataclasses.dataclass(frozen=True)
class Progress:
    """State of a run, reported after each chunk.

    Attributes:
        state: what is durable by now.
        resumed: whether an earlier run wrote the beginning.
        bad: rows that were rejected in this chunk.
        size: of the input, as the state's offset counts; none if it is not known.
    """

    state: State
    resumed: bool
    bad: Sequence[BadRow] = ()
    size: int | None = None


def score(
    path: Path,
    output: Path,
    artifact: Artifact,
    settings: Settings,
    *,
    text_column: str = "",
    prefix: str = "",
    kind: Kind | None = None,
    written_kind: Kind | None = None,
    shard: Shard = WHOLE,
    restart: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> State:
    """Score a file of any length in constant memory.

    Rows that can't be scored go to `<output>.rejected.jsonl`. Interrupted at any point, the same
    call resumes after the last finished chunk and gives the same bytes as without interruption;
    where the input or the output is `-`, it starts over.

    Args:
        path: CSV, TSV, JSON lines, plain text or Parquet; see `open_source`.
        output: the columns of the input and those of the scores, in the format that its name tells.
        artifact: the model.
        settings: limits and policies of the model.
        text_column: name of the column to score; by default found by its name.
        prefix: put before the names of the added columns.
        kind, written_kind: of input and output, where their names do not tell.
        shard: which part of the input; the outputs of all parts in their order are that of the
            whole.
        restart: forget an interrupted run and replace a finished output.
        chunk_rows: rows read before they are scored together and made durable.
        on_progress: called at the start and after each chunk.

    Returns:
        The last state.

    Raises:
        DataError: the input can't be read or has no row that can be scored, or the output can't be
            written or is not that of the same input, model and options.
        StartError: the model can't be loaded.
        InferenceError: the model failed; the message names the lines.
    """
    source = open_source(path, text_column, kind=kind)
    written_kind = written_kind or output_kind(output, source.kind)
    _refuse_output(path, output, written_kind)
    head = artifact.head(settings.head)
    names, schema = _columns(source, written_kind)
    sink = Sink(output, written_kind, names, artifact.labels, prefix, head, schema)
    identity = _identity(path, artifact, settings, text_column, prefix, chunk_rows, shard)
    start = State(identity, source.start.offset, source.start.line)
    size = source.size(count=shard != WHOLE)
    settings = reproducible(settings, artifact)
    with open_journal(output, start, restart=restart, resume=path != STANDARD) as journal:

        def report(bad: Sequence[BadRow] = ()) -> None:
            on_progress(Progress(journal.state, journal.resumed, bad, size))

        report()
        if not journal.state.complete:
            position = Position(journal.state.offset, journal.state.line)
            chunks = _of_shard(grouped(source.rows(position), chunk_rows), shard, size)
            if not journal.state.output_bytes and shard[0] == 1:
                journal.commit(sink.header(), b"", offset=position.offset, line=position.line)
            first = _write_all(chunks, sink, load_classifier(artifact, settings), journal, report)
            if not journal.state.rows and shard == WHOLE:
                journal.discard()
                reason = f"; line {first.start.line + 1}: {first.reason}" if first else ""
                raise DataError(f"{path} has no row that can be scored{reason}")
        journal.finish(sink.publish)
        return journal.state


def reproducible(settings: Settings, artifact: Artifact) -> Settings:
    """Settings with which no digit depends on the texts that are scored beside.

    Rounding in float changes with the size of a run; int8 rounds it away.
    """
    if artifact.precision == "int8":
        return settings
    return dataclasses.replace(settings, batch_tokens=1)


def _refuse_output(path: Path, output: Path, kind: Kind) -> None:
    if kind == "parquet" and (output == STANDARD or is_compressed(output)):
        raise DataError(f"Parquet can't be written to {output}; name a file that ends in .parquet")
    if output == STANDARD:
        return
    if not output.parent.is_dir():
        raise DataError(f"the directory of the output {output} does not exist")
    for file in (output, Files(output).rejected):
        if file.exists() and path.exists() and file.samefile(path):
            raise DataError(f"{file} is the input; name another output")


def _columns(source: Source, kind: Kind) -> tuple[Sequence[str], Any]:
    """Names of the input's columns and, for Parquet, their schema.

    JSON lines are read once to their end where the output must know all columns before the first.
    """
    if source.kind == "parquet":
        schema = arrow.ParquetFiles(source.path).schema
        return schema.names, schema
    if source.kind == "jsonl" and source.stream and kind == "parquet":
        raise DataError("JSON lines from standard input can't become Parquet; name a file")
    rows: Iterable[Mapping[str, Any]] = [dict.fromkeys(source.first_names(), "")]
    if source.kind == "jsonl" and not source.stream and kind in ("csv", "tsv", "parquet"):
        rows = (row.columns for row in source.rows() if isinstance(row, Row))
    if kind == "parquet":
        schema = arrow.infer_schema(rows)
        return schema.names, schema
    return tuple(dict.fromkeys(name for row in rows for name in row)), None


def _write_all(
    chunks: Iterable[Sequence[Row | BadRow]],
    sink: Sink,
    classifier: Classifier,
    journal: Journal,
    report: Callable[[Sequence[BadRow]], None],
) -> BadRow | None:
    """Write what is left; return the first rejected row."""
    first = None
    for chunk in chunks:
        good, bad, lines, truncated = _score_chunk(chunk, sink, classifier)
        end = chunk[-1].end
        journal.commit(
            lines,
            render_bad(bad),
            offset=end.offset,
            line=end.line,
            rows=good,
            rejected=len(bad),
            truncated=truncated,
        )
        first = first or next(iter(bad), None)
        report(bad)
    return first


def grouped(rows: Iterator[Row | BadRow], most: int) -> Iterator[list[Row | BadRow]]:
    """Group rows; where a group ends depends on nothing but the rows since its beginning."""
    chunk: list[Row | BadRow] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.raw)
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _of_shard(
    chunks: Iterable[list[Row | BadRow]], shard: Shard, size: int | None
) -> Iterator[list[Row | BadRow]]:
    """Those chunks of a whole input that begin in its part."""
    number, count = shard
    for chunk in chunks:
        part = 1 + chunk[0].start.offset * count // size if size and count > 1 else number
        if part > number:
            return
        if part == number:
            yield chunk


def _score_chunk(
    chunk: Sequence[Row | BadRow], sink: Sink, classifier: Classifier
) -> tuple[int, list[BadRow], bytes, int]:
    """Rows scored, rows rejected, lines of the output, rows cut for the model."""
    checked, predictions = score_rows([_check_columns(row, sink) for row in chunk], classifier)
    good = [row for row in checked if isinstance(row, Row)]
    bad = [row for row in checked if isinstance(row, BadRow)]
    if not predictions:
        return 0, bad, b"", 0
    return len(good), bad, sink.render(good, predictions), len(predictions.truncated)


def score_rows(
    rows: Sequence[Row | BadRow], classifier: Classifier
) -> tuple[Sequence[Row | BadRow], Predictions | None]:
    """The rows, of which some may turn out bad, and the answers to the good ones, if there are any.

    Raises:
        InferenceError: the model failed; the message names the lines.
    """
    try:
        for row in rows:
            if isinstance(row, Row):
                check_text(0, row.text)
        return rows, _classify(rows, classifier)
    except RequestError:
        checked = [check_row(row, classifier) for row in rows]
        return checked, _classify(checked, classifier)


def _classify(rows: Sequence[Row | BadRow], classifier: Classifier) -> Predictions | None:
    good = [row for row in rows if isinstance(row, Row)]
    try:
        return classifier.classify([row.text for row in good]) if good else None
    except InferenceError as error:
        raise InferenceError(
            f"lines {good[0].start.line + 1} to {good[-1].end.line}: {error.message}"
        ) from error


def _check_columns(row: Row | BadRow, sink: Sink) -> Row | BadRow:
    reason = sink.unfit(row) if isinstance(row, Row) else None
    return _reject(row, reason) if isinstance(row, Row) and reason else row


def check_row(row: Row | BadRow, classifier: Classifier) -> Row | BadRow:
    """The row, or why the model can't score it."""
    if isinstance(row, Row):
        try:
            check_text(0, row.text)
            classifier.tokenizer.encode([row.text], classifier.settings.truncation)
        except RequestError as error:
            return _reject(row, error.message.removeprefix("text 0 "))
    return row


def _reject(row: Row, reason: str) -> BadRow:
    return BadRow(row.start, row.end, reason, row.raw)


def _identity(
    path: Path,
    artifact: Artifact,
    settings: Settings,
    text_column: str,
    prefix: str,
    chunk_rows: int,
    shard: Shard,
) -> dict[str, Any]:
    """What must be the same for an interrupted run to be resumed."""
    return {
        "input": _input_identity(path),
        "model": _model_identity(artifact),
        "set of options": {
            **{name: getattr(settings, name) for name in _OPTIONS},
            "text_column": text_column,
            "device": find_device(settings.device, artifact.precision).name or "cpu",
            "head": artifact.head(settings.head).description,
            "prefix": prefix,
            "chunk_rows": chunk_rows,
            "shard": "/".join(map(str, shard)),
        },
    }


def _input_identity(path: Path) -> dict[str, Any]:
    if path == STANDARD:
        return {}
    with reading(path):
        paths = arrow.ParquetFiles(path).paths if path.is_dir() else [path]
        files = [(file, file.stat()) for file in paths]
        with files[0][0].open("rb") as file:
            beginning = hashlib.sha256(file.read(_START_BYTES)).hexdigest()
    return {
        "size": sum(status.st_size for _, status in files),
        "mtime_ns": max(status.st_mtime_ns for _, status in files),
        "sha256_of_start": beginning,
    }


def _model_identity(artifact: Artifact) -> dict[str, Any]:
    return {
        "sha256": artifact.digest,
        "labels": list(artifact.labels),
        "onnxruntime": onnxruntime.__version__,
    }
