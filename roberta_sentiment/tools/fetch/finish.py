"""Make a model directory of what was got: tokenizer, configuration, manifest, and a check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roberta_sentiment.classifier import check_model, try_model
from roberta_sentiment.errors import ArtifactError, SentimentError
from roberta_sentiment.graph.structure import Structure, read_structure
from roberta_sentiment.model.artifact import open_artifact, sha256_of
from roberta_sentiment.model.layout import CONFIG, MANIFEST, TOKENIZER_FILES, has_tokenizer
from roberta_sentiment.settings import Settings
from roberta_sentiment.text.tokenizer import load_tokenizer
from roberta_sentiment.tools.fetch import local, zoo
from roberta_sentiment.tools.fetch.choose import companions
from roberta_sentiment.tools.fetch.gather import HUB, Gatherer, Taken, read_hub
from roberta_sentiment.tools.fetch.options import Options
from roberta_sentiment.tools.manifest import FORMAT, write_manifest


def complete(gatherer: Gatherer, taken: Taken, source: str) -> None:
    """Add tokenizer and configuration where the source has none, or the user names others.

    What an earlier run has added is dropped first.

    Raises:
        ArtifactError: nobody has said where they are, or they are not there.
    """
    path = gatherer.path
    published = _is_published(path / taken.choice.main)
    origin = gatherer.options.tokenizer or (f"{HUB}{zoo.MODEL.tokenizer}" if published else "")
    own = () if gatherer.options.tokenizer else taken.choice.files
    _drop(path, [name for name in TOKENIZER_FILES if name not in own])
    _drop(path, [name for name in (CONFIG, MANIFEST) if name not in taken.choice.files])
    if not _has_tokenizer(path):
        if not origin:
            raise ArtifactError(
                f"{source} has no tokenizer (tokenizer.json, or vocab.json with merges.txt, or "
                "vocab.txt); name its directory or repository (--tokenizer)"
            )
        _add(gatherer, origin, TOKENIZER_FILES)
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
        _add(gatherer, origin, [CONFIG])


def describe(path: Path, taken: Taken, options: Options, *, name: str) -> str:
    """Write the manifest and let the server's own check read it.

    Args:
        path: the directory.
        taken: what is in it.
        options: what was asked for.
        name: of the model, unless something better is known.

    Returns:
        The graph's precision, or "unknown".

    Raises:
        ArtifactError: the graph is none, or the tokenizer is not the published model's.
        ChecksumError: a file is not what the manifest that came with it says.
    """
    choice = taken.choice
    published = _is_published(path / choice.main)
    structure = _structure(path / choice.main) if choice.is_graph else None
    facts: dict[str, Any] = {
        "name": zoo.NAME if published else name,
        "model": choice.main,
        "precision": structure.precision if structure else "unknown",
        "batch_invariant": structure is None or not structure.mixes_texts,
        "licence": taken.listing.licence or (zoo.MODEL.licence if published else "unknown"),
        "origin": taken.listing.origin,
        **({"reference": [_reference()]} if published else {}),
        **_publisher_facts(path, choice.main),
    }
    facts["name"] = options.name or facts["name"]
    facts["licence"] = options.licence or facts["licence"]
    write_manifest(path, **facts)
    if choice.is_graph:
        artifact = open_artifact(path)
        if published:
            made = load_tokenizer(artifact, max_tokens=0, overlap=0).encode(
                [zoo.MODEL.text], "end"
            )[0]
            if made.windows != (list(zoo.MODEL.ids),):
                raise ArtifactError(
                    f"the tokenizer is not the published model's: it makes {made.windows[0]} of "
                    f"{zoo.MODEL.text!r}, not {list(zoo.MODEL.ids)}; take that of "
                    f"hf:{zoo.MODEL.tokenizer} (--tokenizer)"
                )
    return str(facts["precision"])


def refusal(path: Path) -> str:
    """Why a server with default settings would not start with a model; empty if it would."""
    try:
        artifact, settings = open_artifact(path), Settings()
        try_model(artifact, check_model(artifact, settings))
    except SentimentError as error:
        return error.message
    return ""


def _structure(graph: Path) -> Structure:
    """What a graph is made of; a file that is none is dropped, so that it is fetched anew."""
    try:
        return read_structure(graph)
    except ArtifactError:
        graph.unlink()
        raise


def _is_published(file: Path) -> bool:
    return file.stat().st_size == zoo.MODEL.size and sha256_of(file) == zoo.MODEL.sha256


def _drop(path: Path, names: list[str]) -> None:
    for name in names:
        (path / name).unlink(missing_ok=True)


def _has_tokenizer(path: Path) -> bool:
    return has_tokenizer(entry.name for entry in path.iterdir())


def _add(gatherer: Gatherer, origin: str, names: list[str] | tuple[str, ...]) -> None:
    if origin.startswith(HUB):
        items = read_hub(origin).items
    else:
        directory = Path(origin).expanduser()
        if not directory.is_dir():
            raise ArtifactError(f"the directory {directory} does not exist (--tokenizer)")
        items = local.read_directory(directory).items
    gatherer.get_all(items, companions(items, wanted=names))


def _reference() -> dict[str, Any]:
    """The published answer, for `verify`."""
    model = zoo.MODEL
    return {"text": model.text, "ids": list(model.ids), "logits": list(model.logits)}


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
