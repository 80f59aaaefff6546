"""Asks two endpoints for every text, each in a run of its own, at the same time."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ab.attribution import Graph, Model
from ab.compare.answers import ModelAnswers
from ab.endpoint import parse_endpoint
from ab.errors import AnalysisError
from ab.observations import observe
from ab.record import read_record
from ab.run.session import Options, Session


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
