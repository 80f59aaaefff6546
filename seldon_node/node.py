"""A sentiment model as a Seldon MODEL node, whatever it is that scores the texts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.proto import prediction_pb2
from seldon_core.user_model import SeldonResponse

from roberta_sentiment import caller
from roberta_sentiment.errors import (
    OWN_FAULT,
    InferenceError,
    NotReadyError,
    PayloadError,
    SentimentError,
)
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions, TextClassifier
from roberta_sentiment.serving.health import ModelHealth
from roberta_sentiment.serving.metadata import answer_facts
from roberta_sentiment.serving.metrics import (
    Method,
    error_metrics,
    feedback_metrics,
    other_model_metrics,
    prediction_metrics,
)
from roberta_sentiment.serving.request import check_output, score
from roberta_sentiment.settings import Settings
from seldon_node import answer, feedback, payload
from seldon_node.health import WorkerHealth
from seldon_node.recorder import Recorder
from seldon_node.truths import reader_of

logger = logging.getLogger(__name__)

_TOO_DEEP = "the message is nested too deeply"


class NodeError(SeldonMicroserviceException):  # type: ignore[misc]  # upstream is untyped
    """One of our errors, as the wrapper wants it.

    The wrapper's own class has an empty text, which is all that a gRPC client sees (issue 3924).
    """

    def __init__(self, error: SentimentError) -> None:
        super().__init__(error.message, status_code=error.http_status, reason=error.reason)
        self.error = error

    def __str__(self) -> str:
        return self.error.message


class SentimentNode:
    """A Seldon MODEL node around a text classifier.

    A subclass gives `settings`, `identity`, `labels` and, if it is not softmax, `head` in its cheap
    constructor (and `device` where it is not the CPU), and `load`, which calls `_start_serving`.
    """

    settings: Settings
    identity: dict[str, str]
    labels: tuple[str, ...]
    head: Head = Head()
    device: str = "cpu"

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.workers: WorkerHealth | None = None
        self.health = ModelHealth(self._report_to_workers)
        self._classifier: TextClassifier | None = None

    def _start_serving(self, classifier: TextClassifier) -> None:
        """Take a loaded classifier into service."""
        self.health.start_serving(classifier, self.settings.request_timeout)
        self._classifier = classifier

    def class_names(self) -> list[str]:
        """Names of the columns of an answer."""
        return list(self.labels)

    def predict(
        self,
        X: Any,  # noqa: N803  (the name that Seldon gives it)
        names: Sequence[str] | None = None,
        meta: dict[str, Any] | None = None,
    ) -> SeldonResponse:
        """Score texts or token ids given as an array, for callers inside Python.

        Args:
            X: n texts (list, or array of shape (n,) or (n, 1)), one text, or (n, length) ids.
            names: ignored.
            meta: ignored.

        Returns:
            (n, k) float64 probabilities, with the tags of this answer.

        Raises:
            NodeError: as for a request over the wire.
        """
        message = _to_message(X)
        try:
            predictions = self._predict(payload.parse(message, self.settings))
        except SentimentError as error:
            raise NodeError(error) from error
        return SeldonResponse(
            predictions.probabilities, tags=answer_facts(self.identity, predictions)
        )

    def predict_raw(
        self, message: dict[str, Any] | prediction_pb2.SeldonMessage
    ) -> dict[str, Any] | prediction_pb2.SeldonMessage:
        """Answer a request, REST (a dictionary) or gRPC (a protobuf message).

        An error comes back as a message with a status, from which the wrapper takes the HTTP code.
        """
        is_proto = isinstance(message, prediction_pb2.SeldonMessage)
        result = self._answer(payload.to_python(message) if is_proto else message)
        return answer.to_proto(result) if is_proto else result

    def send_feedback_raw(self, message: prediction_pb2.Feedback) -> prediction_pb2.SeldonMessage:
        """Count truth against prediction, and the reward.

        Raises:
            NodeError: the feedback does not make sense.
        """
        reader = reader_of(self.head, self.labels)
        try:
            parsed = feedback.parse(
                message,
                self.labels,
                self.identity["model_version"],
                self.settings,
                lambda request: reader.predicted(self._predict(request)),
                reader,
            )
        except SentimentError as error:
            raise self._refused_feedback(error) from error
        except RecursionError as error:
            raise self._refused_feedback(PayloadError(_TOO_DEEP)) from error
        except Exception as error:
            logger.exception("a feedback failed for a reason of our own")
            raise self._refused_feedback(InferenceError(OWN_FAULT)) from error
        if parsed.other_model:
            self.recorder.record(other_model_metrics(), "feedback")
            return answer.to_proto({"meta": {"tags": {"feedback": "ignored: not this model's"}}})
        self.recorder.record(
            feedback_metrics(parsed.pairs, parsed.reward, parsed.errors), "feedback"
        )
        return answer.to_proto({"meta": {"tags": {"feedback": "counted"}}})

    def health_status(self) -> str:
        """Say "ready" if the model answers, here and in the other workers of the service.

        Raises:
            NodeError: 503, the model is loading or fails, or a gRPC worker does not answer.
        """
        problem = self.health.problem or (self.workers.problem() if self.workers else "")
        if problem:
            raise NodeError(NotReadyError(f"not ready: {problem}"))
        return "ready"

    def _answer(self, message: object) -> dict[str, Any]:
        try:
            incoming = message.get("meta") if isinstance(message, dict) else None
            meta = answer.build_meta(incoming)
            request = payload.parse(message, self.settings)
            check_output(request.options.output, self.head)
            predictions = self._predict(request)
            meta["tags"].update(answer_facts(self.identity, predictions))
            result = answer.build(request, predictions, meta)
        except RecursionError:
            return self._refuse(PayloadError(_TOO_DEEP))
        except SentimentError as error:
            return self._refuse(error)
        except Exception:
            logger.exception("a request failed for a reason of our own")
            return self._refuse(InferenceError(OWN_FAULT))
        self.recorder.record(prediction_metrics(predictions), "predict")
        return result

    def _refused_feedback(self, error: SentimentError) -> NodeError:
        self._count_refusal(error, "feedback")
        return NodeError(error)

    def _refuse(self, error: SentimentError) -> dict[str, Any]:
        self._count_refusal(error, "predict")
        return answer.build_error(error)

    def _count_refusal(self, error: SentimentError, method: Method) -> None:
        """Count a refused or failed request, and leave its Retry-After with its door."""
        caller.current().retry_after = error.retry_after
        self.recorder.record(error_metrics(error), method)

    def _predict(self, request: payload.Request) -> Predictions:
        classifier = self._classifier
        if classifier is None:
            raise NotReadyError(f"not ready: {self.health.problem}")
        waiting = caller.current()
        waiting.limit_time(self.settings.request_timeout)
        try:
            with caller.serving(waiting):
                return score(classifier, request.texts, request.ids, request.options)
        except InferenceError as error:
            logger.exception("inference failed")
            self.health.check_model(error.message)
            raise

    def _report_to_workers(self, failing: bool) -> None:
        """Say to the other workers whether this one's model fails."""
        if self.workers:
            self.workers.failures.report(failing=failing)


def _to_message(values: Any) -> dict[str, Any]:
    """The SeldonMessage that a Python value stands for."""
    if isinstance(values, bytes):
        return {"binData": values}
    if isinstance(values, (str, dict)):
        return {"jsonData": values}
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return {"data": {"ndarray": [values] if isinstance(values, str) else values}}
