"""What a source holds: a repository of a hub, a directory, an archive, a file or an address.

Endpoint, token, proxies and offline mode of a hub are those of huggingface_hub: HF_ENDPOINT,
HF_TOKEN, HTTPS_PROXY, HF_HUB_OFFLINE, HF_HOME.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.tools.fetch.download import Item, check_space, explained

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

logger = logging.getLogger(__name__)

HUB = "hf:"
ARCHIVES = (".tar.gz", ".tgz", ".tar")
_DEPTH, _ANY_DEPTH = 2, 100
_BLOBS = {64: "sha256", 40: "git_sha1"}
"""Names of files in a hub's cache are checksums, known by their length."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        items: by their path at the source, with forward slashes.
        origin: where that is, in words, for the manifest.
        licence: as the source states it, else empty.
    """

    items: Mapping[str, Item]
    origin: str
    licence: str = ""


def read_directory(path: Path, origin: str = "", depth: int = _DEPTH) -> Listing:
    """List a directory and the folders in it; hidden ones and links that lead out are left out."""
    items = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not hidden and len(name.parts) <= depth and _is_within(file, path):
            items[name.as_posix()] = _local_item(file)
    return Listing(items, origin or f"directory {path.resolve().name}")


def read_file(path: Path) -> Listing:
    """List a file and those beside it whose names begin as its own does: external weights."""
    items = {
        file.name: _local_item(file)
        for file in sorted(path.parent.iterdir())
        if file.is_file()
        and file.name.startswith((f"{path.stem}.", f"{path.name}_"))
        and (file == path or _is_within(file, path.parent))
    }
    return Listing(items, origin=f"file {path.name}")


def _local_item(path: Path) -> Item:
    blob = path.resolve().name if path.is_symlink() else ""
    known = {_BLOBS[len(blob)]: blob} if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob) else {}
    return Item(path=path, size=path.stat().st_size, **known)  # type: ignore[arg-type]


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
        parts = PurePosixPath(member.name)
        if member.isfile() and (parts.is_absolute() or ".." in parts.parts):
            raise ChecksumError(
                f"{name} names a file outside of itself, {member.name!r}; nothing of it was used"
            )
        return tarfile.data_filter(member, folder) if member.isfile() else None

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacked-") as folder:
        try:
            with explained(path.parent), tarfile.open(path) as archive:
                check_space(path.parent, sum(member.size for member in archive))
                archive.extractall(folder, filter=plain_files)  # noqa: S202  plain files within it
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise ChecksumError(f"{name} is no whole .tar or .tar.gz archive: {error}") from None
        entries = [entry for entry in Path(folder).iterdir() if not entry.name.startswith(".")]
        top = entries[0] if len(entries) == 1 and entries[0].is_dir() else Path(folder)
        yield read_directory(top, origin, depth=_ANY_DEPTH)


def is_offline() -> bool:
    """Whether the user forbids the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def read_hub(source: str) -> Listing:
    """List a repository of a hub; offline, what huggingface_hub's cache holds of it.

    Args:
        source: "hf:organisation/name[@revision]"; by default the main branch.

    Raises:
        ArtifactError: it does not exist, may not be read, or can't be reached.
    """
    repository, _, revision = source.removeprefix(HUB).partition("@")
    return (_read_cache if is_offline() else _read_hub)(repository, revision)


def _read_cache(repository: str, revision: str) -> Listing:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = f"{HUB}{repository}@{revision or 'main'}"
    try:
        root = Path(
            snapshot_download(
                repository,
                revision=revision or None,
                cache_dir=constants.HF_HUB_CACHE,
                local_files_only=True,
            )
        )
    except HFValidationError as error:
        raise ArtifactError(f"{wanted} is no name of a repository: {_line(error)}") from None
    except LocalEntryNotFoundError:
        raise ArtifactError(
            f"HF_HUB_OFFLINE is set, and the cache does not hold {wanted}. Fetch it where there is "
            "network, and copy the model directory or the cache (HF_HOME) here"
        ) from None
    return read_directory(root, f"{HUB}{repository}@{root.name}", depth=_ANY_DEPTH)


def _read_hub(repository: str, revision: str) -> Listing:
    from huggingface_hub import HfApi, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    hub = _endpoint()
    info = _info(HfApi(endpoint=hub), hub, repository, revision)
    headers = {k: v for k, v in build_hf_headers().items() if k.lower() == "authorization"}
    commit = str(info.sha)

    def item(sibling: RepoSibling) -> Item:
        cached = try_to_load_from_cache(repository, sibling.rfilename, revision=commit)
        return Item(
            url=hf_hub_url(repository, sibling.rfilename, revision=commit, endpoint=hub),
            headers=headers,
            path=Path(cached) if isinstance(cached, str) else None,
            size=sibling.size,
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
            git_sha1=None if sibling.lfs else sibling.blob_id,
        )

    licence = info.card_data.get("license") if info.card_data else None
    return Listing(
        items={sibling.rfilename: item(sibling) for sibling in info.siblings or ()},
        origin=f"{HUB}{repository}@{commit}",
        licence=licence if isinstance(licence, str) else "",
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _info(api: Any, hub: str, repository: str, revision: str) -> Any:
    from httpx2 import HTTPError, InvalidURL, ProxyError
    from huggingface_hub import errors

    at = f"{HUB}{repository}" + (f"@{revision}" if revision else "")
    log_in = (
        f"accept its conditions at {hub}/{repository}, and set HF_TOKEN to a token that may read it"
    )
    try:
        return api.model_info(repository, revision=revision or None, files_metadata=True)
    except errors.HFValidationError as error:
        reason = f"{at} is no name of a repository: {_line(error)}"
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
        way_out = f": {log_in}" if code in (401, 403) else "; try again later"
        reason = f"{hub} answers {code} for {at}{way_out}"
    except ProxyError:
        reason = f"the proxy to {hub} can't be used; see HTTPS_PROXY and NO_PROXY"
    except (HTTPError, InvalidURL, ConnectionError) as error:
        reason = (
            f"{hub} can't be reached ({_line(error)}). A mirror is named by HF_ENDPOINT. Without "
            "network, fetch the files elsewhere and give their directory as source (docs/fetch.md)"
        )
    except (ValueError, TypeError, KeyError):
        reason = f"{hub} gives no list of {at} that can be read; is it a hub? (HF_ENDPOINT)"
    raise ArtifactError(reason)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
