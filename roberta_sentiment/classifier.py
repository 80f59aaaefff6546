"""The whole way of a request: texts -> token ids -> batches -> logits -> scores."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from roberta_sentiment import container
from roberta_sentiment.caller import current
from roberta_sentiment.errors import GraphError, StartError, TokenIdError
from roberta_sentiment.graph.saturation import has_exact_int8_dot
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.background import make_in_background
from roberta_sentiment.model.derived import OPTIMIZED, Entry, Prepared, open_prepared
from roberta_sentiment.model.driver import find_device
from roberta_sentiment.model.heads import Head
from roberta_sentiment.model.on_gpu import open_on_gpu
from roberta_sentiment.predictions import Predictions, Probabilities, Work, softmax
from roberta_sentiment.run.device import CPU, Device
from roberta_sentiment.run.gpu import largest_batch
from roberta_sentiment.run.scheduler import Scheduler
from roberta_sentiment.settings import CPU_BATCH_TOKENS, Settings, Truncation
from roberta_sentiment.text.tokenizer import Frame, RobertaTokenizer, TokenizedText, load_tokenizer
from roberta_sentiment.trial import Trial, refuse_wrong_head, try_out

__all__ = [
    "Classifier",
    "Predictions",
    "Probabilities",
    "Work",
    "load_classifier",
    "softmax",
]

logger = logging.getLogger(__name__)


class Classifier:
    """A tokenizer and a session that belong together.

    Args:
        artifact: where both come from.
        prepared: from ids to logits.
        settings: limits and policies.
        checked: tokenizer, head, device and most tokens in a batch.
        trial: what a trial of the session has shown.
        serving_cpu: CPU of the threads that serve requests, if they stay on one.

    Attributes:
        kind: of the file that is served, as in `Prepared`.
    """

    def __init__(
        self,
        artifact: Artifact,
        checked: CheckedModel,
        prepared: Prepared,
        settings: Settings,
        *,
        trial: Trial,
        serving_cpu: int | None = None,
    ) -> None:
        self.artifact = artifact
        self.checked = checked
        self.tokenizer = checked.tokenizer
        self.settings = settings
        self.head = checked.head
        self.trial = trial
        self.kind = prepared.kind
        self._serving_cpu = serving_cpu
        self._scheduler = Scheduler(
            prepared.session,
            parallel_session=prepared.parallel_session,
            max_parallel_runs=available_threads(settings),
            prepare_ahead=checked.device.gpu is not None,
            classes=len(artifact.labels),
            pad_id=artifact.pad_id,
            budget=checked.batch_tokens,
            max_queue=settings.max_queue,
            max_queue_tokens=settings.max_queue_tokens,
            one_per_batch=trial.one_per_batch,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the scores."""
        return self.artifact.labels

    def prepare_in_background(self) -> None:
        """Make the optimised file while requests are served, and serve from it when it is ready.

        The answers stay the same up to rounding. Where no file can be made, nothing changes.
        """
        if self.kind != OPTIMIZED and self.checked.device == CPU:
            threading.Thread(
                target=self._prepare_in_background, name="prepare", daemon=True
            ).start()

    def _prepare_in_background(self) -> None:
        found = make_in_background(self.artifact)
        if found is None:
            return
        try:
            self._serve_from(found)
        except StartError as error:
            logger.warning("the optimised file is not used: %s", error.message)

    def _serve_from(self, optimized: Entry) -> None:
        prepared = open_prepared(
            self.artifact,
            threads=available_threads(self.settings),
            optimized=optimized,
            serving_cpu=self._serving_cpu,
        )
        trial = try_out(prepared.session, self.artifact, self.tokenizer.frame)
        if trial.one_per_batch != self.trial.one_per_batch:
            raise GraphError("in batches it answers otherwise than the original")
        self._scheduler.replace_sessions(prepared.session, prepared.parallel_session)
        self.kind = prepared.kind
        logger.info("the model is served from %s now", optimized.path)

    def close(self) -> None:
        """Refuse new requests, end the threads and release the model's memory."""
        self._scheduler.close()

    def refuse_overload(self, arriving: int = 0) -> None:
        """Refuse a caller before its request is read, if the queue is full.

        Args:
            arriving: callers that were not refused and do not wait for the model yet.

        Raises:
            OverloadedError: too many callers wait already.
        """
        self._scheduler.refuse_overload(arriving)

    def classify(self, texts: Sequence[str], truncation: Truncation | None = None) -> Predictions:
        """Score texts.

        Args:
            texts: n texts, n at least 1, that `check_text` accepts.
            truncation: what to do with a long text; by default as the settings say.

        Raises:
            RequestError: a text can't be tokenized, or is too long and truncation is "error".
            OverloadedError: too much waits for the model already.
            InferenceError: the model failed.
        """
        self._scheduler.refuse_overload()
        start = time.perf_counter()
        tokenized = self.tokenizer.encode(
            texts,
            truncation or self.settings.truncation,
            max_windows=self.settings.max_windows,
            max_tokens=self.settings.max_request_tokens,
            check=current().check,
        )
        return self._score(tokenized, time.perf_counter() - start)

    def classify_ids(self, rows: Sequence[Sequence[int]]) -> Predictions:
        """Score token ids made by the caller.

        Args:
            rows: n rows of ids, special tokens included. Padding before and after them is left out.

        Raises:
            TokenIdError: an id is outside the vocabulary, or a row is empty or too long.
            OverloadedError: too much waits for the model already.
            InferenceError: the model failed.
        """
        self._scheduler.refuse_overload()
        start = time.perf_counter()
        tokenized = [self._check_ids(position, row) for position, row in enumerate(rows)]
        return self._score(tokenized, time.perf_counter() - start)

    def _check_ids(self, position: int, row: Sequence[int]) -> TokenizedText:
        ids = list(row)
        pad_id, vocab_size = self.artifact.pad_token, self.artifact.vocab_size
        for column, token in enumerate(ids):
            if not 0 <= token < vocab_size:
                raise TokenIdError(
                    f"row {position}, column {column}: {token} is not a token id of this model; "
                    f"ids are 0 to {vocab_size - 1}"
                )
        while ids and ids[-1] == pad_id:
            ids.pop()
        ids = list(itertools.dropwhile(lambda token: token == pad_id, ids))
        if not ids:
            raise TokenIdError(f"row {position} is empty or holds nothing but padding")
        if len(ids) > self.tokenizer.limit:
            raise TokenIdError(
                f"row {position} has {len(ids)} tokens, the limit is {self.tokenizer.limit} "
                "(setting max_tokens); shorten it, or send the text instead"
            )
        return TokenizedText((ids,), len(ids), False)

    def _score(self, tokenized: Sequence[TokenizedText], tokenize_s: float) -> Predictions:
        sequences = [ids for text in tokenized for ids in text.windows]
        logits, stats = self._scheduler.run(sequences, current())
        return Predictions(
            labels=self.labels,
            logits=_mean_of_windows(logits, [len(text.windows) for text in tokenized]),
            tokens=[text.tokens for text in tokenized],
            truncated=[i for i, text in enumerate(tokenized) if text.truncated],
            work=Work(
                batches=stats.batches,
                tokens=sum(map(len, sequences)),
                padding=stats.padding,
                tokenize_s=tokenize_s,
                queue_s=stats.queue_s,
                infer_s=stats.infer_s,
                device=str(self.checked.device),
            ),
            head=self.head,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedGraph:
    """What is known of a graph before its session is opened.

    Attributes:
        head: how outputs become scores.
        device: where the model runs.
        precision: how it computes there: "fp32", "fp16" or "int8".
        batch_tokens: most tokens in a batch; 0 until a GPU was tried.
    """

    head: Head
    device: Device
    precision: str
    batch_tokens: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckedModel(CheckedGraph):
    """The same with its tokenizer, which has the model's limits."""

    tokenizer: RobertaTokenizer


def check_graph(artifact: Artifact, settings: Settings) -> CheckedGraph:
    """Check signature, head and device of a model directory, without a session.

    Raises:
        StartError: something in the directory does not fit.
    """
    signature, labels = artifact.signature, artifact.labels
    if signature.classes not in (None, len(labels)):
        raise GraphError(
            f"the graph gives {signature.classes} scores, but config.json names {len(labels)} "
            f"labels ({', '.join(labels)[:120]})"
        )
    head = artifact.head(settings.head)
    _ = artifact.first_position  # raises where the graph asks for positions that nobody knows
    wants_half = settings.precision == "fp16"
    device = find_device(settings.device, artifact.precision, needs_gpu=wants_half)
    on_gpu = device.gpu is not None
    return CheckedGraph(
        head=head,
        device=device,
        precision="fp16" if wants_half else artifact.precision,
        batch_tokens=settings.batch_tokens or (0 if on_gpu else CPU_BATCH_TOKENS),
    )


def check_model(
    artifact: Artifact, settings: Settings, graph: CheckedGraph | None = None
) -> CheckedModel:
    """Check tokenizer and limits of a model directory, and its graph if that is not given.

    Raises:
        StartError: something in the directory does not fit.
    """
    known = vars(graph or check_graph(artifact, settings))
    tokenizer = load_tokenizer(
        artifact,
        max_tokens=settings.max_tokens,
        overlap=settings.window_overlap,
        special_tokens=settings.special_tokens,
    )
    return CheckedModel(**known, tokenizer=tokenizer)


def try_model(
    artifact: Artifact,
    settings: Settings,
    checked: CheckedGraph,
    frame: Callable[[], Frame],
    optimized: Entry | None = None,
) -> int:
    """Open the session for a moment and try it.

    Args:
        frame: called when the session is open.

    Returns:
        Most tokens in a batch.

    Raises:
        StartError: the graph fails, or contradicts what its files say.
    """
    if checked.device.gpu is not None:
        prepared = _open_on_gpu(artifact, settings, checked)
    else:
        prepared = open_prepared(artifact, threads=1, optimized=optimized)
    found = frame()
    _try_out(prepared, artifact, checked, found)
    return _batch_tokens(prepared, settings, checked, found, artifact.pad_id)


def _open_on_gpu(artifact: Artifact, settings: Settings, checked: CheckedGraph) -> Prepared:
    session, kind = open_on_gpu(
        artifact,
        checked.device,
        is_half=checked.precision == "fp16",
        memory_limit=settings.device_memory,
        threads=available_threads(settings),
    )
    return Prepared(session, kind)


def _try_out(prepared: Prepared, artifact: Artifact, checked: CheckedGraph, frame: Frame) -> Trial:
    trial = try_out(prepared.session, artifact, frame)
    refuse_wrong_head(checked.head, trial)
    return trial


def _batch_tokens(
    prepared: Prepared, settings: Settings, checked: CheckedGraph, frame: Frame, pad_id: int
) -> int:
    """Most tokens in a batch; on a GPU as many as run there, which warms it up."""
    if checked.device.gpu is None:
        return checked.batch_tokens
    return largest_batch(
        prepared.session,
        first=checked.batch_tokens,
        least=settings.batch_tokens,
        longest=frame.limit,
        pad_id=pad_id,
    )


def load_classifier(
    artifact: Artifact,
    settings: Settings,
    optimized: Entry | None = None,
    serving_cpu: int | None = None,
    checked: CheckedModel | None = None,
) -> Classifier:
    """Load tokenizer and session of a model directory.

    Args:
        artifact: the model.
        settings: limits and policies.
        optimized: its optimised file, if that was found before.
        serving_cpu: CPU of the threads that serve requests, if they stay on one.
        checked: by `check_model`, if that was done before.

    Raises:
        StartError: something in the directory does not fit.
    """
    checked = checked or check_model(artifact, settings)
    if artifact.precision == "int8" and not has_exact_int8_dot():
        logger.info(
            "this CPU has no VNNI: eight-bit products take longer than with it, and give the same "
            "answers"
        )
    if checked.device.gpu is not None:
        prepared = _open_on_gpu(artifact, settings, checked)
    else:
        prepared = open_prepared(
            artifact,
            threads=available_threads(settings),
            optimized=optimized,
            serving_cpu=serving_cpu,
        )
    frame = checked.tokenizer.frame
    trial = _try_out(prepared, artifact, checked, frame)
    batch_tokens = _batch_tokens(prepared, settings, checked, frame, artifact.pad_id)
    checked = dataclasses.replace(checked, batch_tokens=batch_tokens)
    return Classifier(artifact, checked, prepared, settings, trial=trial, serving_cpu=serving_cpu)


def available_threads(settings: Settings) -> int:
    """Threads that work on the model: as set, or the CPUs of this container."""
    return settings.threads or container.available_cpus()


def _mean_of_windows(
    logits: npt.NDArray[np.float32], windows: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Average the logits of the windows of each text: (sum of windows, k) to (texts, k)."""
    if len(logits) == len(windows):
        return logits
    starts = np.cumsum([0, *windows[:-1]])
    sums = np.add.reduceat(logits, starts, axis=0, dtype=np.float64)
    means: npt.NDArray[np.float32] = (sums / np.array(windows)[:, None]).astype(np.float32)
    return means
