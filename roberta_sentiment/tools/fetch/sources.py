"""What a source holds: a repository of a hub, a directory, an archive, a file or an address.

Endpoint, token, proxies and offline mode of a hub are those of huggingface_hub: HF_ENDPOINT,
HF_TOKEN, HTTPS_PROXY, HF_HUB_OFFLINE, HF_HOME.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import gzip
import logging
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from roberta_sentiment.errors import ArtifactError, ChecksumError, first_line
from roberta_sentiment.tools.fetch.download import ELSEWHERE, Item, check_space, redact_url

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

logger = logging.getLogger(__name__)

HUB = "hf:"
ARCHIVES = (".tar.gz", ".tgz", ".tar")
_KINDS = "give zoo, hf:organisation/name, an http(s) address, or a local file or directory"
_CHECKSUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""Names of files in a hub's cache are checksums."""
_LOG_IN = "accept its conditions at {hub}/{name}, and set HF_TOKEN to a token that may read it"
_REFUSALS = {
    "GatedRepoError": f"{{at}} is gated: {_LOG_IN}",
    "RepositoryNotFoundError": (
        "{at} is not at {hub}, or is private; mind the spelling. If it is private or gated: "
        + _LOG_IN
    ),
    "RevisionNotFoundError": "{at} has no revision {revision!r}; name a branch, a tag or a commit",
    "HfHubHTTPError": f"{{hub}} refuses {{at}} ({{error}}); try again later, or {_LOG_IN}",
    "LocalEntryNotFoundError": (
        "HF_HUB_OFFLINE is set, and the cache does not hold {at}. Fetch it where there is network, "
        "and copy the model directory or the cache (HF_HOME) here"
    ),
    "HFValidationError": "{at} is not the name of a repository: {error}",
    "ProxyError": "the proxy to {hub} can't be used; see HTTPS_PROXY and NO_PROXY",
    **dict.fromkeys(
        ("HTTPError", "InvalidURL", "ConnectionError"),
        "{hub} can't be reached ({error}). A mirror is named by HF_ENDPOINT. "
        f"{ELSEWHERE} (docs/fetch.md)",
    ),
    "Exception": "{hub} gives no list of {at} that can be read; is it a hub? (HF_ENDPOINT)",
}
"""By the name of the error's class, or of the nearest class that it is derived from."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        items: by their path at the source, with forward slashes.
        origin: where that is, in words, for the manifest.
        licence: as the source states it, else empty.
        file: the only file that the source names, else empty.
    """

    items: Mapping[str, Item]
    origin: str
    licence: str = ""
    file: str = ""


def read_source(source: str) -> Listing:
    """List what lies at a source; an archive and an address are one file.

    Raises:
        ArtifactError: it does not exist, can't be reached, or is not a source.
    """
    if source.startswith(HUB):
        repository, _, revision = source.removeprefix(HUB).partition("@")
        return (_list_cache if is_offline() else _list_hub)(repository, revision or None)
    try:
        parts = urlsplit(source)
    except ValueError:
        raise ArtifactError(f"{source!r} is not an address: {_KINDS}") from None
    if parts.scheme in ("http", "https"):
        name = Path(unquote(parts.path)).name
        return Listing({name: Item(source)}, redact_url(source), file=name)
    if parts.scheme not in ("", "file"):
        raise ArtifactError(f"{source!r} is not a source; {_KINDS}")
    path = Path(unquote(parts.path) if parts.scheme else source).expanduser()
    if path.is_dir():
        return _list_directory(path, "*", "*/*", origin=f"directory {path.resolve().name}")
    if not path.is_file():
        raise ArtifactError(
            f"{path} does not exist; a hub's repository is named hf:organisation/name"
        )
    stem = glob.escape(path.stem)
    weights = (f"{stem}.*", f"{stem}{glob.escape(path.suffix)}_*")
    beside = _list_directory(path.parent, *weights, origin=f"file {path.name}")
    return dataclasses.replace(
        beside, items={**beside.items, path.name: Item(path)}, file=path.name
    )


def _list_directory(root: Path, *patterns: str, origin: str) -> Listing:
    """Files that match; hidden ones and links that lead out are left out."""
    found = {}
    for file in sorted(path for pattern in patterns for path in root.glob(pattern)):
        name = file.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and _is_within(file, root):
            blob = file.resolve().name if file.is_symlink() else ""
            found[name.as_posix()] = Item(file, checksum=blob if _CHECKSUM.fullmatch(blob) else "")
    return Listing(found, origin)


def _is_within(file: Path, directory: Path) -> bool:
    """Whether a file lies in a directory, or in the store of a Hugging Face cache around it."""
    root = directory.resolve()
    if root.parent.name == "snapshots":
        root = root.parent.parent
    if file.resolve().is_relative_to(root):
        return True
    logger.warning("%s is left out: it is a link that leads out of %s", file, directory)
    return False


@contextlib.contextmanager
def unpack(path: Path, origin: str) -> Iterator[Listing]:
    """Unpack a tar archive beside it for a while; a single folder at its top is left out of names.

    Only plain files are unpacked, no links and no devices.

    Raises:
        ArtifactError: the disk is too small.
        ChecksumError: it is not such an archive, is damaged, or names a file outside of itself.
    """
    name = path.name.lstrip(".")

    def plain_files(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        if member.isfile() and member.name.startswith("/"):
            raise tarfile.AbsolutePathError(member)
        return tarfile.data_filter(member, folder) if member.isfile() else None

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacked-") as folder:
        try:
            with tarfile.open(path) as archive:
                check_space(path.parent, sum(member.size for member in archive))
                archive.extractall(folder, filter=plain_files)  # noqa: S202  plain files within it
        except tarfile.FilterError as error:
            raise ChecksumError(
                f"{name} names a file outside of itself, {error.tarinfo.name!r}; nothing was used"
            ) from None
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ChecksumError(f"{name} is not a complete archive: {error}") from None
        entries = [entry for entry in Path(folder).iterdir() if not entry.name.startswith(".")]
        top = entries[0] if len(entries) == 1 and entries[0].is_dir() else Path(folder)
        yield _list_directory(top, "**/*", origin=origin)


def is_offline() -> bool:
    """Whether the user forbids the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _list_cache(repository: str, revision: str | None) -> Listing:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    cache = constants.HF_HUB_CACHE
    try:
        root = Path(
            snapshot_download(repository, revision=revision, cache_dir=cache, local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise _refusal(error, "the cache", repository, revision) from None
    return _list_directory(root, "**/*", origin=f"{HUB}{repository}@{root.name}")


def _list_hub(repository: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi, constants, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    hub = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    info = _model_info(HfApi(endpoint=hub), repository, revision)
    token = {k: v for k, v in build_hf_headers().items() if k.lower() == "authorization"}

    def item(file: RepoSibling) -> Item:
        cached = try_to_load_from_cache(repository, file.rfilename, revision=info.sha)
        url = hf_hub_url(repository, file.rfilename, revision=info.sha, endpoint=hub)
        location = Path(cached) if isinstance(cached, str) else url
        checksum = file.lfs.sha256 if file.lfs else file.blob_id
        return Item(location, headers=token, size=file.size, checksum=checksum or "")

    licence = info.card_data.get("license") if info.card_data else None
    return Listing(
        {file.rfilename: item(file) for file in info.siblings or ()},
        origin=f"{HUB}{repository}@{info.sha}",
        licence=licence if isinstance(licence, str) else "",
    )


def _model_info(api: Any, repository: str, revision: str | None) -> Any:
    from httpx2 import HTTPError, InvalidURL

    try:
        return api.model_info(repository, revision=revision, files_metadata=True)
    except (HTTPError, InvalidURL, ConnectionError, ValueError, TypeError, KeyError) as error:
        raise _refusal(error, api.endpoint, repository, revision) from None


def _refusal(error: Exception, hub: str, repository: str, revision: str | None) -> ArtifactError:
    kinds = (kind.__name__ for kind in type(error).__mro__)
    sentence = next(_REFUSALS[kind] for kind in kinds if kind in _REFUSALS)
    facts = {"hub": hub, "name": repository, "revision": revision, "error": first_line(error)}
    at = f"{HUB}{repository}" + (f"@{revision}" if revision else "")
    return ArtifactError(sentence.format(at=at, **facts))
