"""The runtime that MLServer loads: `oip_node.runtime.SentimentRuntime`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import time
from pathlib import Path

from mlserver import MLModel, ModelSettings
from mlserver.rest.server import RESTServer
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
)

from oip_node import payload, rest, upstream
from oip_node.errors import ServingError
from oip_node.metrics import Recorder
from roberta_sentiment import caller
from roberta_sentiment.classifier import Classifier, check_model, load_classifier
from roberta_sentiment.errors import (
    OWN_FAULT,
    InferenceError,
    OverloadedError,
    SentimentError,
    SettingsError,
    StartError,
)
from roberta_sentiment.model.artifact import Artifact, locate
from roberta_sentiment.model.derived import check
from roberta_sentiment.model.layout import CONFIG
from roberta_sentiment.serving import metadata
from roberta_sentiment.serving.health import ModelHealth
from roberta_sentiment.serving.request import score
from roberta_sentiment.serving.threads import WorkerThreads
from roberta_sentiment.settings import Settings, warn_of_misspelt

logger = logging.getLogger(__name__)

_UNUSED = ("exclusive_cpus", "max_connections", "cors_origins", "label_map")
_SPARE_THREADS = 32
"""Threads beside those that wait for the model: requests that run, or are answered."""


class SentimentRuntime(MLModel):  # type: ignore[misc]  # upstream is untyped
    """A sentiment model behind the Open Inference Protocol.

    Requests that wait together are run together by the classifier's own scheduler, on all CPUs of
    the container. So MLServer's adaptive batching would only add its wait, and its worker processes
    a copy of the model each: both are left out for this model, whatever the settings say.

    Args:
        settings: of MLServer; `parameters.extra` holds those of
            `roberta_sentiment.settings.Settings`.
    """

    def __init__(self, settings: ModelSettings) -> None:
        upstream.apply()
        if settings.max_batch_size > 1:
            logger.warning("max_batch_size is not used: requests that wait run together anyway")
        settings.max_batch_size = 0
        settings.parallel_workers = 0
        super().__init__(settings)
        self._recorder: Recorder | None = None
        self._arriving: set[caller.Caller] = set()
        self.health = ModelHealth()

    def guard(self, server: RESTServer) -> None:
        """Put limits and error answers into MLServer's REST server, before the model loads."""
        with contextlib.suppress(SettingsError):  # which aborts startup a moment later
            rest.install(server, read_settings(self.settings), self._refusal)

    async def load(self) -> bool:
        """Read the settings, check and open the model, and pass one warm-up prediction.

        Raises:
            ServingError: with one sentence that says what is wrong.
        """
        try:
            await asyncio.to_thread(self._load)
            self._threads = WorkerThreads(
                self._options.max_queue + _SPARE_THREADS, "predict", asyncio.get_running_loop()
            )
        except SentimentError as error:
            raise ServingError(StartError(f"cannot start: {error.message}")) from error
        return True

    def _load(self) -> None:
        self._options = read_settings(self.settings)
        warn_of_misspelt()
        _warn_of_unused(self._options)
        artifact, optimized = check(*self._locate())
        checked = check_model(artifact, self._options)
        classifier = load_classifier(artifact, self._options, optimized, checked=checked)
        checked = classifier.checked
        in_use = metadata.effective_settings(self._options, artifact, checked, exclusive_cpus=False)
        self._facts = metadata.describe(artifact, in_use, checked)
        self._identity = metadata.identity(artifact, in_use, checked.head)
        self._recorder = Recorder(self.name, artifact.labels, str(checked.device))
        self._artifact: Artifact = artifact
        self.health.start_serving(classifier, self._options.request_timeout)
        self._classifier: Classifier = classifier
        classifier.prepare_in_background()
        logger.info("settings in force: %s", in_use)

    def _locate(self) -> tuple[Path, str]:
        """`model_uri`, else MLServer's `parameters.uri`, else as the Seldon door finds it."""
        uri = self.settings.parameters.uri if self.settings.parameters else None
        own = os.path.dirname(self.settings._source or "")  # noqa: PTH120
        is_default = uri == own and not (Path(own) / CONFIG).exists()
        if self._options.model_uri or not uri or is_default:
            return locate(self._options.model_uri)
        return locate(uri if "://" in uri else os.path.normpath(os.path.join(own, uri)))  # noqa: PTH118

    async def unload(self) -> bool:
        """End the threads of this model once its running requests are answered."""
        if self.ready:
            await asyncio.to_thread(self._threads.close)
            await asyncio.to_thread(self._classifier.close)
            del self._classifier
            self.health = ModelHealth()
        return True

    async def metadata(self) -> MetadataModelResponse:
        """Name, version, inputs, outputs, and what else is known of the model."""
        facts = self._facts
        label = {"name": "label", "datatype": "BYTES", "shape": [-1]}
        is_regression = facts["outputs"][0]["name"] == "values"
        outputs = [{**facts["outputs"][0], "name": "probabilities"}]
        return MetadataModelResponse(
            name=self.name,
            versions=[self.version or facts["versions"][0]],
            platform=facts["platform"],
            inputs=[MetadataTensor(**tensor) for tensor in facts["inputs"]],
            outputs=[
                MetadataTensor(**tensor, parameters=Parameters(labels=facts["custom"]["labels"]))
                for tensor in (outputs if is_regression else [*outputs, label])
            ],
            parameters=Parameters(**facts["custom"]),
        )

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the texts or token ids of a request.

        Raises:
            ServingError: the request is refused, or fails.
        """
        self.refuse_overload()
        waiting = caller.Caller(_deadline(payload))
        waiting.limit_time(self._options.request_timeout)
        waiting.on_queued = functools.partial(self._arriving.discard, waiting)
        self._arriving.add(waiting)
        try:
            return await self._threads.run(functools.partial(self._answer, payload, waiting))
        except asyncio.CancelledError:
            waiting.cancel()
            raise
        finally:
            self._arriving.discard(waiting)

    def refuse_overload(self) -> None:
        """Refuse a request before it is read, if there is no room for it.

        Raises:
            ServingError: too many wait for the model already, or will in a moment.
        """
        try:
            self._classifier.refuse_overload(len(self._arriving))
        except OverloadedError as error:
            raise self._refusal(error) from None

    def _answer(self, message: InferenceRequest, waiting: caller.Caller) -> InferenceResponse:
        """Answer a request, in a thread of its own."""
        try:
            request = payload.parse(message, self._options, self._classifier.head)
            with caller.serving(waiting):
                predictions = score(self._classifier, request.texts, request.ids, request.options)
            answer = payload.build(
                request,
                predictions,
                name=self.name,
                version=self.version or self._artifact.version,
                facts=metadata.answer_facts(self._identity, predictions),
            )
        except SentimentError as error:
            if isinstance(error, InferenceError):
                logger.exception("inference failed")
                self.health.check_model(error.message)
            raise self._refusal(error) from None
        except Exception:
            logger.exception("a request failed for a reason of our own")
            raise self._refusal(InferenceError(OWN_FAULT)) from None
        if self._recorder:
            self._recorder.answered(predictions)
        return answer

    def _refusal(self, error: SentimentError) -> ServingError:
        """The error as MLServer answers it, counted."""
        if self._recorder:
            self._recorder.refused(error)
        return ServingError(error)


def read_settings(settings: ModelSettings) -> Settings:
    """This model's settings, from `parameters.extra` and the environment.

    Raises:
        SettingsError: a setting is unknown, wrong, or stands beside `extra`.
    """
    parameters = settings.parameters
    extra = dict(parameters.extra or {}) if parameters else {}
    names = [field.name for field in dataclasses.fields(Settings)]
    for name in (parameters.model_extra or {}) if parameters else ():
        if name in names:
            raise SettingsError(f"{name} stands in parameters; put it into parameters.extra")
    return Settings.read(extra)


def _warn_of_unused(options: Settings) -> None:
    for name in _UNUSED:
        if getattr(options, name) != getattr(Settings(), name):
            logger.warning("the setting %s does nothing behind MLServer", name)


def _deadline(message: InferenceRequest) -> float | None:
    """When nobody waits any more: Triton's clients say how many microseconds from now."""
    timeout = getattr(message.parameters, "timeout", None)
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0:
        return None
    return time.monotonic() + timeout / 1e6
