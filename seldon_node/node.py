"""A sentiment model as a Seldon MODEL node, whatever it is that scores the texts."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.proto import prediction_pb2
from seldon_core.user_model import SeldonResponse

from roberta_sentiment import caller
from roberta_sentiment.errors import (
    DroppedError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    PayloadError,
    SentimentError,
)
from roberta_sentiment.model.heads import Head
from roberta_sentiment.predictions import Predictions
from roberta_sentiment.settings import Settings, Truncation
from seldon_node import answer, feedback, health, metrics, payload
from seldon_node.truths import reader_of

logger = logging.getLogger(__name__)

OWN_FAULT = "the server failed; its log has the details"

_TOO_DEEP = "the message is nested too deeply"
_RETRY_S = 0.5


class TextClassifier(Protocol):
    """What a node needs of its model."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    def classify(
        self, texts: Sequence[str], truncation: Truncation | None = None
    ) -> Predictions: ...
    def classify_ids(self, rows: Sequence[Sequence[int]]) -> Predictions: ...


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

    A subclass gives `settings`, `identity`, `labels` and, if it is no softmax, `head` in its cheap
    constructor, and `load`, which calls `_open`.
    """

    settings: Settings
    identity: dict[str, str]
    labels: tuple[str, ...]
    head: Head = Head()

    _WARM_UP: ClassVar[str] = "This film is so good"

    def __init__(self) -> None:
        self.recorder = metrics.Recorder()
        self.peers: health.Peers | None = None
        self._classifier: TextClassifier | None = None
        self._failure = "the model is still loading"
        self._failure_lock = threading.Lock()
        self._checking = False

    def _open(self, classifier: TextClassifier) -> None:
        """Take a loaded classifier into service once it has passed a warm-up prediction.

        What lives by now lives as long as the process. The garbage collector need not walk through
        it again, which would stop all requests for a tenth of a second.
        """
        classifier.classify([self._WARM_UP])
        gc.freeze()
        self._classifier = classifier
        self._failure = ""

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
        return SeldonResponse(predictions.probabilities, tags=self._tags(predictions))

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
            self.recorder.record(metrics.of_foreign_feedback(), "feedback")
            return answer.to_proto({"meta": {"tags": {"feedback": "ignored: not this model's"}}})
        self.recorder.record(
            metrics.of_feedback(parsed.pairs, parsed.reward, parsed.errors), "feedback"
        )
        return answer.to_proto({"meta": {"tags": {"feedback": "counted"}}})

    def health_status(self) -> str:
        """Say "ready" if the model answers, here and in the other workers of the service.

        Raises:
            NodeError: 503, the model is loading or fails, or a gRPC worker does not answer.
        """
        complaint = self._failure or (self.peers.complaint() if self.peers else "")
        if complaint:
            raise NodeError(NotReadyError(f"not ready: {complaint}"))
        return "ready"

    def _answer(self, message: object) -> dict[str, Any]:
        try:
            incoming = message.get("meta") if isinstance(message, dict) else None
            meta = answer.build_meta(incoming)
            request = payload.parse(message, self.settings)
            payload.check_output(request.options.output, self.head)
            predictions = self._predict(request)
            meta["tags"].update(self._tags(predictions))
            result = answer.build(request, predictions, meta)
        except RecursionError:
            return self._refuse(PayloadError(_TOO_DEEP))
        except SentimentError as error:
            return self._refuse(error)
        except Exception:
            logger.exception("a request failed for a reason of our own")
            return self._refuse(InferenceError(OWN_FAULT))
        self.recorder.record(metrics.of_predictions(predictions), "predict")
        return result

    def _refused_feedback(self, error: SentimentError) -> NodeError:
        self._count_refusal(error, "feedback")
        return NodeError(error)

    def _refuse(self, error: SentimentError) -> dict[str, Any]:
        self._count_refusal(error, "predict")
        return answer.build_error(error)

    def _count_refusal(self, error: SentimentError, method: metrics.Method) -> None:
        """Count a refused or failed request, and leave its Retry-After with its door."""
        caller.current().retry_after = error.retry_after
        counts = metrics.of_refusal(error.reason)
        if isinstance(error, DroppedError):
            counts += metrics.of_dropped(error.tokens)
        self.recorder.record(counts, method)

    def _predict(self, request: payload.Request) -> Predictions:
        classifier = self._classifier
        if classifier is None:
            raise NotReadyError(f"not ready: {self._failure}")
        waiting = caller.current()
        waiting.limit_time(self.settings.request_timeout)
        try:
            with caller.serving(waiting):
                if request.ids:
                    return classifier.classify_ids(request.ids)
                return classifier.classify(request.texts, request.options.truncation)
        except InferenceError as error:
            logger.exception("inference failed")
            self._check_model(error.message)
            raise

    def _check_model(self, failure: str) -> None:
        """Find out whether it is the model that fails, which turns health red, or one text alone.

        A server without traffic, because its health is red, has to come back by itself.
        """
        with self._failure_lock:
            if self._checking:
                return
            self._checking = True
        if self._answers(failure):
            return
        try:
            threading.Thread(target=self._recover, args=(failure,), daemon=True).start()
        except RuntimeError:  # the container's limit of threads; the next failure tries again
            self._checking = False

    def _recover(self, failure: str) -> None:
        """Ask the model until it answers, whatever is raised until then."""
        time.sleep(_RETRY_S)
        while not self._answers(failure):
            time.sleep(_RETRY_S)

    def _answers(self, failure: str) -> bool:
        """Whether the model answers a text that it has answered before."""
        asking = caller.Caller()
        asking.limit_time(self.settings.request_timeout)
        try:
            with caller.serving(asking):
                self._classifier.classify([self._WARM_UP])  # type: ignore[union-attr]
        except (OverloadedError, DroppedError):
            return False  # it has much to do, which says nothing about its health
        except BaseException:  # whatever it is, health must not stay as it is for ever
            self._report(failure)
            return False
        with self._failure_lock:
            self._report("")
            self._checking = False
        return True

    def _report(self, failure: str) -> None:
        """Say here and to the other workers whether the model fails."""
        self._failure = failure
        if self.peers:
            self.peers.board.report(failing=bool(failure))

    def _tags(self, predictions: Predictions) -> dict[str, Any]:
        tokens, truncated = predictions.tokens, predictions.truncated
        return {**self.identity, "tokens": tokens, "truncated": truncated}


def _to_message(values: Any) -> dict[str, Any]:
    """The SeldonMessage that a Python value stands for."""
    if isinstance(values, bytes):
        return {"binData": values}
    if isinstance(values, (str, dict)):
        return {"jsonData": values}
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return {"data": {"ndarray": [values] if isinstance(values, str) else values}}
