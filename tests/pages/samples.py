"""Pages of every command, with what is hard to show: many labels, long names, open intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ab.compare import page as compare_page
from ab.compare.analysis import compare
from ab.compare.answers import ModelAnswers, read_answers
from ab.data import features
from ab.record import Event, read_record
from ab.report import page as report_page
from ab.report.analysis import analyse
from ab.report.segments import KNOWN
from ab.stats.power import TestPlan
from roberta_sentiment.tools import metrics
from roberta_sentiment.tools.evaluate import report
from roberta_sentiment.tools.evaluate.measure import Latency
from roberta_sentiment.tools.evaluate.run import Evaluation, Flip, Mistake, Result, Tokens
from tests.ab import records

LONG = "a_model_whose_name_is_as_long_as_such_names_are_on_the_hub-v2.1"
LINK = f"https://example.org/{'path/' * 40}"


def report_of(events: Sequence[Event], folder: Path, plan: TestPlan = TestPlan()) -> str:  # noqa: B008  frozen
    """The page of `ab report`."""
    folder.mkdir(exist_ok=True)
    path = records.write(folder / "record.jsonl", events)
    analysis = analyse(read_record(path), plan)
    return report_page.render(analysis, {"name": path.name, "sha256": "0" * 64})


def won(folder: Path) -> str:
    """A has won; B is ten times as slow, and has too few answers to bound its p99."""
    events = records.simulated(600, {"old": 0.9, "new": 0.6})
    for event in events[1:]:
        event["latency_s"] *= 10 if event["model"] == "new" else 1
    return report_of(events, folder)


def invalid(folder: Path) -> str:
    """A clear lead, but the split is not the declared one."""
    events = records.simulated(900, {"lexicon": 0.6, "roberta": 0.9}, share_b=0.35)
    events[0] = records.run_line(900, {"lexicon": 0.5, "roberta": 0.5})
    return report_of(events, folder)


def divided(folder: Path) -> str:
    """A leads, by all on long texts; B keeps a guardrail, breaks one, and one is not decided."""
    rng, events = np.random.default_rng(8), [records.run_line(2400, {"old": 0.5, "new": 0.5})]
    for i in range(2400):
        long, model = bool(rng.random() < 0.6), ("old", "new")[int(rng.random() < 0.5)]
        right = bool(rng.random() < (0.9 if model == "old" or not long else 0.6))
        text = features(LONG + ("!" * 300 if long else ""))
        tags = {"shop": LONG if i % 3 else "web"}
        answered = records.answer(i, model, right=right, features=text, request_tags=tags)
        answered["latency_s"] *= 20 if model == "new" else 1
        events.append(answered)
    guardrails = ("p95<=150ms", "p50<=400ms", "recall:negative>=A-2%", "truncated<=5%")
    plan = TestPlan(guardrails=guardrails, segments=(*KNOWN, "shop"))
    return report_of(events, folder, plan)


def four(folder: Path) -> str:
    """Four models, one of them with a long name, nothing decided."""
    names = ["lexicon", LONG, "linear", "roberta"]
    events = [records.run_line(200, dict.fromkeys(names, 0.25))]
    events += [records.answer(i, names[i % 4], right=i % 5 != 0) for i in range(200)]
    return report_of(events, folder)


def compared(folder: Path) -> str:
    """Text by text; A is better."""

    def answers(name: str, every: int) -> ModelAnswers:
        events = [records.run_line(120, {name: 1.0})]
        events += [
            records.answer(i, name, right=i % every != 0, text=f"{i} {LINK}") for i in range(120)
        ]
        return read_answers(records.write(folder / f"{name}.jsonl", events))

    return compare_page.render(compare(answers("lexicon", 9), answers(LONG, 4), {}, 0.05, 0.01))


def evaluated(k: int) -> Evaluation:
    """Two models with k labels on 400 texts."""
    labels = tuple(f"{word}{i}" for i, word in enumerate(["joy", "disappointment"] * k))[:k]
    rng = np.random.default_rng(1)
    truth = rng.integers(0, k, 400)
    first, second = (_scores(rng, truth, k, right) for right in (0.85, 0.7))
    compared = metrics.compare(truth.tolist(), first, second)
    mistakes = np.flatnonzero(first.argmax(axis=1) != truth).tolist()
    return Evaluation(
        facts=FACTS,
        remarks=["3 texts have labels that the model does not know, and are left out"],
        model=_result("roberta-sentiment-mini", labels, truth, first),
        other=_result(LONG, labels, truth, second),
        mistakes=tuple(
            Mistake(i + 1, LINK, labels[truth[i]], *_answer(labels, first[i])) for i in mistakes
        ),
        comparison=compared,
        flips=tuple(
            Flip(
                i + 1,
                "A long film. " * 30,
                labels[truth[i]],
                *_answer(labels, first[i]),
                *_answer(labels, second[i]),
            )
            for i in compared.flips
        ),
        truth=truth.tolist(),
        probabilities=first,
    )


def _scores(rng: np.random.Generator, truth: Any, k: int, right: float) -> metrics.Probabilities:
    logits = rng.normal(size=(len(truth), k))
    logits[np.arange(len(truth)), truth] += 4.0 * (rng.random(len(truth)) < right)
    odds = np.exp(logits)
    scores: metrics.Probabilities = odds / odds.sum(axis=1, keepdims=True)
    return scores


def _answer(labels: Sequence[str], scores: metrics.Probabilities) -> tuple[str, float]:
    return labels[int(scores.argmax())], float(scores.max())


def _result(
    name: str, labels: tuple[str, ...], truth: Any, scores: metrics.Probabilities
) -> Result:
    return Result(
        name=name,
        sha256="0" * 64,
        precision="int8",
        labels=labels,
        quality=metrics.quality(truth.tolist(), scores),
        latency=Latency(texts=400, mean=2.1, p50=1.93, p90=3.1, p99=11.5),
        texts_per_second=158.0,
        tokens=Tokens(total=8000, mean=20.0, p50=18.0, p90=30.0, p99=55.0, most=88),
        truncated=0,
    )


FACTS: dict[str, Any] = {
    "date": "2026-11-28T10:00:00+00:00",
    "data": {"name": "reviews.tsv", "sha256": "0" * 64},
    "settings": {"truncation": "end", "threads": 2},
    "machine": {"processor": "CPU", "cpus": 2, "features": ["avx2"], "system": "Linux"},
    "versions": {"python": "3.12"},
}
PAGES: Mapping[str, Callable[[Path], str]] = {
    "report": won,
    "report-without-verdict": invalid,
    "report-of-four": four,
    "report-of-segments": divided,
    "compare": compared,
    "evaluate": lambda _: report.render(evaluated(2)),
    "evaluate-28-labels": lambda _: report.render(evaluated(28)),
}
