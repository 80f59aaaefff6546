"""A small model as a Seldon node: settings, identity and metadata."""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from baselines.words import LABELS, WordClassifier
from roberta_sentiment.errors import SettingsError, StartError
from roberta_sentiment.settings import Settings, warn_of_misspelt
from roberta_sentiment.version import __version__
from seldon_node import repairs
from seldon_node.node import SentimentNode

logger = logging.getLogger(__name__)

repairs.apply()

SUPPORTED = (
    *("model_name", "label_map", "truncation", "max_texts", "max_characters", "max_body_bytes"),
)
"""The settings of the RoBERTa node that apply here."""


class BaselineNode(SentimentNode, abc.ABC):
    """A Seldon MODEL node around a model that reads words.

    Args:
        parameters: graph parameters of the deployment: those of `SUPPORTED`.

    Raises:
        SystemExit: with one sentence that says what is wrong.
    """

    NAME: ClassVar[str]
    PRECISION: ClassVar[str]
    LICENCE: ClassVar[str]
    ORIGIN: ClassVar[str]

    def __init__(self, /, **parameters: object) -> None:
        super().__init__()
        try:
            self.settings = read_settings(parameters, self.NAME)
            self.settings.check_label_map(LABELS)
            warn_of_misspelt()
            self._sha256 = fingerprint(self.files())
        except StartError as error:
            raise SystemExit(f"cannot start: {error.message}") from None
        self.labels = LABELS
        self.identity = {
            "model_name": self.settings.model_name or self.NAME,
            "model_version": self._sha256[:12],
            "precision": self.PRECISION,
        }
        settings = {name: getattr(self.settings, name) for name in SUPPORTED}
        logger.info("settings in force: %s", {**settings, **self.identity})
        logger.info("model: %s, sha256 %s", self.identity["model_name"], self._sha256)

    @abc.abstractmethod
    def files(self) -> Sequence[Path]:
        """The files that determine an answer."""

    @abc.abstractmethod
    def read(self) -> WordClassifier:
        """Read the model from its files."""

    def load(self) -> None:
        """Read the model and pass one warm-up prediction.

        Raises:
            SystemExit: the model can't serve. The wrapper would hide some errors raised here
                and come up half loaded.
        """
        try:
            self._start_serving(self.read())
        except Exception:
            logger.critical("cannot start: the model can't be loaded", exc_info=True)
            raise SystemExit(repairs.BOOT_FAILED) from None

    def init_metadata(self) -> dict[str, Any]:
        """Name, version, inputs, outputs and origin, for /metadata and gRPC ModelMetadata."""
        limits = {name: str(getattr(self.settings, name)) for name in SUPPORTED[3:]}
        return {
            "name": self.identity["model_name"],
            "versions": [self.identity["model_version"]],
            "platform": "python",
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [
                {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(self.labels)]}
            ],
            "custom": {
                "labels": ", ".join(self.labels),
                "precision": self.PRECISION,
                "sha256": self._sha256,
                "licence": self.LICENCE,
                "origin": self.ORIGIN,
                "component_version": __version__,
                **limits,
            },
        }


def read_settings(
    parameters: Mapping[str, object], name: str, environ: Mapping[str, str] | None = None
) -> Settings:
    """The settings, as the RoBERTa node reads them, less those that would do nothing.

    Args:
        parameters: name to value.
        name: of the model, for the message.
        environ: variables, by default those of the process.

    Raises:
        SettingsError: a value is wrong, or the setting means nothing to a model that reads words.
    """
    settings = Settings.read(parameters, environ)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in SUPPORTED and value != field.default:
            raise SettingsError(
                f"{field.name} is {value!r}, but {name} has neither a model directory, tokens, "
                f"batches nor a queue; remove it (supported: {', '.join(SUPPORTED)})"
            )
    return settings


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 over the contents of files, in their order, each with its length before it."""
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
