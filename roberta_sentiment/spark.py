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
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pandas as pd
from py4j.protocol import Py4JError
from pyspark import SparkFiles, StorageLevel, TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.functions import pandas_udf
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
)

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

_TYPES: dict[type, DataType] = {
    str: StringType(),
    float: DoubleType(),
    int: LongType(),
    bool: BooleanType(),
}
_PACKAGE = Path(__file__).parent
_VERSION, _REASON = "model_version", "reason"
_PLACE = ("file", "split", "line")
"""Where a rejected row lies: its file, the first byte of its split and, of Parquet, its row."""
_UNREADABLE = "the row can't be read as one of this table"
_WRITERS: dict[str, dict[str, str]] = {
    "csv": {"header": "true", "escape": '"'},
    "jsonl": {"ignoreNullFields": "false"},
    "parquet": {},
}
ROWS_OF_A_TASK = 10_000
_sent: set[tuple[str, str]] = set()
"""Applications and the models that they have; each file of a job has a name of its own."""
_CODECS = {".gz": "gzip", ".zst": "zstd"}
_SENTIMENT, _CORRUPT = "_sentiment", "_corrupt_record"


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
    names = [*columns, _VERSION, _REASON]
    kinds = [_TYPES[type(value)] for value in (*columns.values(), "", "")]
    schema = StructType([StructField(*field) for field in zip(names, kinds, strict=True)])
    shipped = _ship(session, artifact, settings)

    @pandas_udf(schema)  # type: ignore[untyped-decorator]
    def score(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        classifier = _open(shipped)
        for texts in batches:
            yield pd.DataFrame(_score(texts, text_column, classifier), columns=names, dtype=object)

    return cast(Callable[..., Column], score)


def _ship(session: SparkSession, artifact: Artifact, settings: Settings) -> _Model:
    """Send the model and this package with the job, unless it has them."""
    name = f"model-{artifact.version}"
    graph = artifact.onnx_path.relative_to(artifact.path)
    context = session.sparkContext
    if (context.applicationId, name) not in _sent:
        folder = Path(tempfile.mkdtemp(prefix="roberta-sentiment-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        files = {*artifact.files.values(), artifact.path / MANIFEST}
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for file in sorted(file for file in files if file.exists()):
                tar.add(file.resolve(), file.relative_to(artifact.path))
        context.addArchive(f"{folder / name}.tar#{name}")
        if context.applicationId not in {application for application, _ in _sent}:
            package = folder / "roberta_sentiment.zip"
            with zipfile.ZipFile(package, "w") as zipped:
                for file in sorted(_PACKAGE.rglob("*.py")):
                    zipped.write(file, file.relative_to(_PACKAGE.parent))
            context.addPyFile(str(package))
        _sent.add((context.applicationId, name))
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
        row_of_text(name, None if text is pd.NA or text != text else text, Position(i, i))
        for i, text in enumerate(texts)
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
        table = _spread(session, table, kind, partitions)
        given = [name for name in table.columns if name not in (*_PLACE, _CORRUPT)]
        scores = sentiment(session, model, settings, column)(F.col(_quoted(column)))
        scored = table.withColumn(_SENTIMENT, scores).persist(StorageLevel.DISK_ONLY)
        added = [f for f in scored.schema[_SENTIMENT].dataType.fields if f.name != _REASON]
        refuse_common(given, [prefix + field.name for field in added])
        reason = F.col(f"{_SENTIMENT}.{_REASON}")
        if _CORRUPT in table.columns:
            reason = F.coalesce(F.when(F.col(_CORRUPT).isNotNull(), F.lit(_UNREADABLE)), reason)
        place = [name for name in (*_PLACE, _CORRUPT) if name in table.columns]
        bad = scored.where(reason.isNotNull())
        columns = [reason.alias(_REASON), *(F.col(_quoted(name)) for name in (*place, *given))]
        _write(bad.select(*columns), f"{output}.rejected", written_kind, output, restart)
        values = [_value(field, prefix + field.name, written_kind) for field in added]
        good = scored.where(reason.isNull()).select(*map(F.col, map(_quoted, given)), *values)
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
    """The table with the place of each row, and the name of the column of its texts."""
    reader = session.read.option("columnNameOfCorruptRecord", _CORRUPT)
    path = Path(data)
    if kind in ("csv", "tsv"):
        first = session.read.text(data).first()
        line = f"{first[0] if first else ''}\n".encode()
        source = read_header(path, kind, io.BytesIO(line), Position(0, 0), asked)
        names = source.names or ()
        table = reader.csv(
            data,
            schema=StructType([StructField(name, StringType()) for name in (*names, _CORRUPT)]),
            sep=source.delimiter,
            header=source.start.offset > 0,
            multiLine=kind == "csv",
            quote='"' if kind == "csv" else "",
            escape='"',
        )
    elif kind == "text":
        table = reader.text(data)
    else:
        table = reader.json(data) if kind == "jsonl" else reader.parquet(data)
    line = F.col("_metadata.row_index") + 1 if kind == "parquet" else F.lit(None).cast("long")
    place = [F.col("_metadata.file_path"), F.col("_metadata.file_block_start"), line]
    named = [column.alias(name) for column, name in zip(place, _PLACE, strict=True)]
    columns = [F.col(_quoted(name)) for name in table.columns]
    columns = [F.col("value").alias("text")] if kind == "text" else columns
    table = table.select(*columns, *named)
    given = [name for name in table.columns if name not in (*_PLACE, _CORRUPT)]
    return table, text_column_of(path, given, asked)


def _spread(session: SparkSession, table: DataFrame, kind: Kind, partitions: int) -> DataFrame:
    """The rows in tasks of a size at which a lost one costs minutes; those of Parquet in order.

    A file of Parquet may have a single row group, which is one task.
    """
    if kind != "parquet":
        return table.repartition(partitions) if partitions else table
    least = 4 * session.sparkContext.defaultParallelism
    partitions = partitions or max(least, math.ceil(table.count() / ROWS_OF_A_TASK))
    order = [_PLACE[0], _PLACE[2]]
    return table.repartitionByRange(partitions, *order).sortWithinPartitions(*order)


def _write(table: DataFrame, path: str, kind: Kind, output: str, restart: bool) -> None:
    codec = _CODECS.get(Path(output).suffix.lower())
    options = {**_WRITERS[kind], **({"compression": codec} if codec else {})}
    writer = table.write.mode("overwrite" if restart else "errorifexists")
    writer.format("json" if kind == "jsonl" else kind).options(**options).save(path)


def _value(field: StructField, name: str, kind: Kind) -> Column:
    """An added column; CSV has all digits, as without Spark, and not 9.0E-4."""
    column = F.col(f"{_SENTIMENT}.{_quoted(field.name)}")
    if kind == "csv" and field.dataType == DoubleType():
        column = F.format_string("%.6f", column)
    return column.alias(name)


def _reason_of(error: Exception) -> str:
    """The sentence in a failure: ours from an executor, else Spark's first line."""
    lines = str(error).splitlines()
    ours = [line.partition("Error: ")[2] for line in lines if "roberta_sentiment.errors." in line]
    return next(iter(ours), "") or first_line(error)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
