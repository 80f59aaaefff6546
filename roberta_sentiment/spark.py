"""Scores on Spark: a pandas UDF, and files in and out through Spark's own readers and writers.

    from roberta_sentiment.spark import sentiment

    reviews.withColumn("sentiment", sentiment(spark)("text"))

Spark distributes, retries and writes; each Python worker of an executor opens the model once. The
model and this package travel with the job; the executors need the packages of the extra [spark].
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import io
import math
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pandas as pd
from py4j.protocol import Py4JError
from pyspark import SparkFiles, StorageLevel, TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import StringType, StructField

from roberta_sentiment.classifier import Classifier, check_model, load_classifier
from roberta_sentiment.errors import ChecksumError, DataError, first_line
from roberta_sentiment.model.artifact import Artifact, locate, open_artifact
from roberta_sentiment.model.layout import MANIFEST
from roberta_sentiment.settings import Settings
from roberta_sentiment.tools.rows import (
    KINDS,
    Kind,
    Position,
    Row,
    read_header,
    row_of_text,
    text_column_of,
)
from roberta_sentiment.tools.score.run import CHUNK_ROWS, grouped, reproducible, score_rows
from roberta_sentiment.tools.score.sink import added_columns, added_values, refuse_common
from roberta_sentiment.tools.streams import plain_suffix

_TYPES = {str: "string", float: "double", int: "long", bool: "boolean"}
_PACKAGE = Path(__file__).parent
_ZIP = "roberta_sentiment.zip"
_VERSION, _REASON = "model_version", "reason"
_PLACE_TYPES = {"file": "string", "split": "long", "line": "long", "row": "string"}
"""Where a rejected row lies: its file, the first byte of its split, and of Parquet its number; of
what is no row, the bytes."""
_NO_ROW = "the row can't be read as one of this table"
_NOT_UTF8 = "it is not UTF-8, or holds U+FFFD"
_WRITERS: dict[str, dict[str, str]] = {
    "csv": {"header": "true", "escape": '"'},
    "jsonl": {"ignoreNullFields": "false"},
    "parquet": {},
}
ROWS_OF_A_TASK = 10_000
_CODECS = {".gz": "gzip", ".zst": "zstd"}
_SENTIMENT, _CORRUPT, _PLACE, _UNREADABLE = "_sentiment", "_corrupt_record", "_place", "_unreadable"
_OURS = r"roberta_sentiment\.errors\.\w+Error: (.+)"
_CAUSE = r"^(?:Caused by: |: )?[\w.$]+(?:Error|Exception): (.+)"


@dataclasses.dataclass(frozen=True)
class _Model:
    """A model that executors have a copy of.

    Attributes:
        archive: name of its directory among the job's files.
        digest: over its files, 64 hexadecimal digits.
        settings: limits and policies.
    """

    archive: str
    digest: str
    settings: Settings


def sentiment(
    session: SparkSession,
    model: Path | str | None = None,
    settings: Settings | None = None,
    text_column: str = "text",
) -> Callable[..., Column]:
    """A function from a column of texts to a column of structs, with what `score` gives them.

    The struct has the columns that `score` adds, the version of the model, and the reason where a
    text can't be scored; then the others are null.

    Args:
        session: its executors get the model and this package.
        model: directory on this machine; by default the embedded model.
        settings: limits and policies; threads are those of `spark.task.cpus` unless they are set.
        text_column: how reasons call the column.

    Raises:
        StartError: the model is damaged or unfit.
    """
    artifact = open_artifact(*locate(str(model or "")))
    settings = reproducible(settings or Settings(), artifact)
    check_model(artifact, settings)
    columns = added_columns(artifact.labels, artifact.head(settings.head))
    columns |= {_VERSION: "", _REASON: ""}
    schema = _schema({name: _TYPES[type(value)] for name, value in columns.items()})
    shipped = _ship(session, artifact, settings)

    @pandas_udf(schema)  # type: ignore[untyped-decorator]
    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        classifier = _open(shipped)
        for texts in batches:
            values = _score(texts, text_column, classifier)
            yield pd.DataFrame(values, columns=list(columns), dtype=object)

    return cast(Callable[..., Column], score)


def _ship(session: SparkSession, artifact: Artifact, settings: Settings) -> _Model:
    """Send the model and this package with the job, unless it has them."""
    name = f"model-{artifact.version}"
    context = session.sparkContext
    folder = Path(tempfile.mkdtemp(prefix="roberta-sentiment-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not any(name in archive for archive in context.listArchives):
        files = {*artifact.files.values(), artifact.path / MANIFEST}
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for file in sorted(file for file in files if file.exists()):
                tar.add(file.resolve(), file.relative_to(artifact.path))
        context.addArchive(f"{folder / name}.tar#{name}")
    if not any(_ZIP in file for file in context.listFiles):
        with zipfile.ZipFile(folder / _ZIP, "w") as zipped:
            for file in sorted(_PACKAGE.rglob("*.py")):
                zipped.write(file, file.relative_to(_PACKAGE.parent))
        context.addPyFile(str(folder / _ZIP))
    graph = artifact.onnx_path.relative_to(artifact.path)
    return _Model(f"{name}/{graph}", artifact.digest, settings)


@functools.cache
def _open(model: _Model) -> Classifier:
    """The model's copy here, checked; one in a Python worker, which serves many tasks.

    Raises:
        ChecksumError: it is not the model that was sent.
    """
    artifact = open_artifact(Path(SparkFiles.get(model.archive)))
    if artifact.digest != model.digest:
        raise ChecksumError(
            f"the model of the job has the digest {model.digest}, this executor's copy "
            f"{artifact.digest}; start the job again"
        )
    context = TaskContext.get()
    cpus = context.cpus() if context else 0
    settings = dataclasses.replace(model.settings, threads=model.settings.threads or cpus)
    return load_classifier(artifact, settings)


def _score(texts: pd.Series, name: str, classifier: Classifier) -> list[list[Any]]:
    """Values of the struct's columns for each text."""
    version = classifier.artifact.version
    found: list[list[Any]] = []
    rows = (
        row_of_text(name, text, Position(i, i))
        for i, text in enumerate(texts.astype(object).where(texts.notna(), None))
    )
    for chunk in grouped(rows, CHUNK_ROWS):
        checked, predictions = score_rows(chunk, classifier)
        values = iter(added_values(predictions) if predictions else ())
        for row in checked:
            if isinstance(row, Row):
                found.append([*next(values), version, None])
            else:
                nothing = len(added_columns(classifier.labels, classifier.head))
                found.append([None] * nothing + [version, row.reason])
    return found


def score(
    data: str,
    output: str,
    model: Path | None,
    settings: Settings,
    *,
    text_column: str = "",
    prefix: str = "",
    kind: Kind | None = None,
    written_kind: Kind | None = None,
    partitions: int = 0,
    restart: bool = False,
) -> tuple[int, int]:
    """Score a table into a directory; what can't be scored goes to `<output>.rejected`.

    Args:
        data, output: paths of any file system that Spark knows; without a known suffix, Parquet.
        model: directory on this machine; by default the embedded model.
        settings, text_column, prefix, kind, written_kind: as of `score` without Spark.
        partitions: tasks that score; by default as many as Spark reads, of Parquet one for each
            `ROWS_OF_A_TASK` rows.
        restart: replace an output.

    Returns:
        Rows scored and rows rejected.

    Raises:
        DataError: there is no column of texts, a column of the output is there already, a path
            can't be read or written, or Spark can't write this format.
        StartError: the model is damaged or unfit.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    kind = kind or KINDS.get(plain_suffix(Path(data)), "parquet")
    written_kind = written_kind or KINDS.get(plain_suffix(Path(output)), "parquet")
    if written_kind not in _WRITERS:
        raise DataError(f"Spark writes {', '.join(_WRITERS)}; name one (--output-format)")
    running = SparkSession.getActiveSession()
    session = running or SparkSession.builder.appName("roberta-sentiment").getOrCreate()
    try:
        table, column = _read(session, data, kind, text_column)
        given = [name for name in table.columns if name not in (_PLACE, _UNREADABLE)]
        readable = F.when(F.col(_UNREADABLE).isNull(), F.col(_quoted(column)))
        scores = sentiment(session, model, settings, column)(readable)
        table = _spread(session, table, kind, partitions)
        scored = table.withColumn(_SENTIMENT, scores).persist(StorageLevel.DISK_ONLY)
        added = [f for f in scored.schema[_SENTIMENT].dataType.fields if f.name != _REASON]
        reason = F.coalesce(F.col(_UNREADABLE), F.col(f"{_SENTIMENT}.{_REASON}"))
        why = {_REASON: reason, **{name: F.col(f"{_PLACE}.{name}") for name in _PLACE_TYPES}}
        refuse_common(given, [prefix + name for name in (*(f.name for f in added), *why)])
        bad = scored.where(reason.isNotNull()).select(
            *(value.alias(prefix + name) for name, value in why.items()),
            *(_valid(table.schema[name]) for name in given),
        )
        _write(bad, f"{output}.rejected", written_kind, output, restart)
        values = [_value(field, prefix + field.name, written_kind) for field in added]
        kept = [F.col(_quoted(name)) for name in given]
        good = scored.where(reason.isNull()).select(*kept, *values)
        _write(good, output, written_kind, output, restart)
        counts = good.count(), bad.count()
        scored.unpersist()
        return counts
    except (PySparkException, Py4JError) as error:
        raise DataError(_reason_of(error)) from error
    finally:
        if not running:
            session.stop()


def _read(session: SparkSession, data: str, kind: Kind, asked: str) -> tuple[DataFrame, str]:
    """The table with the place of each row and why it can't be read, and its column of texts."""
    reader = session.read.option("columnNameOfCorruptRecord", _CORRUPT)
    path = Path(data)
    if kind in ("csv", "tsv"):
        table = _read_table(session, data, kind, asked)
    elif kind == "text":
        table = reader.text(data).withColumnRenamed("value", "text")
    else:
        table = reader.json(data) if kind == "jsonl" else reader.parquet(data)
    given = [name for name in table.columns if name != _CORRUPT]
    column = text_column_of(path, given, asked)
    if (found := table.schema[column].dataType) != StringType():
        raise DataError(
            f"{path}: the column {column!r} holds {found.simpleString()}; strings are needed"
        )
    place = {
        "file": F.col("_metadata.file_path"),
        "split": F.col("_metadata.file_block_start"),
        "line": F.col("_metadata.row_index") + 1 if kind == "parquet" else F.lit(None),
        "row": F.make_valid_utf8(_CORRUPT) if _CORRUPT in table.columns else F.lit(None),
    }
    is_decoded = kind in ("csv", "tsv")  # by Spark, which puts U+FFFD for what is not UTF-8
    unreadable = F.when(F.lit(False), "")
    for field in table.schema:
        if field.dataType == StringType() and field.name != _CORRUPT:
            cell = F.col(_quoted(field.name))
            broken = cell.contains("\ufffd") if is_decoded else ~F.is_valid_utf8(cell)
            unreadable = unreadable.when(broken, _NOT_UTF8)
    unreadable = unreadable.when(place["row"].isNotNull(), _NO_ROW)
    cells = {name: F.col(_quoted(name)) for name in given}
    if is_decoded:  # and which takes an empty cell for none
        cells = {name: F.coalesce(cell, F.lit("")) for name, cell in cells.items()}
    lies = F.struct(*(value.cast(_PLACE_TYPES[n]).alias(n) for n, value in place.items()))
    selected = {**cells, _PLACE: lies, _UNREADABLE: unreadable}
    return table.select(*(value.alias(name) for name, value in selected.items())), column


def _read_table(session: SparkSession, data: str, kind: Kind, asked: str) -> DataFrame:
    """CSV or TSV, all cells as text."""
    first = session.read.text(data, lineSep="\n").first()
    line = f"{first[0] if first else ''}\n"
    source = read_header(Path(data), kind, io.BytesIO(line.encode()), Position(0, 0), asked)
    names = source.names or ()
    return session.read.csv(
        data,
        schema=_schema(dict.fromkeys((*names, _CORRUPT), "string")),
        columnNameOfCorruptRecord=_CORRUPT,
        sep=source.delimiter,
        header=source.start.offset > 0,
        lineSep="\r\n" if line.endswith("\r\n") else "\n",
        multiLine=kind == "csv",
        quote='"' if kind == "csv" else "",
        escape='"',
    )


def _spread(session: SparkSession, table: DataFrame, kind: Kind, partitions: int) -> DataFrame:
    """The rows in tasks of a size at which a lost one costs minutes; those of Parquet in order.

    A file of Parquet may have a single row group, which is one task.
    """
    if kind != "parquet":
        return table.repartition(partitions) if partitions else table
    least = 4 * session.sparkContext.defaultParallelism
    partitions = partitions or max(least, math.ceil(table.count() / ROWS_OF_A_TASK))
    order = [f"{_PLACE}.file", f"{_PLACE}.line"]
    return table.repartitionByRange(partitions, *order).sortWithinPartitions(*order)


def _write(table: DataFrame, path: str, kind: Kind, output: str, restart: bool) -> None:
    codec = _CODECS.get(Path(output).suffix.lower())
    options = {**_WRITERS[kind], **({"compression": codec} if codec else {})}
    writer = table.write.mode("overwrite" if restart else "errorifexists")
    writer.format("json" if kind == "jsonl" else kind).options(**options).save(path)


def _value(field: StructField, name: str, kind: Kind) -> Column:
    """An added column; CSV has all digits, as without Spark, and not 9.0E-4."""
    column = F.col(f"{_SENTIMENT}.{_quoted(field.name)}")
    if kind == "csv" and field.dataType.typeName() == "double":
        column = F.format_string("%.6f", column)
    return column.alias(name)


def _valid(field: StructField) -> Column:
    """A column of rejected rows; a string that is no UTF-8 would break its readers."""
    column = F.col(_quoted(field.name))
    is_text = field.dataType == StringType()
    return F.make_valid_utf8(column).alias(field.name) if is_text else column


def _reason_of(error: Exception) -> str:
    """The sentence in a failure: ours or the cause's, else Spark's first line."""
    ours, causes = (re.findall(pattern, str(error), re.M) for pattern in (_OURS, _CAUSE))
    return next(iter(ours), "") or next(reversed(causes), "")[:300] or first_line(error)


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{_quoted(name)} {kind}" for name, kind in columns.items())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
