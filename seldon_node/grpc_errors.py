"""Errors over gRPC: code, sentence and pause before the next try, as over REST."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
from seldon_core import flask_utils, wrapper
from seldon_core.proto import prediction_pb2

from roberta_sentiment import caller
from roberta_sentiment.errors import OWN_FAULT, shorten
from roberta_sentiment.serving.grpc_status import code_of, retry_metadata
from roberta_sentiment.serving.patching import patch
from seldon_node.node import SentimentNode

logger = logging.getLogger(__name__)

METHODS = (
    "Predict", "SendFeedback", "TransformInput", "TransformOutput", "Route", "Aggregate",
    "Metadata", "ModelMetadata", "GraphMetadata",
)  # fmt: skip


def repair() -> None:
    """Let the gRPC client see the code and the sentence that a REST client sees."""

    class ExplainingServicer(wrapper.SeldonModelGRPC):  # type: ignore[misc]
        """The wrapper's servicer with errors that reach the client."""

        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            """Answer; the wrapper would turn each answer into JSON to look for metrics in it."""
            if isinstance(self.user_model, SentimentNode):
                return self.user_model.predict_raw(request)
            return super().Predict(request, context)

    for method in METHODS:
        setattr(ExplainingServicer, method, _explaining(getattr(ExplainingServicer, method)))

    def get_grpc_server(
        user_model: Any, seldon_metrics: Any, annotations: dict[str, str] | None = None, **rest: Any
    ) -> Any:
        annotations = dict(annotations or {})
        if isinstance(user_model, SentimentNode):
            limit = str(user_model.settings.max_body_bytes)
            annotations.setdefault(flask_utils.ANNOTATION_GRPC_MAX_MSG_SIZE, limit)
        return original(user_model, seldon_metrics, annotations, **rest)

    patch(wrapper, "SeldonModelGRPC", ExplainingServicer)
    original = patch(wrapper, "get_grpc_server", get_grpc_server)


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    def answer(servicer: Any, request: Any, context: grpc.ServicerContext) -> Any:
        waiting = _caller(context)
        try:
            with caller.serving(waiting):
                response = method(servicer, request, context)
        except NotImplementedError as error:
            code, info = 501, str(error)
        except flask_utils.SeldonMicroserviceException as error:
            code, info = error.status_code, error.message
        except Exception:
            logger.exception("a request failed for a reason of our own")
            code, info = 500, OWN_FAULT
        else:
            status = getattr(response, "status", None)
            if status is None or status.status != prediction_pb2.Status.FAILURE:
                return response
            code, info = status.code, status.info
        if waiting.retry_after is not None:
            context.set_trailing_metadata(retry_metadata(waiting.retry_after))
        return context.abort(code_of(code), shorten(info))

    return answer


def _caller(context: grpc.ServicerContext) -> caller.Caller:
    """Who waits for the answer to an RPC: until its deadline, or until it is cancelled."""
    seconds = context.time_remaining()
    waiting = caller.Caller(None if seconds is None else time.monotonic() + seconds)
    if not context.add_callback(waiting.cancel):
        waiting.cancel()
    return waiting
