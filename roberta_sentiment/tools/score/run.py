"""The loop: read a chunk of the input, score it, make it durable."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from roberta_sentiment.classifier import Classifier, load_classifier
from roberta_sentiment.errors import DataError, InferenceError, RequestError
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.driver import find_device
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.check import check_text
from roberta_sentiment.tools.rows import BadRow, Row, Source, open_source
from roberta_sentiment.tools.score.journal import Journal, State, open_journal
from roberta_sentiment.tools.score.sink import Sink, render_bad

CHUNK_ROWS = 256
"""Rows that are scored together and made durable at once."""
CHUNK_BYTES = 2**20
"""Bytes of input after which a chunk ends in any case."""

_START_BYTES = 2**20
_OPTIONS = ("truncation", "max_tokens", "window_overlap", "batch_tokens")


@dataclasses.dataclass(frozen=True)
class Progress:
    """State of a run, reported after each chunk.

    Attributes:
        state: what is durable by now.
        resumed: whether an earlier run wrote the beginning.
        bad: rows that were rejected in this chunk.
    """

    state: State
    resumed: bool
    bad: Sequence[BadRow] = ()


def score(
    path: Path,
    output: Path,
    artifact: Artifact,
    settings: Settings,
    *,
    text_column: str = "",
    prefix: str = "",
    restart: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> State:
    """Score a file of any length in constant memory.

    Rows that can't be scored go to `<output>.rejected.jsonl`. Interrupted at any point, the same
    call resumes after the last finished chunk and gives the same bytes as without interruption.

    Args:
        path: CSV, TSV, JSON lines or plain text; see `open_source`.
        output: ends in .csv or .jsonl; the columns of the input and those of the scores.
        artifact: the model.
        settings: limits and policies of the model.
        text_column: name of the column to score; by default found by its name.
        prefix: put before the names of the added columns.
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
    if not output.parent.is_dir():
        raise DataError(f"the directory of the output {output} does not exist")
    source = open_source(path, text_column)
    head = artifact.head(settings.head)
    sink = Sink(output, source.first_names(), artifact.labels, prefix, head)
    identity = _identity(path, artifact, settings, text_column, prefix, chunk_rows)
    start = State(identity, source.start.offset, source.start.line)
    with open_journal(output, start, restart=restart) as journal:
        on_progress(Progress(journal.state, journal.resumed))
        if not journal.state.complete:
            classifier = load_classifier(artifact, settings)
            first = _write_all(source, sink, classifier, journal, chunk_rows, on_progress)
            if not journal.state.rows:
                journal.discard()
                reason = f"; line {first.start.line + 1}: {first.reason}" if first else ""
                raise DataError(f"{path} has no row that can be scored{reason}")
        journal.finish()
        return journal.state


def _write_all(
    source: Source,
    sink: Sink,
    classifier: Classifier,
    journal: Journal,
    chunk_rows: int,
    on_progress: Callable[[Progress], None],
) -> BadRow | None:
    """Write what is left; return the first rejected row."""
    state, first = journal.state, None
    if not state.output_bytes:
        journal.commit(sink.header(), b"", offset=state.offset, line=state.line)
    position = dataclasses.replace(source.start, offset=state.offset, line=state.line)
    for chunk in _chunks(source.rows(position), chunk_rows):
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
        on_progress(Progress(journal.state, journal.resumed, bad))
    return first


def _chunks(rows: Iterator[Row | BadRow], most: int) -> Iterator[list[Row | BadRow]]:
    """Group rows; where a group ends depends on nothing but the rows since its beginning."""
    chunk: list[Row | BadRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == most or row.end.offset - chunk[0].start.offset >= CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _score_chunk(
    chunk: Sequence[Row | BadRow], sink: Sink, classifier: Classifier
) -> tuple[int, list[BadRow], bytes, int]:
    """Rows scored, rows rejected, lines of the output, rows cut for the model."""
    checked = [_check_columns(row, sink) for row in chunk]
    good = [row for row in checked if isinstance(row, Row)]
    try:
        lines, truncated = _render(good, sink, classifier)
    except RequestError:
        checked = [_check_encoding(row, classifier) for row in checked]
        good = [row for row in checked if isinstance(row, Row)]
        lines, truncated = _render(good, sink, classifier)
    bad = [row for row in checked if isinstance(row, BadRow)]
    return len(good), bad, lines, truncated


def _render(rows: Sequence[Row], sink: Sink, classifier: Classifier) -> tuple[bytes, int]:
    if not rows:
        return b"", 0
    try:
        predictions = classifier.classify([row.text for row in rows])
    except InferenceError as error:
        raise InferenceError(
            f"lines {rows[0].start.line + 1} to {rows[-1].end.line}: {error.message}"
        ) from error
    return sink.render(rows, predictions), len(predictions.truncated)


def _check_columns(row: Row | BadRow, sink: Sink) -> Row | BadRow:
    reason = sink.unfit(row) if isinstance(row, Row) else None
    return _reject(row, reason) if isinstance(row, Row) and reason else row


def _check_encoding(row: Row | BadRow, classifier: Classifier) -> Row | BadRow:
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
        },
    }


def _input_identity(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            beginning = hashlib.sha256(file.read(_START_BYTES)).hexdigest()
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256_of_start": beginning}


def _model_identity(artifact: Artifact) -> dict[str, Any]:
    return {
        "sha256": artifact.digest,
        "labels": list(artifact.labels),
        "onnxruntime": onnxruntime.__version__,
    }
