"""What a server counts: every metric, and what each event adds to it.

The names and meanings are the same at every door, so that one dashboard serves all of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

from roberta_sentiment import errors
from roberta_sentiment.predictions import Predictions

Metric = dict[str, Any]
Method = Literal["predict", "feedback", "other", ""]
"""Label `method`: what was asked for; `other` is an unknown path or method, empty is none."""

RestartReason = Literal["exited", "failed", "killed", "out_of_memory", "hung", "unknown"]
SERVERS = ("rest", "grpc", "metrics", "custom")


@dataclasses.dataclass(frozen=True)
class Definition:
    """A metric.

    Attributes:
        name: without the suffix `_total` of a counter.
        type: `counter` or `histogram`.
        labels: those of its own, beside `method` and Seldon's.
        help: what it counts, one sentence.
    """

    name: str
    type: Literal["counter", "histogram"]
    labels: tuple[str, ...]
    help: str


DEFINITIONS = (
    Definition(
        "sentiment_answered_requests", "counter", (),
        "Requests answered; with sentiment_refused_requests every request, each once.",
    ),
    Definition(
        "sentiment_refused_requests", "counter", ("reason",),
        "Requests refused or failed, by the reason of the error in small letters.",
    ),
    Definition(
        "sentiment_texts", "counter", ("label",),
        "Texts answered, by the label with the highest score.",
    ),
    Definition(
        "sentiment_tokens", "counter", (),
        "Tokens the model saw, special tokens included, each window counted.",
    ),
    Definition("sentiment_padding_tokens", "counter", (), "Tokens of padding beside them."),
    Definition(
        "sentiment_batches", "counter", ("device",), "Runs of the model, by where it runs."
    ),
    Definition(
        "sentiment_truncated_texts", "counter", (), "Texts of which the model saw only a part."
    ),
    Definition(
        "sentiment_tokenize_seconds", "histogram", (), "A request's time in the tokenizer."
    ),
    Definition(
        "sentiment_queue_seconds", "histogram", (),
        "A request's time in the queue before the model.",
    ),
    Definition("sentiment_infer_seconds", "histogram", (), "A request's time in the model."),
    Definition(
        "sentiment_dropped_requests", "counter", (),
        "Requests that ended before their answer: the caller had left, or its time was over.",
    ),
    Definition(
        "sentiment_dropped_tokens", "counter", (),
        "Tokens of theirs that waited for the model and were not run.",
    ),
    Definition(
        "sentiment_feedback", "counter", ("truth", "prediction"),
        "Texts with a truth, by truth and prediction.",
    ),
    Definition(
        "sentiment_feedback_values", "counter", (),
        "Values with a truth, of a regression.",
    ),
    Definition(
        "sentiment_feedback_absolute_error", "counter", (),
        "Sum of their distances to the truth, of a regression.",
    ),
    Definition(
        "sentiment_feedback_squared_error", "counter", (),
        "Sum of the squares of their distances, of a regression.",
    ),
    Definition(
        "sentiment_rewards", "counter", (), "Feedback counted, with or without a reward."
    ),
    Definition(
        "sentiment_reward_sum", "counter", ("sign",),
        "Sum of the rewards' amounts, positive and negative apart.",
    ),
    Definition(
        "sentiment_foreign_feedback", "counter", (),
        "Feedback on an answer of another model or version, counted nowhere else.",
    ),
    Definition(
        "sentiment_worker_restarts", "counter", ("server", "reason"),
        "Server processes that ended and were replaced, by server and reason.",
    ),
    Definition(
        "seldon_api_model_feedback", "counter", (),
        "Seldon's own: feedback counted with a reward of 0 or more.",
    ),
    Definition(
        "seldon_api_model_feedback_reward", "counter", (), "Seldon's own: sum of those rewards."
    ),
)  # fmt: skip

HELP = {definition.name: definition.help for definition in DEFINITIONS}


def prediction_metrics(predictions: Predictions) -> list[Metric]:
    """What one answered request adds."""
    work = predictions.work
    metrics = [
        _counter("sentiment_texts", count, label=label)
        for label, count in Counter(predictions.best).items()
    ]
    metrics += [
        _counter("sentiment_answered_requests", 1),
        _counter("sentiment_tokens", work.tokens),
        _counter("sentiment_padding_tokens", work.padding),
        _counter("sentiment_batches", work.batches, device=work.device),
        _timer("sentiment_tokenize_seconds", work.tokenize_s),
        _timer("sentiment_queue_seconds", work.queue_s),
        _timer("sentiment_infer_seconds", work.infer_s),
    ]
    if predictions.truncated:
        metrics.append(_counter("sentiment_truncated_texts", len(predictions.truncated)))
    return metrics


def refusal_metrics(reason: str) -> list[Metric]:
    """What one refused or failed request adds."""
    return [_counter("sentiment_refused_requests", 1, reason=reason.lower())]


def error_metrics(error: errors.SentimentError) -> list[Metric]:
    """What a request adds that ended with an error, dropped ones included."""
    metrics = refusal_metrics(error.reason)
    if isinstance(error, errors.DroppedError):
        metrics.append(_counter("sentiment_dropped_requests", 1))
        metrics.append(_counter("sentiment_dropped_tokens", error.tokens))
    return metrics


def feedback_metrics(
    pairs: Iterable[tuple[str, str]], reward: float, errors: Sequence[float] = ()
) -> list[Metric]:
    """What one feedback adds.

    Args:
        pairs: truth and prediction of each text that has a truth.
        reward: of the whole feedback; 0 counts as a reward too.
        errors: prediction minus truth of each value of a regression.
    """
    metrics = [
        _counter("sentiment_feedback", count, truth=truth, prediction=prediction)
        for (truth, prediction), count in Counter(pairs).items()
    ]
    if errors:
        metrics += [
            _counter("sentiment_feedback_values", len(errors)),
            _counter("sentiment_feedback_absolute_error", sum(map(abs, errors))),
            _counter("sentiment_feedback_squared_error", sum(error**2 for error in errors)),
        ]
    metrics += [_counter("sentiment_answered_requests", 1), _counter("sentiment_rewards", 1)]
    if reward:
        sign = "positive" if reward > 0 else "negative"
        metrics.append(_counter("sentiment_reward_sum", abs(reward), sign=sign))
    if reward >= 0:
        metrics.append(_counter("seldon_api_model_feedback", 1))
        metrics.append(_counter("seldon_api_model_feedback_reward", reward))
    return metrics


def other_model_metrics() -> list[Metric]:
    """What feedback on another model's answer adds."""
    return [_counter("sentiment_answered_requests", 1), _counter("sentiment_foreign_feedback", 1)]


def restart_metrics(server: str, reason: RestartReason) -> list[Metric]:
    """What one server process adds that ended and is replaced."""
    return [_counter("sentiment_worker_restarts", 1, server=server, reason=reason)]


_MOST_LABELS = 12
"""With more labels the table of truths and predictions begins empty: most of it stays unused."""


def initial_metrics(labels: Sequence[str], device: str = "cpu") -> dict[Method, list[Metric]]:
    """Every series whose labels are known before the first event, by method.

    Args:
        labels: of the model.
        device: where it runs.
    """
    few = labels if len(labels) <= _MOST_LABELS else ()
    predict = [*_plain("sentiment_answered_requests", "sentiment_tokens"), *_refusals()]
    predict += _plain("sentiment_padding_tokens", "sentiment_truncated_texts")
    predict.append(_counter("sentiment_batches", 0, device=device))
    predict += _plain("sentiment_dropped_requests", "sentiment_dropped_tokens")
    predict += [_counter("sentiment_texts", 0, label=label) for label in labels]
    predict += [_timer(d.name, 0) for d in DEFINITIONS if d.type == "histogram"]
    feedback = [*_plain("sentiment_answered_requests"), *_refusals()]
    feedback += _plain("sentiment_rewards", "sentiment_foreign_feedback")
    feedback += _plain("sentiment_feedback_values", "sentiment_feedback_absolute_error")
    feedback += _plain("sentiment_feedback_squared_error")
    feedback += _plain("seldon_api_model_feedback", "seldon_api_model_feedback_reward")
    feedback += [
        _counter("sentiment_feedback", 0, truth=truth, prediction=prediction)
        for truth in few
        for prediction in few
    ]
    feedback += [
        _counter("sentiment_reward_sum", 0, sign=sign) for sign in ("positive", "negative")
    ]
    other = [
        _counter("sentiment_refused_requests", 0, reason=reason)
        for reason in ("not_found", "method_not_allowed")
    ]
    restarts = [
        _counter("sentiment_worker_restarts", 0, server=server, reason=reason)
        for server in SERVERS
        for reason in get_args(RestartReason)
    ]
    return {"predict": predict, "feedback": feedback, "other": other, "": restarts}


def _plain(*names: str) -> Iterator[Metric]:
    return (_counter(name, 0) for name in names)


def _refusals() -> Iterator[Metric]:
    """A refusal for each reason that an error of the node has."""
    own = (errors.NotReadyError, errors.OverloadedError, errors.InferenceError)
    reasons = {errors.SentimentError.reason, *(error.reason for error in own)}
    for base in (errors.RequestError, errors.DroppedError):
        reasons |= {error.reason for error in _subclasses(base)}
    for reason in sorted(map(str.lower, reasons)):
        yield _counter("sentiment_refused_requests", 0, reason=reason)


def _subclasses(base: type[errors.SentimentError]) -> Iterator[type[errors.SentimentError]]:
    yield base
    for each in base.__subclasses__():
        yield from _subclasses(each)


def _counter(key: str, value: float, **tags: str) -> Metric:
    return {"type": "COUNTER", "key": key, "value": value, "tags": tags}


def _timer(key: str, seconds: float) -> Metric:
    """The wrapper takes milliseconds and exposes seconds."""
    return {"type": "TIMER", "key": key, "value": seconds * 1000, "tags": {}}
