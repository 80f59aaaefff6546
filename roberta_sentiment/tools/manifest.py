"""Write the manifest of a model directory: what it is, where it came from, and its checksums."""

from __future__ import annotations

import json
from pathlib import Path

from roberta_sentiment.artifact import sha256_of
from roberta_sentiment.layout import MANIFEST

FORMAT = 1
_LEFT_OUT = (MANIFEST, "README.md")


def write_manifest(
    directory: Path,
    *,
    name: str,
    model: str,
    precision: str,
    batch_invariant: bool,
    licence: str,
    origin: str,
    **facts: object,
) -> Path:
    """Write `manifest.json`, whole or not at all.

    Args:
        directory: a model directory; hidden files and its README are left out.
        name: of the model.
        model: file name of the graph.
        precision: "fp32" or "int8".
        batch_invariant: whether an answer is the same alone and in any batch.
        licence: of the weights, as an SPDX identifier.
        origin: where the weights came from, in words.
        facts: what else should be known, such as figures and how they were found.

    Returns:
        The manifest's path.

    Raises:
        ArtifactError: a file can't be read.
    """
    files = {
        path.name: {"sha256": sha256_of(path), "size": path.stat().st_size}
        for path in sorted(directory.iterdir())
        if path.is_file() and path.name not in _LEFT_OUT and not path.name.startswith(".")
    }
    content = {
        "format": FORMAT,
        "name": name,
        "model": model,
        "precision": precision,
        "batch_invariant": batch_invariant,
        "licence": licence,
        "origin": origin,
        **facts,
        "files": files,
    }
    scratch = directory / f".{MANIFEST}.new"
    scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    scratch.replace(directory / MANIFEST)
    return directory / MANIFEST
