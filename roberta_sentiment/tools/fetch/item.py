"""One file that is to be fetched: where its content is, and what is known of it beforehand."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.model.artifact import sha256_of


@dataclasses.dataclass(frozen=True)
class Item:
    """A file at its source.

    Attributes:
        url: where it is downloaded from; empty if it can be opened here.
        headers: to send with the request, such as a token.
        open: opens the content, where no download is needed.
        size: bytes, if known.
        sha256: of the content, if known.
        git_sha1: Git's name of the content, by which a hub knows its small files.
    """

    url: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    open: Callable[[], IO[bytes]] | None = None
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        items: by their path at the source, with forward slashes.
        origin: where that is, in words, for the manifest.
        licence: as the source states it, else empty.
        facts: for the manifest.
    """

    items: Mapping[str, Item]
    origin: str
    licence: str = ""
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)


def local_item(path: Path) -> Item:
    """A file of this machine."""
    return Item(open=lambda: path.open("rb"), size=path.stat().st_size)


def check(path: Path, item: Item, name: str) -> None:
    """Compare a fetched file with what its source says of it.

    Raises:
        ChecksumError: size or checksum differ.
    """
    size = path.stat().st_size
    if item.size is not None and size != item.size:
        raise ChecksumError(f"{name} has {size} bytes, but {item.size} were expected; {_WAY_OUT}")
    for kind, expected, function in (
        ("sha256", item.sha256, sha256_of),
        ("Git's sha1", item.git_sha1, git_sha1_of),
    ):
        if expected is None:
            continue
        actual = function(path)
        if actual != expected.lower():
            raise ChecksumError(
                f"{name} has {kind} {actual[:12]}..., but {expected[:12]}... was expected; "
                f"{_WAY_OUT}"
            )


_WAY_OUT = "the file is damaged or another one, and it was not kept"


def git_sha1_of(path: Path) -> str:
    """Git's name of a file's content: the SHA-1 of a header with its size, then the content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_space(directory: Path, needed: int) -> None:
    """Refuse to begin what can't be finished.

    Args:
        directory: where to write.
        needed: bytes.

    Raises:
        ArtifactError: the disk has less than that.
    """
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise ArtifactError(
            f"{directory} has {free / 1e6:.0f} MB left, but {needed / 1e6:.0f} MB more are needed; "
            "make room, or name a target on another disk"
        )
