"""The graph that a GPU runs: rebuilt where that is known to be the same model, in fp32 or fp16."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import onnx
from google.protobuf.message import EncodeError

from roberta_sentiment.errors import DeviceError, GraphError, SentimentError, first_line
from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.half import to_half
from roberta_sentiment.graph.mask import add_mask
from roberta_sentiment.graph.weights import from_onnx
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.compare import largest_difference
from roberta_sentiment.run.device import Device
from roberta_sentiment.run.gpu import open_gpu_session
from roberta_sentiment.run.session import Session, open_session

logger = logging.getLogger(__name__)

TOLERANCE, HALF_TOLERANCE = 1e-4, 5e-3
"""Largest difference of a logit to the model on the CPU, as a part of the largest logit or of 1."""


def open_on_gpu(
    artifact: Artifact,
    device: Device,
    *,
    is_half: bool,
    memory_limit: int,
    threads: int,
) -> tuple[Session, str]:
    """Open the fastest graph that answers on the GPU as the model does on the CPU.

    Args:
        artifact: the model.
        device: the GPU.
        is_half: whether to compute in float16.
        memory_limit: bytes of the GPU's memory; 0 is no limit.
        threads: of the CPU, for the comparison.

    Returns:
        The session, and which graph it is, in words.

    Raises:
        StartError: no graph can be loaded there, or none answers as the model does.
    """
    first = artifact.first_position
    reference = open_session(artifact.onnx_path, threads=threads, first_position=first)
    problems = []
    for kind, graph in _graphs(artifact, has_mask=reference.has_mask, is_half=is_half):
        try:
            session = open_gpu_session(
                artifact.onnx_path if graph is None else graph.SerializeToString(),
                device,
                memory_limit=memory_limit,
                first_position=first,
                is_half=is_half,
            )
            off = _compare(reference, session, artifact, HALF_TOLERANCE if is_half else TOLERANCE)
        except (SentimentError, ValueError, EncodeError) as error:  # the last two: over 2 GB
            problem = first_line(error.__cause__ or error)
            problems.append(f"{kind}: {problem[:120]}")
            logger.warning("%s is not used on %s: %s", kind, device, problem)
        else:
            logger.info("%s on %s: a logit differs by %.1e at most", kind, device, off)
            return session, kind
    raise DeviceError(
        f"{artifact.name} does not run on {device} as on the CPU ({'; '.join(problems)}); set "
        f"{'precision to as_stored, or ' if is_half else ''}device to cpu"
    )


def _compare(reference: Session, session: Session, artifact: Artifact, tolerance: float) -> float:
    """The largest difference of a logit.

    Raises:
        DeviceError: it is over the tolerance.
    """
    off = largest_difference(reference, session, artifact)
    if not off <= tolerance:
        raise DeviceError(f"a logit is {off:.1e} off, more than {tolerance:.0e}")
    return off


def _graphs(
    artifact: Artifact, *, has_mask: bool, is_half: bool
) -> Iterator[tuple[str, onnx.ModelProto | None]]:
    """Graphs of the model with what they are, the fastest first; None is the file itself."""
    model = onnx.load(str(artifact.onnx_path))
    try:
        weights = from_onnx(model, artifact.config)
    except GraphError as error:
        logger.info("the graph is not rebuilt: %s", error.message)
    else:
        for kind, for_cuda in (("packed attention", True), ("padded attention", False)):
            graph = build(weights, for_cuda=for_cuda)
            yield kind, to_half(graph) if is_half else graph
    changed = False
    if not has_mask:
        try:
            model, changed = add_mask(model), True
        except GraphError as error:
            logger.warning("%s; only texts of one length share a batch", error.message)
    if is_half and artifact.precision != "fp16":
        model, changed = to_half(model), True
    yield "the graph as stored", model if changed else None
