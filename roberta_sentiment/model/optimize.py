"""Make the optimised file of a model, saved once, so that every worker maps the same pages."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime

from roberta_sentiment.errors import ArtifactError, GraphError, QualityError
from roberta_sentiment.graph.attention import use_onnx_attention
from roberta_sentiment.graph.fused import build
from roberta_sentiment.graph.mask import add_mask
from roberta_sentiment.graph.norms import split_skip_norms
from roberta_sentiment.graph.pairs import make_exact
from roberta_sentiment.graph.saturation import exact_products, has_exact_pairs_only
from roberta_sentiment.graph.weights import from_onnx
from roberta_sentiment.model.artifact import Artifact
from roberta_sentiment.model.compare import largest_difference
from roberta_sentiment.model.derived import FILE, Cache, optimized_key
from roberta_sentiment.run.session import CONFIGURATION, Session, open_session

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of a logit to the graph as it came, as a part of the largest logit or of 1."""
_SMALLEST_EXTERNAL = 1024


def optimize(artifact: Artifact, roots: Sequence[Path]) -> Path:
    """Save what ONNX Runtime makes of a model, weights packed and outside the graph.

    Args:
        artifact: the model.
        roots: directories, of which the first that can be written is used.

    Returns:
        The directory with the new file. It is used only for this model, this version of ONNX
        Runtime and CPUs with the same instructions.

    Raises:
        QualityError: the saved graph answers otherwise than the one it was made from.
        ArtifactError: no directory can be written.
    """
    open_one = functools.partial(open_session, threads=1, first_position=artifact.first_position)
    reference = open_one(artifact.onnx_path)
    model = _best(artifact, reference)

    def write(directory: Path) -> None:
        save_optimized(model, directory / FILE)
        saved = open_one(directory / FILE, optimized=True)
        if largest_difference(reference, saved, artifact) > TOLERANCE:
            raise QualityError(
                f"the optimised graph of {artifact.onnx_path} answers otherwise than the graph "
                "itself; nothing was kept"
            )

    kept = Cache(roots).store(optimized_key(artifact.digest), write)
    if kept is None:
        raise ArtifactError(f"none of {', '.join(map(str, roots))} can be written (--cache)")
    return kept


def save_optimized(model: onnx.ModelProto, path: Path) -> None:
    """Let ONNX Runtime optimise a graph, which may change, and save it beside packed weights."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    in_pairs = has_exact_pairs_only() and make_exact(model)
    content = model.SerializeToString()
    source, entries = (content, {}) if in_pairs else exact_products(content)
    for key, value in {**CONFIGURATION, **entries}.items():
        options.add_session_config_entry(key, value)
    prefix = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{prefix}_file_name", f"{path.stem}.data")
    options.add_session_config_entry(f"{prefix}_min_size_in_bytes", str(_SMALLEST_EXTERNAL))
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _best(artifact: Artifact, reference: Session) -> onnx.ModelProto:
    """The smallest graph that answers as the artifact's: rebuilt, masked, or the original."""
    model = onnx.load(str(artifact.onnx_path))
    try:
        fused = build(from_onnx(model, artifact.config))
        found = open_session(
            fused.SerializeToString(), threads=1, first_position=artifact.first_position
        )
        if largest_difference(reference, found, artifact) <= TOLERANCE:
            use_onnx_attention(fused)
            return fused
        logger.warning("the rebuilt graph answers otherwise; the original is optimised")
    except GraphError as error:
        logger.info("the original graph is optimised: %s", error.message)
    split_skip_norms(model)
    use_onnx_attention(model)
    if not reference.has_mask:
        try:
            return add_mask(model)
        except GraphError as error:
            logger.warning("%s", error.message)
    return model
