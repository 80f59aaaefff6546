"""Whether files are intact: checksums, the manifest, and stamps that show a later change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.model.layout import MANIFEST, is_inner_path, read_json

Stamp = Mapping[str, tuple[int, ...]]
"""Size, times of modification and of change (ns) and inode of files, by their paths."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest, empty if there is none; every file that it names is there."""
    if not (directory / MANIFEST).exists():
        return {}
    if not (directory / MANIFEST).is_file():
        raise ArtifactError(f"{directory / MANIFEST} is not a plain file; copy it there as one")
    manifest = read_json(directory / MANIFEST)
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ArtifactError(f"{directory / MANIFEST}: files is not an object")
    for name, entry in files.items():
        if not isinstance(entry, dict) or not {"sha256", "size"} <= entry.keys():
            raise ArtifactError(f"{directory / MANIFEST}: files.{name} needs sha256 and size")
        if not is_inner_path(name):
            raise ArtifactError(f"{directory / MANIFEST}: {name!r} leads out of the directory")
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory / name} is missing, but {MANIFEST} names it")
    return manifest


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in pieces.

    Raises:
        ArtifactError: the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}") from error


def verify(directory: Path, name: str, entry: Mapping[str, Any]) -> str:
    """Compare a file with what the manifest says of it; return its checksum."""
    path = directory / name
    size = path.stat().st_size
    if size != entry["size"]:
        raise ChecksumError(
            f"{path} has {size} bytes, but {MANIFEST} says {entry['size']}: the file is "
            "truncated or another one; copy it again"
        )
    digest = sha256_of(path)
    if digest != str(entry["sha256"]).lower():
        raise ChecksumError(
            f"{path} has sha256 {digest[:12]}..., but {MANIFEST} says "
            f"{str(entry['sha256'])[:12]}...: the file is damaged or another one; copy it again"
        )
    return digest


def digest_of(graph: str, checksums: Mapping[str, str]) -> str:
    """Of the graph whatever its name, and of the other files under theirs."""
    lines = sorted(f"{'' if name == graph else name} {sha}" for name, sha in checksums.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def stamp_of(*folders: Path) -> Stamp:
    """Stamp of each file of some folders.

    Raises:
        OSError: a folder can't be read.
    """
    return {str(file): _stamp(file) for folder in sorted(set(folders))
            for file in sorted(folder.iterdir()) if file.is_file()}  # fmt: skip


def _stamp(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
