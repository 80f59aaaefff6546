"""One file into a directory, over HTTP or from a disk, compared with what is known of it.

What has arrived stays as `NAME.part`, the server's validator beside it, and the next run asks for
the rest (RFC 9110). huggingface_hub 2.4 drops a partial file when a run ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from rich.progress import Progress, TaskID
from urllib3.util import Retry

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.model.integrity import sha256_of

MAX_BYTES = 2**31
"""Of a file whose size nobody has announced."""
RETRIES = 4
BACKOFF_S = 1.0
"""Before the second try; doubles with each further one."""
TIMEOUT_S = (10.0, 60.0)
"""For a connection, and for the next bytes."""
ELSEWHERE = "Without network, fetch the files elsewhere and give their directory as source"
_BUSY = (408, 429, 500, 502, 503, 504)
_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_OUT_OF_RANGE = 416
_LOCKED = (
    "is private or gated: accept its conditions on its web page, and set HF_TOKEN to a token that "
    "may read it"
)
_REFUSALS = {
    **dict.fromkeys(_BUSY, "can't be had now; run the same command again later to resume"),
    **dict.fromkeys((401, 403), _LOCKED),
    **dict.fromkeys((404, 410), "is not there"),
}
_UNREACHABLE: Mapping[type[Exception], str] = {
    requests.exceptions.ProxyError: "the proxy can't be used; see HTTPS_PROXY and NO_PROXY",
    requests.exceptions.SSLError: (
        "its certificate is not trusted; REQUESTS_CA_BUNDLE names one's own authority"
    ),
    requests.Timeout: "no answer in time",
    requests.ConnectionError: "no connection",
}


@dataclasses.dataclass(frozen=True)
class Item:
    """A file at its source.

    Attributes:
        location: its path on this machine, or its URL.
        headers: to send with the request, such as a token.
        size: bytes, if known.
        checksum: SHA-256, or Git's SHA-1 of 40 digits, by which a hub knows its small files.
    """

    location: Path | str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    size: int | None = None
    checksum: str = ""

    def check(self, path: Path, name: str) -> None:
        """Compare a file with what its source says of it.

        Raises:
            ChecksumError: size or checksum differ.
        """
        size, way_out = path.stat().st_size, "damaged or another file, which was not kept"
        if self.size not in (None, size):
            raise ChecksumError(f"{name} has {size} bytes, not the expected {self.size}: {way_out}")
        if not self.checksum:
            return
        kind, digest = ("sha256", sha256_of) if len(self.checksum) == 64 else ("sha1", _git_hash)
        if (found := digest(path)) != self.checksum:
            expected = self.checksum[:12]
            raise ChecksumError(
                f"{name} has {kind} {found[:12]}..., but {expected}... was expected: {way_out}"
            )


class Session(requests.Session):
    """A session that does not leave an encrypted connection, and asks a busy server again."""

    def __init__(self) -> None:
        super().__init__()
        retry = Retry(
            RETRIES, connect=0, read=0, status_forcelist=_BUSY, backoff_factor=BACKOFF_S,
            raise_on_status=False, retry_after_max=60,
        )  # fmt: skip
        self.mount("https://", HTTPAdapter(max_retries=retry))
        self.mount("http://", HTTPAdapter(max_retries=retry))

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads to.

        Raises:
            ArtifactError: from https to another scheme, where anybody on the way may answer.
        """
        target: str | None = super().get_redirect_target(resp)
        scheme = urlsplit(urljoin(resp.url, target)).scheme if target else "https"
        if resp.url.lower().startswith("https:") and scheme != "https":
            raise ArtifactError(
                f"{redact_url(resp.url)} leads from https to {scheme}, which is not followed; give "
                "the final address if you trust it"
            )
        return target


def redact_url(url: str) -> str:
    """An address without its query, which may hold a signature, and without a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_space(directory: Path, needed: int) -> None:
    """Refuse to begin what can't be finished.

    Raises:
        ArtifactError: the disk has less than the needed bytes.
    """
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise ArtifactError(
            f"{directory} has {free / 1e6:.0f} MB left, but {needed / 1e6:.0f} MB more are needed; "
            "make room, or name a target on another disk"
        )


def download(item: Item, target: Path, progress: Progress, max_bytes: int = MAX_BYTES) -> None:
    """Bring one file; one that was fetched before and is as expected is kept.

    Args:
        item: the file.
        target: where to.
        progress: shows how far it is.
        max_bytes: accepted if neither the source nor the server says a size.

    Raises:
        ArtifactError: it can't be had; what has arrived is kept beside the target.
        ChecksumError: it is not what was expected; nothing is kept.
    """
    if target.exists() and isinstance(item.location, str):
        with contextlib.suppress(ChecksumError):
            item.check(target, target.name)
            return
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if isinstance(item.location, Path):
            _copy(item.location, part, progress)
        else:
            _receive(item.location, item, part, progress, max_bytes)
        item.check(part, target.name)
    except ChecksumError:
        _forget(part)
        raise
    part.replace(target)
    _validator_file(part).unlink(missing_ok=True)


def _copy(path: Path, part: Path, progress: Progress) -> None:
    if path.is_relative_to(part.parent):  # unpacked there from an archive
        path.replace(part)
        return
    check_space(part.parent, path.stat().st_size)
    try:
        source = progress.open(path, "rb", description=part.stem)
    except OSError as error:
        raise ArtifactError(f"{part.stem} can't be read: {error.strerror}") from error
    with source, part.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _receive(url: str, item: Item, part: Path, progress: Progress, max_bytes: int) -> None:
    """Ask for a file, and for the rest of it after each cut, as long as more of it comes."""
    task, at_first, failures = progress.add_task(part.stem, total=item.size), _size(part), 0
    with Session() as session:
        while True:
            before = _size(part)
            try:
                return _receive_rest(session, url, item, part, progress, task, max_bytes)
            except requests.RequestException as error:
                started = _size(part) != at_first
                failures = 0 if _size(part) > before else failures + 1
                if not isinstance(error, _CUT) or not started or failures == RETRIES:
                    raise ArtifactError(_why_cut(url, error, _size(part), started)) from None
            time.sleep(BACKOFF_S * 2**failures)


def _receive_rest(
    session: Session, url: str, item: Item, part: Path, progress: Progress, task: TaskID, limit: int
) -> None:
    headers = {**item.headers, "Accept-Encoding": "identity"}
    if _size(part) and _validator_file(part).exists():
        headers["Range"] = f"bytes={_size(part)}-"
        headers["If-Range"] = _validator_file(part).read_text(encoding="utf-8")
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if not _continues(response, part):
            return
        have, length = _size(part), response.headers.get("Content-Length", "")
        size = have + int(length) if length.isdecimal() and _is_plain(response) else item.size
        check_space(part.parent, (size or 0) - have)
        progress.update(task, total=size, completed=have)
        with part.open("ab") as file:
            for chunk in response.iter_content(1 << 16):
                file.write(chunk)
                progress.advance(task, len(chunk))
                _refuse_excess(url, file.tell(), item.size or size, limit)
    if size is not None and _size(part) < size:
        raise requests.ConnectionError


def _continues(response: requests.Response, part: Path) -> bool:
    """Whether an answer has what a partial file lacks; one that does not belong to it is dropped.

    Raises:
        ConnectionError: the server has another file now; ask again.
        ArtifactError: the server refuses.
    """
    have, content_range = _size(part), response.headers.get("Content-Range", "")
    if not response.ok and response.status_code != _OUT_OF_RANGE:
        why = _REFUSALS.get(response.status_code, "can't be had")
        raise ArtifactError(
            f"{redact_url(response.url)} {why} (the server answers {response.status_code})"
        )
    if content_range == f"bytes */{have}":
        return False
    if content_range.startswith(f"bytes {have}-"):
        return True
    _forget(part)
    if content_range:
        raise requests.ConnectionError
    etag = response.headers.get("ETag", "W/")
    validator = response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
    if validator and _is_plain(response):
        _validator_file(part).write_text(validator, encoding="utf-8")
    return True


def _is_plain(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity") == "identity"


def _refuse_excess(url: str, received: int, announced: int | None, limit: int) -> None:
    what = f"more than the {announced} bytes that were announced"
    if announced is None:
        what = f"more than {limit} bytes; if it is that large, say so (--max-bytes)"
    if received > (limit if announced is None else announced):
        raise ChecksumError(f"{redact_url(url)} sends {what}; nothing was kept")


def _why_cut(url: str, error: requests.RequestException, received: int, started: bool) -> str:
    if started:
        return (
            f"{redact_url(url)}: the connection was cut, with {received} bytes received; run the "
            "same command again to resume"
        )
    reasons = (text for kind, text in _UNREACHABLE.items() if isinstance(error, kind))
    host = urlsplit(url).netloc.rpartition("@")[2]
    reason = next(reasons, type(error).__name__)
    return f"{host} can't be reached: {reason}. {ELSEWHERE} (docs/fetch.md)"


def _git_hash(path: Path) -> str:
    from huggingface_hub.utils.sha import git_hash

    return git_hash(path.read_bytes())


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
