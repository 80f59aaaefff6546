"""Which file the session opens: the model's own, one with a mask put in, or an optimised one."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime

from roberta_sentiment import container
from roberta_sentiment.errors import GraphError
from roberta_sentiment.model.artifact import Artifact, claimed_digest, open_artifact
from roberta_sentiment.model.cache import Cache, Entry, default_roots
from roberta_sentiment.run.session import Session, open_session

logger = logging.getLogger(__name__)

MASKED, OPTIMIZED = "masked", "optimized"
FILE = "model.onnx"
_MASK_FORMAT = "2"
_OPTIMIZED_FORMAT = "4"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A session and the file it came from.

    Attributes:
        session: all threads work on one run.
        kind: "as it is", "masked" or "optimized".
        single: the same model with one thread a run, for runs side by side. None where it would
            need the memory of the weights again, or where there is one thread only.
    """

    session: Session
    kind: str
    single: Session | None = None


def check(path: Path, source: str = "given path") -> tuple[Artifact, Entry | None]:
    """Check a model directory and, at the same time, the optimised file made from it.

    Returns:
        The model, and its optimised file if there is an intact one.

    Raises:
        ArtifactError, ChecksumError: as `open_artifact`.
    """
    with ThreadPoolExecutor(1) as pool:
        claimed = claimed_digest(path)
        found = pool.submit(_find_optimized, claimed) if claimed else None
        artifact = open_artifact(path, source)
        return artifact, found.result() if found else _find_optimized(artifact.digest)


def open_prepared(
    artifact: Artifact,
    *,
    threads: int,
    roots: Sequence[Path] | None = None,
    optimized: Entry | None = None,
    serving_cpu: int | None = None,
) -> Prepared:
    """Open the best file there is for a model.

    An optimised file from the cache comes first. A graph without a mask gets one, and the changed
    file is kept where it may be written. Where no mask can be put in, the graph is opened as it is;
    its batches must then hold texts of one length only.

    Args:
        artifact: the model.
        threads: that work on the model.
        roots: directories with derived files; by default this user's own temporary one.
        optimized: an optimised file that was found before, to spare a second check.
        serving_cpu: CPU of the threads that serve requests, if they stay on one.

    Raises:
        GraphError: the model can't be loaded.
    """
    cache = Cache(default_roots() if roots is None else roots)
    key = optimized_key(artifact.digest)
    known = optimized if optimized and optimized.key == key and optimized.unchanged() else None
    found = known or cache.find(key)
    open_whole = functools.partial(
        open_session,
        threads=threads,
        caller_cpu=serving_cpu,
        first_position=artifact.first_position,
    )
    if found:
        file = found.path / FILE
        whole = open_whole(file, optimized=True)
        single = (
            open_session(file, threads=1, optimized=True, first_position=artifact.first_position)
            if threads > 1
            else None
        )
        return Prepared(whole, OPTIMIZED, single)
    found = cache.find(_masked_key(artifact.digest))
    if found:
        logger.info("an attention mask was put into the graph; kept in %s", found.path)
        return Prepared(open_whole(found.path / FILE), MASKED)
    session = open_whole(artifact.onnx_path)
    if session.has_mask:
        return Prepared(session, "as it is")
    masked = _open_masked(artifact, cache, open_whole)
    return Prepared(masked, MASKED) if masked else Prepared(session, "as it is")


def optimized_key(digest: str) -> dict[str, str]:
    """What an optimised file depends on, beginning with every file of the model."""
    return {
        "kind": OPTIMIZED,
        "format": _OPTIMIZED_FORMAT,
        "model": digest,
        "onnxruntime": onnxruntime.__version__,
        "cpu": " ".join(container.features()),
    }


def _find_optimized(digest: str) -> Entry | None:
    return Cache(default_roots()).find(optimized_key(digest))


def _masked_key(digest: str) -> dict[str, str]:
    return {"kind": MASKED, "format": _MASK_FORMAT, "model": digest}


def _open_masked(
    artifact: Artifact, cache: Cache, open_whole: Callable[[Path | bytes], Session]
) -> Session | None:
    import onnx

    from roberta_sentiment.graph.mask import add_mask

    def masked() -> onnx.ModelProto:
        return add_mask(onnx.load(str(artifact.onnx_path)))

    def write(directory: Path) -> None:
        onnx.save(masked(), str(directory / FILE))

    try:
        kept = cache.store(_masked_key(artifact.digest), write)
        source = kept / FILE if kept else masked().SerializeToString()
    except GraphError as error:
        logger.warning("%s; only texts of one length share a batch", error.message)
        return None
    except Exception as error:  # whatever the file holds, ONNX Runtime could load it
        logger.warning("%s can't be edited (%s)", artifact.onnx_path, type(error).__name__)
        return None
    logger.info("an attention mask was put into the graph; kept in %s", kept or "memory")
    return open_whole(source)
