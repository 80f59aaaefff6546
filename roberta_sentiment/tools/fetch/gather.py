"""Get the files of a model from wherever they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.progress import Progress

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.graph.structure import external_files
from roberta_sentiment.tools.fetch import hub, local, zoo
from roberta_sentiment.tools.fetch.choose import PICKLES, Choice, choose, external
from roberta_sentiment.tools.fetch.download import obtain, shown
from roberta_sentiment.tools.fetch.item import Item, Listing, local_item
from roberta_sentiment.tools.fetch.options import Options

ZOO, HUB = "zoo", "hf:"
_WEB = ("http", "https")
_SINGLE = (".onnx", ".safetensors", *PICKLES)


@dataclasses.dataclass(frozen=True)
class Taken:
    """What was got: the listing of the source, and which files of it."""

    listing: Listing
    choice: Choice


class Gatherer:
    """Gets files into one directory.

    Args:
        path: that directory.
        options: what was asked for.
        progress: shows how far it is.
    """

    def __init__(self, path: Path, options: Options, progress: Progress) -> None:
        self.path = path
        self.options = options
        self._progress = progress

    def get(self, source: str) -> Taken:
        """Get the model and what lies with it.

        Raises:
            ArtifactError: the source is none, or a file can't be had.
            ChecksumError: a file is not what was expected.
        """
        if source == ZOO:
            return self._get_published()
        if source.startswith(HUB):
            return self._take(read_hub(source), source, self.options.file)
        parts = urlsplit(source)
        if parts.scheme in _WEB:
            return self._get_address(source, Path(unquote(parts.path)).name)
        if parts.scheme not in ("", "file"):
            raise ArtifactError(
                f"{source!r} is no source; give zoo, hf:organisation/name, an http(s) address, or "
                "a local file or directory"
            )
        return self._get_local(Path(unquote(parts.path) if parts.scheme else source).expanduser())

    def get_all(self, items: Mapping[str, Item], files: Mapping[str, str]) -> None:
        """Get files.

        Args:
            items: what the source holds.
            files: path in the directory to path at the source.
        """
        for name, path in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            obtain(items[path], target, self._progress, self.options.max_bytes)

    def _get_published(self) -> Taken:
        """Try each place where the published graph may be found."""
        refused: list[ArtifactError] = []
        for place in zoo.MODEL.places:
            try:
                return self._take(_published(place), ZOO, zoo.MODEL.file)
            except ArtifactError as error:
                refused.append(error)
        reasons = "; ".join(dict.fromkeys(error.message for error in refused))
        damaged = any(isinstance(error, ChecksumError) for error in refused)
        raise (ChecksumError if damaged else ArtifactError)(
            f"the published graph was found at none of {len(refused)} places: {reasons}"
        )

    def _get_address(self, url: str, name: str) -> Taken:
        origin = shown(url)
        if local.is_archive(name):
            return self._get_archive(Item(url=url), name, origin)
        if not name.endswith(_SINGLE):
            raise ArtifactError(
                f"{origin} ends neither in {', '.join(_SINGLE)} nor in {', '.join(local.ARCHIVES)};"
                " for a hub's repository give hf:organisation/name"
            )
        self._refuse_bare(name)
        return self._take(Listing({name: Item(url=url)}, origin), origin, name)

    def _get_local(self, path: Path) -> Taken:
        if path.is_dir():
            return self._take(local.read_directory(path), str(path), self.options.file)
        if not path.is_file():
            raise ArtifactError(
                f"{path} does not exist; a hub's repository is named hf:organisation/name"
            )
        if local.is_archive(path.name):
            return self._get_archive(local_item(path), path.name, f"file {path.name}")
        self._refuse_bare(path.name)
        return self._take(local.read_file(path), str(path), path.name)

    def _get_archive(self, item: Item, name: str, origin: str) -> Taken:
        """Get an archive, whose checksum `--sha256` is, and what was chosen from it.

        It stays in the workplace to the end, for a run that must be repeated.
        """
        archive = self.path / f".{name}"
        expected = _expected(item, self.options.sha256, name)
        obtain(expected, archive, self._progress, self.options.max_bytes)
        with local.open_archive(archive, origin) as listing:
            choice = self._choose(listing, origin, self.options.file)
            return self._get_chosen(listing, choice)

    def _take(self, listing: Listing, where: str, file: str) -> Taken:
        choice = self._choose(listing, where, file)
        main = choice.files[choice.main]
        item = _expected(listing.items[main], self.options.sha256, choice.main)
        expected = dataclasses.replace(listing, items={**listing.items, main: item})
        return self._get_chosen(expected, choice)

    def _get_chosen(self, listing: Listing, choice: Choice) -> Taken:
        """Get what was chosen, and the weights that the graph keeps in other files."""
        self.get_all(listing.items, choice.files)
        wanted = external_files(self.path / choice.main) if choice.is_graph else []
        weights = external(listing.items, choice.files[choice.main], wanted)
        self.get_all(listing.items, weights)
        return Taken(listing, dataclasses.replace(choice, files={**choice.files, **weights}))

    def _choose(self, listing: Listing, where: str, file: str) -> Choice:
        pickles = self.options.include_pytorch
        return choose(listing.items, where=where, file=file, include_pytorch=pickles)

    def _refuse_bare(self, name: str) -> None:
        """A single graph needs a tokenizer; say so before half a gigabyte is on its way."""
        if not self.options.tokenizer and name != zoo.MODEL.file:
            raise ArtifactError(
                f"{name} comes alone, but a model needs its tokenizer and config.json: name their "
                "directory or repository (--tokenizer DIR or --tokenizer hf:organisation/name)"
            )


def read_hub(source: str) -> Listing:
    """List "hf:organisation/name[@revision]"."""
    repository, _, revision = source.removeprefix(HUB).partition("@")
    return hub.read(repository, revision)


def _published(place: zoo.Place) -> Listing:
    """A listing with the published graph alone, under its own name."""
    if place.url:
        if hub.is_offline():
            raise ArtifactError(f"{place.url} was not asked, as HF_HUB_OFFLINE is set")
        item, origin = Item(url=place.url), place.url
    else:
        listing = hub.read(place.repository)
        if place.path not in listing.items:
            raise ArtifactError(f"hf:{place.repository} has no file {place.path}")
        item, origin = listing.items[place.path], f"{listing.origin}/{place.path}"
    item = _expected(item, zoo.MODEL.sha256, zoo.MODEL.file)
    item = dataclasses.replace(item, size=zoo.MODEL.size)
    return Listing({zoo.MODEL.file: item}, origin, zoo.MODEL.licence)


def _expected(item: Item, sha256: str, name: str) -> Item:
    """The item with a checksum, unless its source says beforehand that it has another one."""
    if not sha256:
        return item
    if item.sha256 and item.sha256 != sha256:
        raise ChecksumError(
            f"{name} has sha256 {item.sha256[:12]}... at its source, but {sha256[:12]}... was "
            "expected: it is another file, and it was not fetched"
        )
    return dataclasses.replace(item, sha256=sha256)
