"""A repository of a Hugging Face hub: its list of files, with their checksums.

Endpoint, token, proxies and offline mode are those of huggingface_hub: HF_ENDPOINT, HF_TOKEN,
HTTPS_PROXY, HF_HUB_OFFLINE, HF_HOME.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.tools.fetch.item import Item, Listing

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


def read(repository: str, revision: str = "") -> Listing:
    """List a repository; offline, list what huggingface_hub's cache holds of it.

    Args:
        repository: "organisation/name".
        revision: branch, tag or commit; by default the main branch.

    Raises:
        ArtifactError: it does not exist, is not to be read, or can't be reached.
    """
    return (_read_cache if is_offline() else _read_hub)(repository, revision)


def is_offline() -> bool:
    """Whether the user forbids the network (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


def endpoint() -> str:
    """Address of the hub."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _read_hub(repository: str, revision: str) -> Listing:
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    info = _info(HfApi(endpoint=endpoint()), repository, revision)
    headers = {k: v for k, v in build_hf_headers().items() if k.lower() == "authorization"}
    commit = str(info.sha)

    def item(sibling: RepoSibling) -> Item:
        cached = _cached(repository, sibling.rfilename, commit)
        return Item(
            url=hf_hub_url(repository, sibling.rfilename, revision=commit, endpoint=endpoint()),
            headers=headers,
            open=(lambda: cached.open("rb")) if cached else None,
            size=sibling.size,
            sha256=sibling.lfs.sha256 if sibling.lfs else None,
            git_sha1=None if sibling.lfs else sibling.blob_id,
        )

    licence = info.card_data.get("license") if info.card_data else None
    return Listing(
        items={sibling.rfilename: item(sibling) for sibling in info.siblings or ()},
        origin=f"hf:{repository}@{commit}",
        licence=licence if isinstance(licence, str) else "",
    )


def _info(api: Any, repository: str, revision: str) -> Any:
    from httpx2 import HTTPError, InvalidURL, ProxyError
    from huggingface_hub import errors

    at = f"hf:{repository}" + (f"@{revision}" if revision else "")
    try:
        return api.model_info(repository, revision=revision or None, files_metadata=True)
    except errors.HFValidationError as error:
        raise ArtifactError(f"{at} is no name of a repository: {_first_line(error)}") from None
    except errors.GatedRepoError:
        raise ArtifactError(f"{at} is gated: {_log_in(repository)}") from None
    except errors.RepositoryNotFoundError:
        raise ArtifactError(
            f"{at} is not at {endpoint()}, or is private; mind the spelling. If it is private or "
            f"gated: {_log_in(repository)}"
        ) from None
    except errors.RevisionNotFoundError:
        raise ArtifactError(
            f"hf:{repository} has no revision {revision!r}; name a branch, a tag or a commit"
        ) from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        way_out = f": {_log_in(repository)}" if code in (401, 403) else "; try again later"
        raise ArtifactError(f"{endpoint()} answers {code} for {at}{way_out}") from None
    except ProxyError:
        raise ArtifactError(
            f"the proxy to {endpoint()} can't be used; see HTTPS_PROXY and NO_PROXY"
        ) from None
    except (HTTPError, InvalidURL, ConnectionError) as error:
        raise ArtifactError(
            f"{endpoint()} can't be reached ({_first_line(error)}). A mirror is named by "
            "HF_ENDPOINT. Without network, fetch the files elsewhere and give their directory as "
            "source (docs/fetch.md)"
        ) from None
    except (ValueError, TypeError, KeyError):
        raise ArtifactError(
            f"{endpoint()} gives no list of {at} that can be read; is it a hub? (HF_ENDPOINT)"
        ) from None


def _log_in(repository: str) -> str:
    return (
        f"accept its conditions at {endpoint()}/{repository}, and set HF_TOKEN to a token that "
        "may read it"
    )


def _cached(repository: str, file: str, commit: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _read_cache(repository: str, revision: str) -> Listing:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        kept = [repo for repo in scan_cache_dir().repos if repo.repo_id == repository]
    except CacheNotFound:
        kept = []
    wanted = revision or "main"
    for found in (found for repo in kept for found in repo.revisions):
        if wanted in found.refs or wanted == found.commit_hash:
            root = found.snapshot_path
            return Listing(
                items={
                    path.relative_to(root).as_posix(): _cached_item(path)
                    for path in sorted(root.rglob("*"))
                    if path.is_file()
                },
                origin=f"hf:{repository}@{found.commit_hash}",
            )
    raise ArtifactError(
        f"HF_HUB_OFFLINE is set, and the cache does not hold hf:{repository}@{wanted}. Fetch it "
        "where there is network, and copy the model directory or the cache (HF_HOME) here"
    )


def _cached_item(path: Path) -> Item:
    """A file of the cache, whose blob is named by its checksum."""
    blob = path.resolve().name
    return Item(
        open=lambda: path.open("rb"),
        size=path.stat().st_size,
        sha256=blob if _SHA256.fullmatch(blob) else None,
        git_sha1=blob if _SHA1.fullmatch(blob) else None,
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
