"""What a directory, an archive or a single file of this machine holds."""

from __future__ import annotations

import contextlib
import logging
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from roberta_sentiment.errors import ChecksumError
from roberta_sentiment.tools.fetch.item import Item, Listing, local_item

logger = logging.getLogger(__name__)

ARCHIVES = (".tar.gz", ".tgz", ".tar")

_DEPTH = 2


def read_directory(path: Path) -> Listing:
    """List a directory and the folders in it; hidden ones and links that lead out are left out."""
    items = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and len(name.parts) <= _DEPTH and _is_within(file, path):
            items[name.as_posix()] = local_item(file)
    return Listing(items, origin=f"directory {path.resolve().name}")


def read_file(path: Path) -> Listing:
    """List a file and those beside it whose names begin as its own does: external weights."""
    items = {
        file.name: local_item(file)
        for file in sorted(path.parent.iterdir())
        if file.is_file()
        and file.name.startswith((f"{path.stem}.", f"{path.name}_"))
        and (file == path or _is_within(file, path.parent))
    }
    return Listing(items, origin=f"file {path.name}")


def _is_within(file: Path, directory: Path) -> bool:
    """Whether a file lies in a directory, or in the store of a Hugging Face cache around it."""
    root = directory.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    if file.resolve().is_relative_to(root):
        return True
    logger.warning("%s is left out: it is a link that leads out of %s", file, directory)
    return False


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive that can be read here."""
    return name.endswith(ARCHIVES)


@contextlib.contextmanager
def open_archive(path: Path, origin: str) -> Iterator[Listing]:
    """List a tar archive. A single folder at its top is left out of the names.

    Nothing is unpacked by the names in the archive: whoever reads an item decides where it goes.
    Links and devices are no items.

    Raises:
        ChecksumError: it is no such archive, is damaged, or names a file outside of itself.
    """
    try:
        with tarfile.open(path) as archive:
            members = {m.name.removeprefix("./"): m for m in archive if m.isfile()}
            _refuse_outside(members, path)
            top = _common_folder(members)
            yield Listing(
                {
                    name.removeprefix(top): _member_item(archive, member)
                    for name, member in members.items()
                },
                origin,
            )
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ChecksumError(
            f"{path.name.lstrip('.')} is no whole .tar or .tar.gz archive: {error}"
        ) from None


def _member_item(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Item:
    def opened() -> IO[bytes]:
        content = archive.extractfile(member)
        assert content is not None, "only plain files are listed"
        return content

    return Item(open=opened, size=member.size)


def _refuse_outside(members: dict[str, tarfile.TarInfo], path: Path) -> None:
    for name in members:
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise ChecksumError(
                f"{path.name.lstrip('.')} names a file outside of itself, {name!r}; nothing of it "
                "was used"
            )


def _common_folder(names: dict[str, tarfile.TarInfo]) -> str:
    tops = {name.partition("/")[0] for name in names}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in names) else ""
