"""Make a model directory of what was got: tokenizer, configuration, manifest, and a check."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from roberta_sentiment.classifier import check_model, try_model
from roberta_sentiment.errors import ArtifactError, SentimentError
from roberta_sentiment.graph.structure import Structure, read_structure
from roberta_sentiment.model.artifact import Artifact, open_artifact
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.model.layout import CONFIG, MANIFEST, TOKENIZER_FILES, has_tokenizer
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.tokenizer import load_tokenizer
from roberta_sentiment.tools.fetch import zoo
from roberta_sentiment.tools.fetch.choose import Selection, companions
from roberta_sentiment.tools.fetch.download import Downloader
from roberta_sentiment.tools.fetch.sources import HUB, read_directory, read_hub
from roberta_sentiment.tools.manifest import FORMAT, write_manifest


def complete(downloader: Downloader, selection: Selection, source: str, tokenizer: str) -> None:
    """Add tokenizer and configuration where the source has none, or the user names others.

    What an earlier run has added is dropped first.

    Args:
        downloader: has the model in its directory.
        selection: what is in it.
        source: of the model, for messages.
        tokenizer: directory or repository that the user names, else empty.

    Raises:
        ArtifactError: they are named nowhere, or missing.
    """
    path = downloader.directory
    published = _is_published(path / selection.main)
    origin = tokenizer or (f"{HUB}{zoo.MODEL.tokenizer}" if published else "")
    _drop(path, TOKENIZER_FILES, {} if tokenizer else selection.files)
    _drop(path, (CONFIG, MANIFEST), selection.files)
    if not _has_tokenizer(path):
        if not origin:
            raise ArtifactError(
                f"{source} has no tokenizer (tokenizer.json, or vocab.json with merges.txt, or "
                "vocab.txt); name its directory or repository (--tokenizer)"
            )
        _add(downloader, origin, TOKENIZER_FILES)
        if not _has_tokenizer(path):
            raise ArtifactError(
                f"{origin} has neither tokenizer.json nor vocab.json with merges.txt (--tokenizer)"
            )
    if (path / CONFIG).exists():
        return
    if published:
        text = json.dumps(zoo.MODEL.config, indent=2) + "\n"
        (path / CONFIG).write_text(text, encoding="utf-8")
    elif origin:
        _add(downloader, origin, (CONFIG,))


def describe(
    path: Path, selection: Selection, *, default_name: str, name: str, licence: str
) -> str:
    """Write the manifest and let the server's own check read it.

    Args:
        path: the directory.
        selection: what is in it.
        default_name: of the model, unless something better is known.
        name, licence: that the user gives, else empty.

    Returns:
        The graph's precision, or "unknown".

    Raises:
        ArtifactError: the graph is none, or the tokenizer is not the published model's.
        ChecksumError: a file is not what the manifest that came with it says.
    """
    published = _is_published(path / selection.main)
    structure = _structure(path / selection.main) if selection.is_graph else None
    facts: dict[str, Any] = {
        "name": zoo.NAME if published else default_name,
        "model": selection.main,
        "precision": structure.precision if structure else "unknown",
        "batch_invariant": structure is None or not structure.mixes_texts,
        "licence": selection.listing.licence or (zoo.MODEL.licence if published else "unknown"),
        "origin": selection.listing.origin,
        **({"reference": [zoo.reference()]} if published else {}),
        **_publisher_facts(path, selection.main),
    }
    facts |= {k: v for k, v in (("name", name), ("licence", licence)) if v}
    write_manifest(path, **facts)
    if selection.is_graph:
        artifact = open_artifact(path)
        if published:
            _check_published_tokenizer(artifact)
    return str(facts["precision"])


def _check_published_tokenizer(artifact: Artifact) -> None:
    tokenizer = load_tokenizer(artifact, max_tokens=0, overlap=0)
    (ids,) = tokenizer.encode([zoo.MODEL.text], "end")[0].windows
    if ids != list(zoo.MODEL.ids):
        raise ArtifactError(
            f"the tokenizer is not the published model's: it makes {ids} of {zoo.MODEL.text!r}, "
            f"not {list(zoo.MODEL.ids)}; use that of hf:{zoo.MODEL.tokenizer} (--tokenizer)"
        )


def refusal(path: Path) -> str:
    """Why a server with default settings would not start with a model; empty if it would."""
    try:
        artifact, settings = open_artifact(path), Settings()
        try_model(artifact, check_model(artifact, settings))
    except SentimentError as error:
        return error.message
    return ""


def _structure(graph: Path) -> Structure:
    """What a graph is made of; a file that is none is dropped, and fetched by the next run."""
    try:
        return read_structure(graph)
    except ArtifactError:
        graph.unlink()
        raise


def _is_published(file: Path) -> bool:
    return file.stat().st_size == zoo.MODEL.size and sha256_of(file) == zoo.MODEL.sha256


def _drop(path: Path, names: Iterable[str], kept: Collection[str]) -> None:
    for name in names:
        if name not in kept:
            (path / name).unlink(missing_ok=True)


def _has_tokenizer(path: Path) -> bool:
    return has_tokenizer(entry.name for entry in path.iterdir())


def _add(downloader: Downloader, origin: str, names: Iterable[str]) -> None:
    directory = Path(origin).expanduser()
    if origin.startswith(HUB):
        items = read_hub(origin).items
    elif directory.is_dir():
        items = read_directory(directory).items
    else:
        raise ArtifactError(f"the directory {directory} does not exist (--tokenizer)")
    downloader.download_all(items, companions(items, wanted=names))


def _publisher_facts(path: Path, main: str) -> dict[str, Any]:
    """The manifest that came with the model, once its checksums are found right.

    Another program's manifest.json, or one for another graph, is dropped.
    """
    if not (path / MANIFEST).exists():
        return {}
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    ours = (
        isinstance(content, dict)
        and content.get("format") == FORMAT
        and isinstance(content.get("files"), dict)
        and content.get("model") == main
    )
    if not ours:
        (path / MANIFEST).unlink()
        return {}
    open_artifact(path)
    return {key: value for key, value in content.items() if key not in ("format", "files")}
