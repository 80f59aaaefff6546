"""From a source to a model directory: get, complete, describe, and only then give it its name."""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.artifact import sha256_of
from roberta_sentiment.tools.fetch.finish import complete, describe, refusal
from roberta_sentiment.tools.fetch.gather import Gatherer
from roberta_sentiment.tools.fetch.options import Fetched, Options
from roberta_sentiment.tools.fetch.workplace import workplace

_DIGITS = 64


def fetch(source: str, target: Path, options: Options, progress: Progress) -> Fetched:
    """Write a model directory with a manifest, whole or not at all.

    Args:
        source: "zoo", "hf:organisation/name[@revision]", an address of a file, or a local path.
        target: directory to write.
        options: what else is asked for.
        progress: shows how far it is.

    Raises:
        ArtifactError: the source or a file can't be had, or it is no model. What has arrived stays
            in TARGET.part, and the next run goes on from there.
        ChecksumError: a file is not what was expected; nothing is kept.
    """
    _refuse_bad_checksum(options.sha256)
    with workplace(target, source, replace=options.replace) as path:
        gatherer = Gatherer(path, options, progress)
        taken = gatherer.get(source)
        complete(gatherer, taken, source)
        precision = describe(path, taken, options, name=target.name)
        sha256 = sha256_of(path / taken.choice.main)
    is_graph = taken.choice.is_graph
    refused = refusal(target) if is_graph else ""
    return Fetched(taken.choice.main, is_graph, sha256, precision, refused)


def _refuse_bad_checksum(sha256: str) -> None:
    if sha256 and (len(sha256) != _DIGITS or not set(sha256) <= set("0123456789abcdef")):
        raise ArtifactError(
            f"--sha256 is {sha256!r}; it takes the {_DIGITS} hexadecimal digits of a file"
        )
