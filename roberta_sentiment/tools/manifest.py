"""Write the manifest of a model directory: what it is, where it came from, and its checksums."""

from __future__ import annotations

import json
from pathlib import Path

from roberta_sentiment.graph.structure import external_files
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.model.layout import MANIFEST

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
    """Write `manifest.json` atomically.

    Args:
        directory: a model directory; hidden files and its README are left out.
        name: of the model.
        model: path of the graph in the directory.
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
    content = {
        "format": FORMAT,
        "name": name,
        "model": model,
        "precision": precision,
        "batch_invariant": batch_invariant,
        "licence": licence,
        "origin": origin,
        **facts,
        "files": _entries(directory, Path(model)),
    }
    scratch = directory / f".{MANIFEST}.new"
    scratch.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    scratch.replace(directory / MANIFEST)
    return directory / MANIFEST


def _entries(directory: Path, graph: Path) -> dict[str, dict[str, str | int]]:
    """Checksum and size of each file at the top, of the graph and of the weights beside it."""
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    names |= {(graph.parent / name).as_posix() for name in external_files(directory / graph)}
    return {
        name: {"sha256": sha256_of(directory / name), "size": (directory / name).stat().st_size}
        for name in sorted((names | {graph.as_posix()}).difference(_LEFT_OUT))
        if (directory / name).is_file()
    }
