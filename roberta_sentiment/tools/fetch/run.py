"""From a source to a model directory: select, download, complete, describe, then name it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from rich.progress import Progress

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.graph.structure import external_files
from roberta_sentiment.model.integrity import sha256_of
from roberta_sentiment.model.layout import (
    CONFIG,
    MANIFEST,
    TOKENIZER_FILES,
    has_tokenizer,
    is_inner_path,
)
from roberta_sentiment.tools.fetch import sources, zoo
from roberta_sentiment.tools.fetch.choose import PICKLES, choose, companions
from roberta_sentiment.tools.fetch.describe import describe, is_published, why_refused
from roberta_sentiment.tools.fetch.download import MAX_BYTES, Item, download
from roberta_sentiment.tools.fetch.sources import ARCHIVES, HUB, Listing, read_source
from roberta_sentiment.tools.fetch.staging import staging_dir

_ZOO = "zoo"
_SINGLE = (".onnx", ".safetensors", *PICKLES)

_Files = dict[str, str]
"""Path in the model directory to path at the source; the graph or the weights come first."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be asked for beside a source and a target: the options of the command."""

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
        sha256: of that file.
        precision: of the graph, or "unknown".
        refused: why a server with default settings would not start with it; empty if it would.
    """

    main: str
    sha256: str
    precision: str
    refused: str

    @property
    def is_graph(self) -> bool:
        """Whether it can be served without `convert`."""
        return self.main.endswith(".onnx")


def fetch(source: str, target: Path, options: Options, progress: Progress) -> Fetched:
    """Write a model directory with a manifest atomically.

    Args:
        source: "zoo", "hf:organisation/name[@revision]", an address of a file, or a local path.
        target: directory to write.
        options: what else is asked for.
        progress: shows how far it is.

    Raises:
        ArtifactError: the source or a file can't be had, or it is not a model. What has arrived
            stays in TARGET.part, and the next run resumes there.
        ChecksumError: a file is not what was expected; nothing is kept.
    """
    if options.sha256 and not re.fullmatch(r"[0-9a-f]{64}", options.sha256):
        raise ArtifactError(
            f"--sha256 is {options.sha256!r}; it takes the 64 hexadecimal digits of a file"
        )
    with staging_dir(target, source, replace=options.replace) as path:
        run = _Run(path, options, progress)
        listing, files = run.published() if source == _ZOO else run.model(read_source(source))
        run.complete(files, listing.origin)
        given, main = {"name": options.name, "licence": options.licence}, next(iter(files))
        precision = describe(path, main, listing, given, default_name=target.name)
    refused = why_refused(target) if main.endswith(".onnx") else ""
    return Fetched(main, sha256_of(target / main), precision, refused)


@dataclasses.dataclass(frozen=True)
class _Run:
    path: Path
    options: Options
    progress: Progress

    def model(self, listing: Listing) -> tuple[Listing, _Files]:
        """Download a model, or an archive and what is chosen of it."""
        only, options = listing.file, self.options
        if only.endswith(ARCHIVES):
            # It stays in the staging directory to the end, for a run that must be repeated.
            item = _expect(listing.items[only], options.sha256, only)
            self._download({only: item}, {f".{only}": only})
            with sources.unpack(self.path / f".{only}", listing.origin) as content:
                return listing, self._chosen(content, options.file, sha256="")
        if only:
            _refuse_bare(listing, options)
        return listing, self._chosen(listing, only or options.file, options.sha256)

    def published(self) -> tuple[Listing, _Files]:
        """Download the published graph from the first location that has it."""
        refused: list[ArtifactError] = []
        for source, file in zoo.LOCATIONS:
            try:
                if not source.startswith(HUB) and sources.is_offline():
                    raise ArtifactError(f"{source} was not asked, as HF_HUB_OFFLINE is set")
                listing = read_source(source)
                if file not in listing.items:
                    raise ArtifactError(f"{source} has no file {file}")
                item = _expect(listing.items[file], zoo.SHA256, zoo.FILE)
                items = {zoo.FILE: dataclasses.replace(item, size=zoo.SIZE)}
                found = Listing(items, f"{listing.origin}/{file}")
                return found, self._chosen(found, zoo.FILE, self.options.sha256)
            except ArtifactError as error:
                refused.append(error)
        reasons = "; ".join(dict.fromkeys(error.message for error in refused))
        damaged = any(isinstance(error, ChecksumError) for error in refused)
        raise (ChecksumError if damaged else ArtifactError)(
            f"the published graph was found at none of {len(refused)} locations: {reasons}"
        )

    def complete(self, files: _Files, origin: str) -> None:
        """Add tokenizer and configuration where the source has none, or the user names others."""
        for name in {*TOKENIZER_FILES, CONFIG, MANIFEST}.difference(files):
            (self.path / name).unlink(missing_ok=True)  # an earlier run has added it
        known = is_published(self.path / next(iter(files)))
        source = self.options.tokenizer or (f"{HUB}{zoo.TOKENIZER}" if known else "")
        wanted = () if has_tokenizer(files) else TOKENIZER_FILES
        if wanted and not source:
            raise ArtifactError(
                f"{origin} has no tokenizer (tokenizer.json, or vocab.json with merges.txt, or "
                "vocab.txt); name its directory or repository (--tokenizer)"
            )
        if CONFIG not in files and known:
            text = json.dumps(zoo.CONFIG, indent=2) + "\n"
            (self.path / CONFIG).write_text(text, encoding="utf-8")
        elif CONFIG not in files:
            wanted = (*wanted, CONFIG)
        if source and wanted:
            self._add(source, wanted)

    def _add(self, source: str, names: Iterable[str]) -> None:
        if not (source.startswith(HUB) or Path(source).expanduser().is_dir()):
            raise ArtifactError(f"the directory {source} does not exist (--tokenizer)")
        listing = read_source(source)
        self._download(listing.items, companions(listing.items, wanted=names))
        if not has_tokenizer(path.name for path in self.path.iterdir()):
            raise ArtifactError(
                f"{source} has neither tokenizer.json nor vocab.json with merges.txt (--tokenizer)"
            )

    def _chosen(self, listing: Listing, file: str, sha256: str) -> _Files:
        """Choose the files of a model and download them."""
        files = choose(
            listing.items, listing.origin, file=file, include_pytorch=self.options.include_pytorch
        )
        if self.options.tokenizer:
            files = {name: path for name, path in files.items() if name not in TOKENIZER_FILES}
        main, path = next(iter(files.items()))
        items = {**listing.items, path: _expect(listing.items[path], sha256, main)}
        self._download(items, files)
        if not main.endswith(".onnx"):
            return files
        inner = filter(is_inner_path, external_files(self.path / main))
        beside = {name: str(PurePosixPath(path).parent / name) for name in inner}
        weights = {name: path for name, path in beside.items() if path in items}
        self._download(items, weights)
        return files | weights

    def _download(self, items: Mapping[str, Item], files: Mapping[str, str]) -> None:
        for name, path in files.items():
            download(items[path], self.path / name, self.progress, self.options.max_bytes)


def _refuse_bare(listing: Listing, options: Options) -> None:
    """A single graph needs a tokenizer; say so before half a gigabyte is on its way."""
    if not listing.file.endswith(_SINGLE):
        raise ArtifactError(
            f"{listing.origin} ends neither in {', '.join(_SINGLE)} nor in {', '.join(ARCHIVES)}; "
            "for a hub's repository give hf:organisation/name"
        )
    if not options.tokenizer and listing.file != zoo.FILE:
        raise ArtifactError(
            f"{listing.file} comes alone, but a model needs its tokenizer and config.json: name "
            "their directory or repository (--tokenizer DIR or --tokenizer hf:organisation/name)"
        )


def _expect(item: Item, sha256: str, name: str) -> Item:
    """The item with a checksum, unless its source already states another one."""
    if not sha256:
        return item
    if len(item.checksum) == len(sha256) and item.checksum != sha256:
        raise ChecksumError(
            f"{name} has sha256 {item.checksum[:12]}... at its source, but {sha256[:12]}... was "
            "expected: it is another file, and it was not fetched"
        )
    return dataclasses.replace(item, checksum=sha256)
