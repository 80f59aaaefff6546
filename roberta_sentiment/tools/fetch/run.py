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


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be asked for beside a source and a target.

    Attributes:
        sha256: of the graph, of the weights, or of the archive; empty if not known.
        tokenizer: local directory or "hf:organisation/name" with tokenizer and config.json.
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
    """Write a model directory with a manifest atomically.

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
    if options.sha256 and not re.fullmatch(r"[0-9a-f]{64}", options.sha256):
        raise ArtifactError(
            f"--sha256 is {options.sha256!r}; it takes the 64 hexadecimal digits of a file"
        )
    with staging_dir(target, source, replace=options.replace) as path:
        run = _Run(path, options, progress)
        model = run.published() if source == _ZOO else run.model(read_source(source))
        run.complete(model)
        facts = {"name": options.name, "licence": options.licence}
        precision = describe(path, model.main, model.listing, facts, default_name=target.name)
        sha256 = sha256_of(path / model.main)
    refused = why_refused(target) if model.is_graph else ""
    return Fetched(model.main, model.is_graph, sha256, precision, refused)


@dataclasses.dataclass(frozen=True)
class _Model:
    """What was fetched: path in the model directory to path at the source, the main one first."""

    listing: Listing
    files: Mapping[str, str]

    @property
    def main(self) -> str:
        return next(iter(self.files))

    @property
    def is_graph(self) -> bool:
        return self.main.endswith(".onnx")


@dataclasses.dataclass(frozen=True)
class _Run:
    path: Path
    options: Options
    progress: Progress

    def model(self, listing: Listing) -> _Model:
        """Download a model, or an archive and what is chosen of it."""
        if listing.file.endswith(ARCHIVES):
            return self._archived(listing)
        if listing.file:
            _refuse_bare(listing, self.options)
        return self._chosen(listing, listing.file or self.options.file, self.options.sha256)

    def published(self) -> _Model:
        """Download the published graph from the first location that has it."""
        refused: list[ArtifactError] = []
        for source, file in zoo.LOCATIONS:
            try:
                if not source.startswith(HUB) and sources.is_offline():
                    raise ArtifactError(f"{source} was not asked, as HF_HUB_OFFLINE is set")
                listing = read_source(source)
                if file not in listing.items:
                    raise ArtifactError(f"{source} has no file {file}")
                item = dataclasses.replace(
                    _expect(listing.items[file], zoo.SHA256, zoo.FILE), size=zoo.SIZE
                )
                found = Listing({zoo.FILE: item}, f"{listing.origin}/{file}")
                return self._chosen(found, zoo.FILE, self.options.sha256)
            except ArtifactError as error:
                refused.append(error)
        reasons = "; ".join(dict.fromkeys(error.message for error in refused))
        damaged = any(isinstance(error, ChecksumError) for error in refused)
        raise (ChecksumError if damaged else ArtifactError)(
            f"the published graph was found at none of {len(refused)} locations: {reasons}"
        )

    def complete(self, model: _Model) -> None:
        """Add tokenizer and configuration where the source has none, or the user names others."""
        for name in {*TOKENIZER_FILES, CONFIG, MANIFEST}.difference(model.files):
            (self.path / name).unlink(missing_ok=True)  # an earlier run has added it
        known = is_published(self.path / model.main)
        source = self.options.tokenizer or (f"{HUB}{zoo.TOKENIZER}" if known else "")
        wanted = () if has_tokenizer(model.files) else TOKENIZER_FILES
        if wanted and not source:
            raise ArtifactError(
                f"{model.listing.origin} has no tokenizer (tokenizer.json, or vocab.json with "
                "merges.txt, or vocab.txt); name its directory or repository (--tokenizer)"
            )
        if CONFIG not in model.files and not known:
            wanted = (*wanted, CONFIG)
        if source and wanted:
            self._add(source, wanted)
        if CONFIG not in model.files and known:
            text = json.dumps(zoo.CONFIG, indent=2) + "\n"
            (self.path / CONFIG).write_text(text, encoding="utf-8")

    def _add(self, source: str, names: Iterable[str]) -> None:
        if not (source.startswith(HUB) or Path(source).expanduser().is_dir()):
            raise ArtifactError(f"the directory {source} does not exist (--tokenizer)")
        listing = read_source(source)
        files = companions(listing.items, wanted=names)
        self._download(listing.items, files)
        if not has_tokenizer(path.name for path in self.path.iterdir()):
            raise ArtifactError(
                f"{source} has neither tokenizer.json nor vocab.json with merges.txt (--tokenizer)"
            )

    def _archived(self, listing: Listing) -> _Model:
        """It stays in the staging directory to the end, for a run that must be repeated."""
        item = _expect(listing.items[listing.file], self.options.sha256, listing.file)
        self._download({listing.file: item}, {f".{listing.file}": listing.file})
        with sources.unpack(self.path / f".{listing.file}", listing.origin) as content:
            return self._chosen(content, self.options.file, sha256="")

    def _chosen(self, listing: Listing, file: str, sha256: str) -> _Model:
        """Choose the files of a model and download them."""
        files = choose(
            listing.items, listing.origin, file=file, include_pytorch=self.options.include_pytorch
        )
        if self.options.tokenizer:
            files = {name: path for name, path in files.items() if name not in TOKENIZER_FILES}
        main, path = next(iter(files.items()))
        items = {**listing.items, path: _expect(listing.items[path], sha256, main)}
        self._download(items, files)
        if main.endswith(".onnx"):
            beside = {
                name: str(PurePosixPath(path).parent / name)
                for name in external_files(self.path / main)
                if is_inner_path(name)
            }
            weights = {name: path for name, path in beside.items() if path in items}
            self._download(items, weights)
            files |= weights
        return _Model(listing, files)

    def _download(self, items: Mapping[str, Item], files: Mapping[str, str]) -> None:
        for name, path in files.items():
            item = items[path]
            if item.size is None:
                item = dataclasses.replace(item, max_bytes=self.options.max_bytes)
            download(item, self.path / name, self.progress)


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
