"""The ONNX Runtime session: from padded token ids to logits."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from roberta_sentiment.errors import GraphError, InferenceError, first_line
from roberta_sentiment.graph.saturation import exact_products
from roberta_sentiment.graph.signature import PACKED, PACKED_ATTENTION, read_signature
from roberta_sentiment.run.batching import Padding

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

CONFIGURATION: Mapping[str, str] = {
    # Threads spin during a run and sleep between runs.
    "session.intra_op.allow_spinning": "1",
    "session.force_spinning_stop": "1",
    # The fused kernel takes 8 times as long as the two that it replaces (ONNX Runtime 1.32).
    "optimization.disable_specified_optimizers": "SkipLayerNormFusion",
}
"""Entries of every session, by ONNX Runtime's keys."""


class InferenceSession(Protocol):
    """What this project needs of an ONNX Runtime session."""

    def get_inputs(self) -> list[Any]: ...
    def get_outputs(self) -> list[Any]: ...
    def get_modelmeta(self) -> Any: ...
    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[Any]: ...


class Session:
    """A loaded model that turns token ids into logits.

    Args:
        session: an ONNX Runtime session of a sequence-classification graph.
        first_position: of a text's first token, for a graph that asks for positions.

    Attributes:
        run_cost: see `batching.fits`.
        is_half: whether it computes in 16 bits and nevertheless runs texts together, so that their
            answers differ by rounding.

    Raises:
        GraphError: the graph's inputs or outputs are not those of such a graph.
    """

    run_cost = 1
    is_half = False

    def __init__(self, session: InferenceSession, first_position: int = 0) -> None:
        self._session = session
        self.signature = read_signature(session.get_inputs(), session.get_outputs())
        self._first_position = first_position
        self._packed = session.get_modelmeta().custom_metadata_map.get(PACKED)

    @property
    def has_mask(self) -> bool:
        """Whether padding is hidden from the model; if not, only equal lengths run together."""
        return self.signature.mask is not None

    @property
    def padding(self) -> Padding:
        """What padding costs this graph."""
        if not self.has_mask:
            return Padding.FORBIDDEN
        if self._packed == PACKED_ATTENTION:
            return Padding.NOWHERE
        return Padding.ATTENTION if self._packed else Padding.EVERYWHERE

    def run(self, ids: Ids, lengths: npt.NDArray[np.int64]) -> Logits:
        """Run one batch.

        Args:
            ids: (batch, length) int64, right-padded.
            lengths: (batch,) int64, tokens of each row without padding.

        Returns:
            (batch, classes) float32 logits; one column where the graph's output has one axis.

        Raises:
            InferenceError: ONNX Runtime failed, or the logits are not finite.
        """
        names = self.signature
        feed = {names.ids: ids.astype(names.dtypes[names.ids], copy=False)}
        if names.mask is not None:
            mask = np.arange(ids.shape[1]) < lengths[:, None]
            feed[names.mask] = mask.astype(names.dtypes[names.mask])
        if names.types is not None:
            feed[names.types] = np.zeros(ids.shape, dtype=names.dtypes[names.types])
        if names.positions is not None:
            row = np.arange(ids.shape[1], dtype=names.dtypes[names.positions])
            feed[names.positions] = np.tile(row + self._first_position, (len(ids), 1))
        try:
            logits = self._compute(feed)
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            raise InferenceError(
                f"the model failed on a batch of {ids.shape[0]} x {ids.shape[1]} tokens; "
                "the server's log has the details"
            ) from error
        if not np.isfinite(logits).all():
            raise InferenceError("the model answered with numbers that are not finite")
        scores = np.asarray(logits, dtype=np.float32)
        return scores[:, None] if scores.ndim == 1 else scores

    def _compute(self, feed: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The output for inputs by name, (batch, classes) or (batch,)."""
        logits: npt.NDArray[Any] = self._session.run([self.signature.output], feed)[0]
        return logits


def open_session(
    model: Path | bytes,
    *,
    threads: int,
    optimized: bool = False,
    configuration: Mapping[str, str] = CONFIGURATION,
    caller_cpu: int | None = None,
    first_position: int = 0,
) -> Session:
    """Load a graph into ONNX Runtime.

    Args:
        model: the `.onnx` file, or its content.
        threads: threads of one run.
        optimized: the file was saved by ONNX Runtime after all its optimisations.
        configuration: of the session, by ONNX Runtime's keys.
        caller_cpu: CPU of the threads that call `run`, which the session's own then leave alone.
        first_position: of a text's first token, for a graph that asks for positions.

    Raises:
        GraphError: ONNX Runtime can't load the file, or it is not a classification graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # ONNX Runtime would keep a pattern for every shape, and texts have thousands of shapes.
    options.enable_mem_pattern = False
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        exact, entries = (model, {}) if optimized else exact_products(model)
        for key, value in {**configuration, **entries, **_affinities(threads, caller_cpu)}.items():
            options.add_session_config_entry(key, value)
        source = exact if isinstance(exact, bytes) else str(exact)
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class for its errors
        name = "the edited graph" if isinstance(model, bytes) else model
        raise GraphError(f"ONNX Runtime can't load {name}: {first_line(error)}") from error
    return Session(session, first_position)


@functools.cache
def _share_arena() -> None:
    """Let all sessions of this process take their memory from one arena that grows as needed.

    Each would keep an arena of its own, doubled whenever it is full, for ever.
    """
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    configuration = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})  # as requested
    onnxruntime.create_and_register_allocator(memory, configuration)


def _affinities(threads: int, caller_cpu: int | None) -> dict[str, str]:
    """The entry that keeps each of a session's own threads on a CPU; it counts CPUs from 1."""
    if caller_cpu is None:
        return {}
    others = sorted(os.sched_getaffinity(0) - {caller_cpu})
    if threads == 1 or not others:
        return {}
    cpus = itertools.islice(itertools.cycle(others), threads - 1)
    return {"session.intra_op_thread_affinities": ";".join(str(cpu + 1) for cpu in cpus)}
