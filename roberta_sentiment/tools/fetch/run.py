"""From a source to a model directory: select, download, complete, describe, then name it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.progress import Progress

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.graph.structure import external_files
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.tools.fetch import sources, zoo
from roberta_sentiment.tools.fetch.choose import PICKLES, Selection, choose, external
from roberta_sentiment.tools.fetch.download import MAX_BYTES, Downloader, Item, redact_url
from roberta_sentiment.tools.fetch.finish import complete, describe, refusal
from roberta_sentiment.tools.fetch.sources import ARCHIVES, HUB, Listing
from roberta_sentiment.tools.target import put_in_place

_ZOO = "zoo"
_SINGLE = (".onnx", ".safetensors", *PICKLES)
_DIGITS = 64
_SOURCE, _LOCK = ".source", ".lock"


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be asked for beside a source and a target.

    Attributes:
        sha256: of the graph, of the weights, or of the archive; empty if not known.
        tokenizer: local directory or "hf:organisation/name" with tokenizer and config.json, for a
            source that has none.
        file: path of the graph at a source with several, or of the weights.
        include_pytorch: whether pickles are fetched.
        max_bytes: accepted of a file whose size its server does not say.
        replace: whether an existing target is replaced.
        name, licence: for the manifest; empty for what is known of the source.
    """

    sha256: str = ""
    tokenizer: str = ""
    file: str = ""
    include_pytorch: bool = False
    max_bytes: int = MAX_BYTES
    replace: bool = False
    name: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What was written.

    Attributes:
        main: name of the graph, or of the weights if there is no graph.
        is_graph: which of the two it is.
        sha256: of that file.
        precision: of the graph, or "unknown".
        refused: why a server with default settings would not start with it; empty if it would.
    """

    main: str
    is_graph: bool
    sha256: str
    precision: str
    refused: str = ""


def fetch(source: str, target: Path, options: Options, progress: Progress) -> Fetched:
    """Write a model directory with a manifest, whole or not at all.

    Args:
        source: "zoo", "hf:organisation/name[@revision]", an address of a file, or a local path.
        target: directory to write.
        options: what else is asked for.
        progress: shows how far it is.

    Raises:
        ArtifactError: the source or a file can't be had, or it is no model. What has arrived stays
            in TARGET.part, and the next run resumes there.
        ChecksumError: a file is not what was expected; nothing is kept.
    """
    if options.sha256 and not _is_sha256(options.sha256):
        raise ArtifactError(
            f"--sha256 is {options.sha256!r}; it takes the {_DIGITS} hexadecimal digits of a file"
        )
    with staging_dir(target, source, replace=options.replace) as path:
        downloader = Downloader(path, progress, options.max_bytes)
        selection = _download_model(source, options, downloader)
        complete(downloader, selection, source, options.tokenizer)
        precision = describe(
            path, selection, default_name=target.name, name=options.name, licence=options.licence
        )
        sha256 = sha256_of(path / selection.main)
    refused = refusal(target) if selection.is_graph else ""
    return Fetched(selection.main, selection.is_graph, sha256, precision, refused)


def _is_sha256(word: str) -> bool:
    return len(word) == _DIGITS and set(word) <= set("0123456789abcdef")


def _download_model(source: str, options: Options, downloader: Downloader) -> Selection:
    """Select the model and what lies with it, and download them."""
    if source == _ZOO:
        return _download_published(options, downloader)
    if source.startswith(HUB):
        return _download(sources.read_hub(source), source, options, downloader)
    parts = urlsplit(source)
    if parts.scheme in ("http", "https"):
        name, origin = Path(unquote(parts.path)).name, redact_url(source)
        item, listing = Item(url=source), Listing({name: Item(url=source)}, origin)
    elif parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme else source).expanduser()
        if path.is_dir():
            return _download(sources.read_directory(path), str(path), options, downloader)
        if not path.is_file():
            raise ArtifactError(
                f"{path} does not exist; a hub's repository is named hf:organisation/name"
            )
        name, origin = path.name, str(path)
        item, listing = Item(path=path), sources.read_file(path)
    else:
        raise ArtifactError(
            f"{source!r} is no source; give zoo, hf:organisation/name, an http(s) address, or "
            "a local file or directory"
        )
    if name.endswith(ARCHIVES):
        return _download_archive(item, name, listing.origin, options, downloader)
    _refuse_bare(name, origin, options)
    return _download(listing, origin, dataclasses.replace(options, file=name), downloader)


def _refuse_bare(name: str, origin: str, options: Options) -> None:
    """A single graph needs a tokenizer; say so before half a gigabyte is on its way."""
    if not name.endswith(_SINGLE):
        raise ArtifactError(
            f"{origin} ends neither in {', '.join(_SINGLE)} nor in {', '.join(ARCHIVES)}; for a "
            "hub's repository give hf:organisation/name"
        )
    if not options.tokenizer and name != zoo.MODEL.file:
        raise ArtifactError(
            f"{name} comes alone, but a model needs its tokenizer and config.json: name their "
            "directory or repository (--tokenizer DIR or --tokenizer hf:organisation/name)"
        )


def _download(listing: Listing, where: str, options: Options, downloader: Downloader) -> Selection:
    selection = choose(
        listing, where=where, file=options.file, include_pytorch=options.include_pytorch
    )
    main = selection.files[selection.main]
    item = _expect(listing.items[main], options.sha256, selection.main)
    downloader.download_all({**listing.items, main: item}, selection.files)
    if not selection.is_graph:
        return selection
    wanted = external_files(downloader.directory / selection.main)
    weights = external(listing.items, main, wanted)
    downloader.download_all(listing.items, weights)
    return dataclasses.replace(selection, files={**selection.files, **weights})


def _download_archive(
    item: Item, name: str, origin: str, options: Options, downloader: Downloader
) -> Selection:
    """Download an archive, whose checksum `--sha256` is, and use what was selected from it.

    It stays in the staging directory to the end, for a run that must be repeated.
    """
    archive = downloader.download(_expect(item, options.sha256, name), f".{name}")
    with sources.unpack(archive, origin) as listing:
        return _download(listing, origin, dataclasses.replace(options, sha256=""), downloader)


def _download_published(options: Options, downloader: Downloader) -> Selection:
    """Try each location of the published graph."""
    refused: list[ArtifactError] = []
    options = dataclasses.replace(options, file=zoo.MODEL.file)
    for location in zoo.MODEL.locations:
        try:
            return _download(_published(location), _ZOO, options, downloader)
        except ArtifactError as error:
            refused.append(error)
    reasons = "; ".join(dict.fromkeys(error.message for error in refused))
    damaged = any(isinstance(error, ChecksumError) for error in refused)
    raise (ChecksumError if damaged else ArtifactError)(
        f"the published graph was found at none of {len(refused)} locations: {reasons}"
    )


def _published(location: zoo.Location) -> Listing:
    """A listing with the published graph alone, under its own name."""
    if location.url:
        if sources.is_offline():
            raise ArtifactError(f"{location.url} was not asked, as HF_HUB_OFFLINE is set")
        item, origin = Item(url=location.url), location.url
    else:
        listing = sources.read_hub(f"{HUB}{location.repository}")
        if location.path not in listing.items:
            raise ArtifactError(f"hf:{location.repository} has no file {location.path}")
        item, origin = listing.items[location.path], f"{listing.origin}/{location.path}"
    item = _expect(item, zoo.MODEL.sha256, zoo.MODEL.file)
    item = dataclasses.replace(item, size=zoo.MODEL.size)
    return Listing({zoo.MODEL.file: item}, origin, zoo.MODEL.licence)


def _expect(item: Item, sha256: str, name: str) -> Item:
    """The item with a checksum, unless its source says beforehand that it has another one."""
    if not sha256:
        return item
    if item.sha256 and item.sha256 != sha256:
        raise ChecksumError(
            f"{name} has sha256 {item.sha256[:12]}... at its source, but {sha256[:12]}... was "
            "expected: it is another file, and it was not fetched"
        )
    return dataclasses.replace(item, sha256=sha256)


@contextlib.contextmanager
def staging_dir(target: Path, source: str, *, replace: bool) -> Iterator[Path]:
    """A directory beside the target in which it is made; after the block it is the target.

    What has arrived stays in it when a run fails, so that the next one resumes. Another source, or
    a file that is not what was expected, empties it.

    Args:
        target: the model directory to be.
        source: what is fetched.
        replace: whether an existing target is replaced.

    Raises:
        ArtifactError: the target exists, can't be written, or is being fetched right now.
    """
    exists = target.is_symlink() or target.is_file() or (target.is_dir() and any(target.iterdir()))
    if exists and not replace:
        raise ArtifactError(
            f"{target} exists already; name another directory, or replace it (--replace)"
        )
    path = target.with_name(f"{target.name}.part")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise ArtifactError(f"{path} can't be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(
                f"{path} is in use: {target} is being fetched by another process; wait for it"
            ) from None
        _drop_other_source(path, source)
        try:
            yield path
        except ChecksumError:
            shutil.rmtree(path)
            raise
        except BaseException:
            if {entry.name for entry in path.iterdir()} <= {_SOURCE, _LOCK}:
                shutil.rmtree(path)
            raise
        for entry in path.glob(".*"):  # the note, the lock, and an archive that was unpacked
            entry.unlink()
        put_in_place(path, target)


def _drop_other_source(path: Path, source: str) -> None:
    """Empty a staging directory in which another source was fetched."""
    note = path / _SOURCE
    if note.exists() and note.read_text(encoding="utf-8") == source:
        return
    for entry in path.iterdir():
        if entry.name != _LOCK:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    note.write_text(source, encoding="utf-8")
