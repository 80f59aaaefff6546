"""The manifest of a fetched model, and whether a server would start with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roberta_sentiment.classifier import check_model, try_model
from roberta_sentiment.errors import ArtifactError, SentimentError
from roberta_sentiment.graph.structure import Structure, read_structure
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.model.layout import MANIFEST, read_json
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.tokenizer import load_tokenizer
from roberta_sentiment.tools.fetch import zoo
from roberta_sentiment.tools.fetch.sources import Listing
from roberta_sentiment.tools.manifest import FORMAT, write_manifest


def describe(
    path: Path, main: str, listing: Listing, given: Mapping[str, str], *, default_name: str
) -> str:
    """Write the manifest and let the server's own check read it.

    Args:
        path: the directory.
        main: the graph or the weights in it.
        listing: where they came from.
        given: name and licence that the user gives, else empty.
        default_name: of the model, unless something better is known.

    Returns:
        The graph's precision, or "unknown".

    Raises:
        ArtifactError: the file is not a graph, or the tokenizer is not the published model's.
        ChecksumError: a file is not what the manifest that came with it says.
    """
    published = is_published(path / main)
    structure = _structure(path / main) if main.endswith(".onnx") else None
    facts: dict[str, Any] = {
        "name": zoo.NAME if published else default_name,
        "model": main,
        "precision": structure.precision if structure else "unknown",
        "batch_invariant": structure is None or not structure.mixes_texts,
        "licence": listing.licence or (zoo.LICENCE if published else "unknown"),
        "origin": listing.origin,
        **({"reference": [zoo.REFERENCE]} if published else {}),
        **_publisher_facts(path, main),
        **{key: value for key, value in given.items() if value},
    }
    write_manifest(path, **facts)
    if structure:
        artifact = open_artifact(path)
        if published:
            _check_published_tokenizer(artifact)
    return str(facts["precision"])


def is_published(file: Path) -> bool:
    """Whether a file is the Model Zoo's graph."""
    return file.stat().st_size == zoo.SIZE and sha256_of(file) == zoo.SHA256


def why_refused(path: Path) -> str:
    """Why a server with default settings would not start with a model; empty if it would."""
    try:
        artifact, settings = open_artifact(path), Settings()
        checked = check_model(artifact, settings)
        try_model(artifact, settings, checked, lambda: checked.tokenizer.frame)
    except SentimentError as error:
        return error.message
    return ""


def _structure(graph: Path) -> Structure:
    """What a graph is made of; any other file is dropped, and fetched by the next run."""
    try:
        return read_structure(graph)
    except ArtifactError:
        graph.unlink()
        raise


def _publisher_facts(path: Path, main: str) -> dict[str, Any]:
    """The manifest that came with the model, once its checksums are found right.

    Another program's manifest.json, or one for another graph, is dropped.
    """
    try:
        content = read_json(path / MANIFEST)
    except ArtifactError:
        content = {}
    is_ours = content.get("format") == FORMAT and isinstance(content.get("files"), dict)
    if not is_ours or content.get("model") != main:
        (path / MANIFEST).unlink(missing_ok=True)
        return {}
    open_artifact(path)
    return {key: value for key, value in content.items() if key not in ("format", "files")}


def _check_published_tokenizer(artifact: Artifact) -> None:
    tokenizer = load_tokenizer(artifact, max_tokens=0, overlap=0)
    text, expected = zoo.REFERENCE["text"], zoo.REFERENCE["ids"]
    (ids,) = tokenizer.encode([text], "end")[0].windows
    if ids != expected:
        raise ArtifactError(
            f"the tokenizer is not the published model's: it makes {ids} of {text!r}, not "
            f"{expected}; use that of hf:{zoo.TOKENIZER} (--tokenizer)"
        )
