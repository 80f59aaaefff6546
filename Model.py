"""The class that Seldon loads: RoBERTa sentiment on ONNX Runtime.

Start and loading are here; `predict`, feedback, health and metrics are in `seldon_node.node`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roberta_sentiment.classifier import (
    CheckedModel,
    check_graph,
    check_model,
    load_classifier,
    try_model,
)
from roberta_sentiment.container import keep_thread_on, serving_cpus
from roberta_sentiment.errors import SentimentError, StartError, first_line
from roberta_sentiment.model.artifact import Artifact, claimed_digest, locate, open_artifact
from roberta_sentiment.model.background import is_wanted
from roberta_sentiment.model.child import run_in_child
from roberta_sentiment.model.derived import Entry, find_optimized
from roberta_sentiment.run.device import CPU
from roberta_sentiment.serving import metadata
from roberta_sentiment.settings import Settings, warn_of_misspelt
from seldon_node import repairs
from seldon_node.node import SentimentNode

logger = logging.getLogger(__name__)

repairs.apply()


class Model(SentimentNode):
    """A RoBERTa sentiment model from a model directory.

    The constructor reads settings, checks the files and lets a child process try the model; it
    leaves no thread running and opens no session, because the wrapper forks its server processes
    afterwards. Each of them calls `load`.

    Args:
        parameters: graph parameters of the deployment, see `roberta_sentiment.settings.Settings`.

    Raises:
        SystemExit: with one sentence that says what is wrong.
    """

    _artifact: Artifact
    _checked: CheckedModel

    def __init__(self, /, **parameters: object) -> None:
        super().__init__()
        try:
            self.settings = Settings.read(parameters)
            warn_of_misspelt()
            path, source = locate(self.settings.model_uri)
            batch_tokens, self._optimized = run_in_child(
                lambda receive: self._try(path, receive),
                meanwhile=lambda send: self._check(path, source, send),
            )
            self._checked = dataclasses.replace(self._checked, batch_tokens=batch_tokens)
            self.head = self._checked.head
            self.device = str(self._checked.device)
            self._cpus = serving_cpus(exclusive=self.settings.exclusive_cpus)
        except StartError as error:
            raise SystemExit(f"cannot start: {error.message}") from None
        self._effective_settings = metadata.effective_settings(
            self.settings,
            self._artifact,
            self._checked,
            exclusive_cpus=self._cpus is not None,
        )
        self.identity = metadata.identity(self._artifact, self._effective_settings, self.head)
        logger.info("settings in force: %s", self._effective_settings)
        logger.info(
            "model: %s version %s from %s (%s)",
            self.identity["model_name"],
            self._artifact.version,
            self._artifact.onnx_path,
            self._artifact.source,
        )

    def _check(self, path: Path, source: str, send: Callable[[object], None]) -> None:
        """Check the files without a session; `_try` is sent what is known as soon as it is."""
        self._artifact = open_artifact(path, source)
        self.labels = self._artifact.labels
        self.settings.check_label_map(self.labels)
        graph = check_graph(self._artifact, self.settings)
        send((self._artifact, graph))
        self._checked = check_model(self._artifact, self.settings, graph)
        send(self._checked.tokenizer.frame)

    def _try(self, path: Path, receive: Callable[[], Any]) -> tuple[int, Entry | None]:
        """Try what will be served, in a child process, while the server's own checks the files.

        A small model gets its optimised file here.

        Returns:
            Most tokens in a batch, and the optimised file.
        """
        claimed = claimed_digest(path)
        optimized = find_optimized(claimed) if claimed else None
        if not optimized and is_wanted():
            _preparation()
        artifact, graph = receive()
        digest = artifact.digest
        if digest != claimed:
            optimized = find_optimized(digest)
        if not optimized and graph.device == CPU and is_wanted():
            _preparation()(artifact)
            optimized = find_optimized(digest)
        return try_model(artifact, self.settings, graph, receive, optimized), optimized

    def load(self) -> None:
        """Open the session and pass one warm-up prediction.

        Raises:
            SystemExit: the model can't serve. The wrapper would hide some errors raised here
                and come up half loaded.
        """
        try:
            self._artifact.recheck()
            cpu = self._cpus.claim() if self._cpus else None
            classifier = load_classifier(
                self._artifact, self.settings, self._optimized, cpu, self._checked
            )
            self._artifact.recheck()
            self._start_serving(classifier)
            classifier.prepare_in_background()
            if cpu is not None:
                keep_thread_on(cpu)
        except SentimentError as error:
            logger.critical("cannot start: %s%s", error.message, _cause(error))
            raise SystemExit(repairs.BOOT_FAILED) from None
        except Exception:
            logger.critical("cannot start: the model can't be loaded", exc_info=True)
            raise SystemExit(repairs.BOOT_FAILED) from None

    def init_metadata(self) -> dict[str, Any]:
        """Name, version, inputs, outputs and origin, for /metadata and gRPC ModelMetadata."""
        return metadata.describe(self._artifact, self._effective_settings, self._checked)


def _preparation() -> Callable[[Artifact], None]:
    """What makes the optimised file of a small model; the first call takes long to import it."""
    from roberta_sentiment.model.prepare import prepare_small

    return prepare_small


def _cause(error: SentimentError) -> str:
    """The cause of an error, for the log."""
    return f" ({first_line(error.__cause__)})" if error.__cause__ else ""
