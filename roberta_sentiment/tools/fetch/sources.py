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
_CHECKSUM = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""Names of files in a hub's cache are checksums."""


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
        ArtifactError: it does not exist, can't be reached, or is no source.
    """
    if source.startswith(HUB):
        return _read_hub(source)
    try:
        parts = urlsplit(source)
    except ValueError:
        raise ArtifactError(f"{source!r} is no address: {_KINDS}") from None
    if parts.scheme in ("http", "https"):
        name = Path(unquote(parts.path)).name
        items = {name: Item(source)}
        return Listing(items, redact_url(source), file=name)
    if parts.scheme not in ("", "file"):
        raise ArtifactError(f"{source!r} is no source; {_KINDS}")
    path = Path(unquote(parts.path) if parts.scheme else source).expanduser()
    if path.is_dir():
        return read_directory(path)
    if not path.is_file():
        raise ArtifactError(
            f"{path} does not exist; a hub's repository is named hf:organisation/name"
        )
    stem = glob.escape(path.stem)
    weights = _read_files(path.parent, f"{stem}.*", f"{stem}{glob.escape(path.suffix)}_*")
    return Listing({**weights, path.name: Item(path)}, f"file {path.name}", file=path.name)


_KINDS = "give zoo, hf:organisation/name, an http(s) address, or a local file or directory"


def read_directory(path: Path, *patterns: str, origin: str = "") -> Listing:
    """List a directory and the folders in it, or what matches patterns."""
    items = _read_files(path, *(patterns or ("*", "*/*")))
    return Listing(items, origin or f"directory {path.resolve().name}")


def _read_files(root: Path, *patterns: str) -> dict[str, Item]:
    """Files that match; hidden ones and links that lead out are left out."""
    found = {}
    for file in sorted(path for pattern in patterns for path in root.glob(pattern)):
        name = file.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and _is_within(file, root):
            blob = file.resolve().name if file.is_symlink() else ""
            found[name.as_posix()] = Item(file, checksum=blob if _CHECKSUM.fullmatch(blob) else "")
    return found


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
        ChecksumError: it is no such archive, is damaged, or names a file outside of itself.
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
            raise ChecksumError(f"{name} is no whole .tar or .tar.gz archive: {error}") from None
        entries = [entry for entry in Path(folder).iterdir() if not entry.name.startswith(".")]
        top = entries[0] if len(entries) == 1 and entries[0].is_dir() else Path(folder)
        yield read_directory(top, "**/*", origin=origin)


def is_offline() -> bool:
    """Whether the user forbids the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def _read_hub(source: str) -> Listing:
    """List "hf:organisation/name[@revision]"; offline, what huggingface_hub's cache has of it."""
    from huggingface_hub.errors import HFValidationError

    repository, _, revision = source.removeprefix(HUB).partition("@")
    try:
        return (_list_cache if is_offline() else _list_hub)(repository, revision or None)
    except HFValidationError as error:
        raise ArtifactError(f"{source} is no name of a repository: {first_line(error)}") from None


def _list_cache(repository: str, revision: str | None) -> Listing:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    cache = constants.HF_HUB_CACHE
    try:
        root = Path(
            snapshot_download(repository, revision=revision, cache_dir=cache, local_files_only=True)
        )
    except LocalEntryNotFoundError:
        raise ArtifactError(
            f"HF_HUB_OFFLINE is set, and the cache does not hold {HUB}{repository}"
            f"@{revision or 'main'}. Fetch it where there is network, and copy the model directory "
            "or the cache (HF_HOME) here"
        ) from None
    return read_directory(root, "**/*", origin=f"{HUB}{repository}@{root.name}")


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
    from httpx2 import HTTPError, InvalidURL, ProxyError
    from huggingface_hub import errors

    hub, at = api.endpoint, f"{HUB}{repository}" + (f"@{revision}" if revision else "")
    log_in = (
        f"accept its conditions at {hub}/{repository}, and set HF_TOKEN to a token that may read it"
    )
    try:
        return api.model_info(repository, revision=revision, files_metadata=True)
    except errors.GatedRepoError:
        reason = f"{at} is gated: {log_in}"
    except errors.RepositoryNotFoundError:
        reason = (
            f"{at} is not at {hub}, or is private; mind the spelling. If it is private or gated: "
            f"{log_in}"
        )
    except errors.RevisionNotFoundError:
        reason = f"{HUB}{repository} has no revision {revision!r}; name a branch, a tag or a commit"
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        way_out = log_in if code in (401, 403) else "try again later"
        reason = f"{hub} answers {code} for {at}; {way_out}"
    except ProxyError:
        reason = f"the proxy to {hub} can't be used; see HTTPS_PROXY and NO_PROXY"
    except (HTTPError, InvalidURL, ConnectionError) as error:
        reason = (
            f"{hub} can't be reached ({first_line(error)}). A mirror is named by HF_ENDPOINT. "
            f"{ELSEWHERE} (docs/fetch.md)"
        )
    except errors.HFValidationError:
        raise
    except (ValueError, TypeError, KeyError):
        reason = f"{hub} gives no list of {at} that can be read; is it a hub? (HF_ENDPOINT)"
    raise ArtifactError(reason)
