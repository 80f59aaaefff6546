"""Bring one file into a directory, over HTTP or from a disk, and compare it with what is known.

huggingface_hub lists the files of a hub, but does not download them: its `http_get` asks without
If-Range, does not stop at the announced size, and may leave https. What has arrived stays as
`NAME.part`, the server's validator beside it, and the next run asks for the rest (RFC 9110).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import shutil
import time
from collections.abc import Iterator, Mapping
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
_CHUNK = 1 << 16
_BUSY = (408, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclasses.dataclass(frozen=True)
class Item:
    """A file at its source.

    Attributes:
        url: where it is downloaded from; empty if it lies on this machine.
        headers: to send with the request, such as a token.
        path: where it lies on this machine.
        size: bytes, if known.
        sha256: of the content, if known.
        git_sha1: Git's name of the content, by which a hub knows its small files.
    """

    url: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    path: Path | None = None
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


class _InterruptedError(Exception):
    """The transfer ended early and may be resumed."""


class Session(requests.Session):
    """A session that does not leave an encrypted connection, and asks a busy server again."""

    def __init__(self) -> None:
        super().__init__()
        retry = Retry(
            RETRIES,
            connect=0,
            read=0,
            status_forcelist=_BUSY,
            backoff_factor=BACKOFF_S,
            raise_on_status=False,
            retry_after_max=60,
        )
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(max_retries=retry))

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


class Downloader:
    """Brings files into a directory.

    Args:
        directory: where to.
        progress: shows how far it is.
        max_bytes: accepted of a file whose size nobody has announced.
    """

    def __init__(self, directory: Path, progress: Progress, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self._progress = progress
        self._max_bytes = max_bytes

    def download_all(self, items: Mapping[str, Item], files: Mapping[str, str]) -> None:
        """Bring files.

        Args:
            items: what the source holds, by path.
            files: path in the directory to path at the source.
        """
        for name, path in files.items():
            self.download(items[path], name)

    def download(self, item: Item, name: str) -> Path:
        """Bring one file; one that is there already and as expected is kept.

        A local file without a checksum is copied again, one in this directory is moved.

        Raises:
            ArtifactError: it can't be had; what has arrived is kept beside it.
            ChecksumError: it is not what was expected; nothing is kept.
        """
        target = self.directory / name
        if target.exists() and (item.sha256 or item.git_sha1 or item.path is None):
            with contextlib.suppress(ChecksumError):
                check(target, item)
                return target
        part = target.with_name(f"{target.name}.part")
        with explained(self.directory):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if item.path is not None:
                self._copy(item.path, part)
            else:
                self._receive_all(item, part)
            try:
                check(part, item, target.name)
            except ChecksumError:
                _forget(part)
                raise
            part.replace(target)
            _validator_file(part).unlink(missing_ok=True)
        return target

    def _copy(self, path: Path, part: Path) -> None:
        if path.is_relative_to(self.directory):
            path.replace(part)
            return
        check_space(part.parent, path.stat().st_size)
        try:
            source = self._progress.open(path, "rb", description=part.stem)
        except OSError as error:
            raise ArtifactError(f"{part.stem} can't be read: {error.strerror}") from error
        with source, part.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def _receive_all(self, item: Item, part: Path) -> None:
        task = self._progress.add_task(part.stem, total=item.size)
        most, failures, started = _size(part), 0, False
        while True:
            try:
                with Session() as session:
                    self._receive(session, item, part, task)
                return
            except _InterruptedError as error:
                if _size(part) > most:
                    most, failures, started = _size(part), 0, True
                if not started and isinstance(error.__cause__, requests.RequestException):
                    raise _unreachable(item, error.__cause__) from None
                if failures == RETRIES:
                    raise ArtifactError(
                        f"{redact_url(item.url)}: {error}, with {_size(part)} bytes received; run "
                        "the same command again to resume"
                    ) from None
            time.sleep(BACKOFF_S * 2**failures)
            failures += 1

    def _receive(self, session: requests.Session, item: Item, part: Path, task: TaskID) -> None:
        """Ask for what is missing and append it.

        Raises:
            _InterruptedError: it makes sense to ask again.
        """
        headers = {**item.headers, "Accept-Encoding": "identity", **_range(part)}
        try:
            with session.get(item.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
                have = _received(response, part, item)
                if have is None:
                    return
                rest = _length(response)
                total = item.size if rest is None else have + rest
                check_space(part.parent, (total or 0) - have)
                self._progress.update(task, total=total, completed=have)
                with part.open("ab") as file:
                    for chunk in response.iter_content(_CHUNK):
                        file.write(chunk)
                        self._progress.advance(task, len(chunk))
                        self._refuse_excess(item, part, file.tell(), item.size or total)
        except _CUT as error:
            raise _InterruptedError("the connection was cut") from error
        except requests.RequestException as error:
            raise ArtifactError(f"{redact_url(item.url)} can't be asked for: {error}") from None
        if total is not None and _size(part) < total:
            raise _InterruptedError("the connection was cut")

    def _refuse_excess(self, item: Item, part: Path, received: int, announced: int | None) -> None:
        if received <= (self._max_bytes if announced is None else announced):
            return
        _forget(part)
        if announced is None:
            raise ArtifactError(
                f"{redact_url(item.url)} does not say its size, and sends more than "
                f"{self._max_bytes} bytes; nothing was kept. If it is that large, say so "
                "(--max-bytes)"
            )
        raise ChecksumError(
            f"{redact_url(item.url)} sends more than the {announced} bytes that were announced; "
            "nothing was kept"
        )


def check(path: Path, item: Item, name: str = "") -> None:
    """Compare a file with what its source says of it.

    Raises:
        ChecksumError: size or checksum differ.
    """
    name, size = name or path.name, path.stat().st_size
    if item.size is not None and size != item.size:
        raise ChecksumError(f"{name} has {size} bytes, but {item.size} were expected; {_WAY_OUT}")
    for kind, expected, digest in (
        ("sha256", item.sha256, sha256_of),
        ("Git's sha1", item.git_sha1, _git_sha1_of),
    ):
        if expected and (actual := digest(path)) != expected.lower():
            raise ChecksumError(
                f"{name} has {kind} {actual[:12]}..., but {expected[:12]}... was expected; "
                f"{_WAY_OUT}"
            )


_WAY_OUT = "the file is damaged or another one, and it was not kept"


def _git_sha1_of(path: Path) -> str:
    from huggingface_hub.utils.sha import git_hash

    return git_hash(path.read_bytes())


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


@contextlib.contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Say in a sentence why a directory can't be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the disk's, but that of an archive which is being read
            raise
        if error.errno in _FULL:
            free = shutil.disk_usage(directory).free
            raise ArtifactError(
                f"no space left in {directory} ({free / 1e6:.0f} MB free); make room and run the "
                "same command again to resume"
            ) from error
        raise ArtifactError(f"{directory} can't be written: {error.strerror}") from error


def redact_url(url: str) -> str:
    """An address without its query, which may hold a signature, and without a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _range(part: Path) -> dict[str, str]:
    """Headers that ask for what a partial file lacks, if the server still has the same file."""
    have, validator = _size(part), _validator_file(part)
    if not have or not validator.exists():
        return {}
    return {"Range": f"bytes={have}-", "If-Range": validator.read_text(encoding="utf-8")}


def _received(response: requests.Response, part: Path, item: Item) -> int | None:
    """Bytes of the partial file that the answer continues; None if it is complete.

    Raises:
        _InterruptedError: the partial file does not fit and was dropped.
        ArtifactError: the server refuses.
    """
    have, content_range = _size(part), response.headers.get("Content-Range", "")
    if response.status_code == requests.codes.partial_content:
        if re.match(rf"bytes {have}-", content_range):
            return have
        _forget(part)
        raise _InterruptedError("the server sent another part of the file than asked for")
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        if content_range == f"bytes */{have}":
            return None
        _forget(part)
        raise _InterruptedError("the server has another file now")
    if not response.ok:
        raise ArtifactError(_refusal(response, item))
    _forget(part)
    if validator := _validator(response):
        _validator_file(part).write_text(validator, encoding="utf-8")
    return 0


def _is_plain(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity") == "identity"


def _validator(response: requests.Response) -> str:
    """What tells the server later that it still has the same file: a strong ETag, or a date."""
    etag = response.headers.get("ETag", "")
    strong = etag if etag and not etag.startswith("W/") else ""
    return (strong or response.headers.get("Last-Modified", "")) if _is_plain(response) else ""


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and _is_plain(response) else None


def _refusal(response: requests.Response, item: Item) -> str:
    address, code = redact_url(item.url), response.status_code
    if code in (401, 403):
        return (
            f"{address} answers {code}: it is private or gated. Accept its conditions on its web "
            "page, and set HF_TOKEN to a token that may read it"
        )
    if code in (404, 410):
        return f"{address} is not there (the server answers {code})"
    later = "; run the same command again later to resume" if code in _BUSY else ""
    return f"{address} can't be had: the server answers {code} {response.reason}{later}"


def _unreachable(item: Item, error: requests.RequestException) -> ArtifactError:
    reasons = (
        (requests.exceptions.ProxyError, "the proxy can't be used; see HTTPS_PROXY and NO_PROXY"),
        (
            requests.exceptions.SSLError,
            "its certificate is not trusted; REQUESTS_CA_BUNDLE names one's own authority",
        ),
        (requests.Timeout, "no answer in time"),
        (requests.RequestException, "no connection"),
    )
    reason = next(text for kind, text in reasons if isinstance(error, kind))
    return ArtifactError(
        f"{urlsplit(item.url).netloc.rpartition('@')[2]} can't be reached: {reason}. Without "
        "network, fetch the files elsewhere and give their directory as source (docs/fetch.md)"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
