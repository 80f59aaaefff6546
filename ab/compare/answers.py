"""What a model answered to every text: from its record, or asked now."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ab.attribution import Graph, Model
from ab.endpoint import parse_endpoint
from ab.errors import AnalysisError
from ab.observations import observe
from ab.record import read_record
from ab.run.options import Options
from ab.run.session import Session


@dataclasses.dataclass(frozen=True)
class ModelAnswers:
    """One model's answers.

    Attributes:
        name: of the model.
        answers: see `ab.observations.table`.
    """

    name: str
    answers: pd.DataFrame


def read_answers(path: Path) -> ModelAnswers:
    """Read the answers of a record in which one model answered everything.

    Raises:
        RecordError: it is not a record of one run.
        AnalysisError: it holds no answer, or those of several models.
    """
    answers = observe(read_record(path)).answered
    models = sorted({str(model) for model in answers.model})
    if len(models) != 1:
        raise AnalysisError(
            f"{path.name} holds answers of {len(models)} models ({', '.join(models)}); "
            "to compare text by text, each record must be of one"
        )
    return ModelAnswers(models[0], answers)


def ask_endpoints(
    urls: tuple[str, str],
    names: tuple[str | None, str | None],
    options: Options,
    on_progress: Callable[[], None],
) -> tuple[ModelAnswers, ModelAnswers]:
    """Ask both endpoints for every review.

    Args:
        urls: of the endpoints.
        names: of the models; None takes what the answers say.
        options: of either run, but for endpoint, record and models; requests at once are of both.
        on_progress: called after each answer.

    Raises:
        EndpointError: an address can't be understood.
        AnalysisError: an endpoint does not answer, or several models answer there.
    """
    pace = dataclasses.replace(options.pace, concurrency=-(-options.pace.concurrency // 2))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        given = [
            dataclasses.replace(
                options, endpoint=url, record=Path(folder, f"{i}.jsonl"), pace=pace, feedback=False,
                keep_texts=True, graph=Graph((Model(parse_endpoint(url).url, 1.0),)),
            )
            for i, url in enumerate(urls)
        ]  # fmt: skip
        sessions = [Session(each) for each in given]
        try:
            runs = [pool.submit(each.execute, lambda _: on_progress()) for each in sessions]
            for session, run in zip(sessions, runs, strict=True):
                if why := run.result().gave_up:
                    raise AnalysisError(f"{session.endpoint.url}: {why}")
        finally:
            for session in sessions:
                session.stop()
        a, b = (
            _answers(each.record, each.endpoint, name)
            for each, name in zip(given, names, strict=True)
        )
    return a, b


def _answers(record: Path, url: str, name: str | None) -> ModelAnswers:
    answers = observe(read_record(record)).answered
    said = [
        tags.get("model_name") or tags.get("served_as") or " ".join(path)
        for tags, path in zip(answers.tags, answers.path, strict=True)
    ]
    found = list(dict.fromkeys(filter(None, said)))
    if len(found) > 1 and name is None:
        raise AnalysisError(
            f"at {url} several models answer ({', '.join(found)}); give an endpoint of one model, "
            "such as the service of its predictor"
        )
    return ModelAnswers(name or (found or ["model"])[0], answers)
