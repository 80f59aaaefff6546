"""Get one file, over HTTP or from a disk; what has arrived is kept and need not come again.

huggingface_hub throws a partial file away when its process ends; here it stays as `NAME.part`, with
the server's validator beside it, and the next run asks for the rest (RFC 9110, sections 13.1.5 and
14). If the file has changed at the server meanwhile, it is fetched anew.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from rich.progress import Progress

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.tools.fetch.item import Item, check, check_space
from roberta_sentiment.tools.fetch.options import MAX_BYTES

CHUNK = 1 << 16
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait after the first, second, ... failure in a row before asking again."""
TIMEOUT = (10.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""

_BUSY = (408, 429, 500, 502, 503, 504)
_CUT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _InterruptedError(Exception):
    """The transfer stopped before its end and may be taken up again."""


def obtain(item: Item, target: Path, progress: Progress, max_bytes: int = MAX_BYTES) -> None:
    """Write an item's content to a file, and compare it with what is known of it.

    Args:
        item: what to get.
        target: where to; if the file is there and is what was expected, nothing is done. Where no
            checksum is known, that holds for a download only; what lies here is copied anew.
        progress: shows how far it is.
        max_bytes: taken of a file whose size nobody has announced.

    Raises:
        ArtifactError: it can't be had; what has arrived is kept beside the target.
        ChecksumError: it is not what was expected; nothing is kept.
    """
    if target.exists() and (item.sha256 or item.git_sha1 or item.open is None):
        with contextlib.suppress(ChecksumError):
            check(target, item, target.name)
            return
    target.unlink(missing_ok=True)
    part = target.with_name(f"{target.name}.part")
    with _explained(part.parent):
        if item.open is None:
            _download(item, part, progress, max_bytes)
        else:
            _copy(item, part, progress)
        try:
            check(part, item, target.name)
        except ChecksumError:
            _forget(part)
            raise
        part.replace(target)
        _validator_file(part).unlink(missing_ok=True)


def _copy(item: Item, part: Path, progress: Progress) -> None:
    assert item.open is not None
    check_space(part.parent, item.size or 0)
    try:
        source = item.open()
    except OSError as error:
        raise ArtifactError(f"{part.stem} can't be read: {error.strerror or error}") from error
    with source, part.open("wb") as file:
        task = progress.add_task(part.stem, total=item.size)
        while chunk := source.read(1 << 20):
            file.write(chunk)
            progress.advance(task, len(chunk))


def _download(item: Item, part: Path, progress: Progress, max_bytes: int) -> None:
    task = progress.add_task(part.stem, total=item.size)
    most, failures, started = _size(part), 0, False
    while True:
        try:
            _receive(item, part, progress, task, max_bytes)
            return
        except _InterruptedError as error:
            if _size(part) > most:
                most, failures, started = _size(part), 0, True
            if not started and isinstance(error.__cause__, requests.RequestException):
                raise _unreachable(item, error.__cause__) from None
            if failures == len(PAUSES):
                raise ArtifactError(
                    f"{shown(item.url)}: {error}, with {_size(part)} bytes received; run the same "
                    "command again, and it goes on from there"
                ) from None
        time.sleep(PAUSES[failures])
        failures += 1


def _receive(item: Item, part: Path, progress: Progress, task: Any, max_bytes: int) -> None:
    """Ask for what is missing and append it.

    Raises:
        _InterruptedError: it makes sense to ask again.
    """
    try:
        with _ask(item, part) as response:
            have = _agree(response, part, item)
            if have is None:
                return
            rest = _length(response)
            total = item.size if rest is None else have + rest
            check_space(part.parent, (total or 0) - have)
            progress.update(task, total=total, completed=have)
            most = item.size if item.size is not None else total
            with part.open("ab") as file:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))
                    _refuse_endless(item, part, file.tell(), most, max_bytes)
    except _CUT as error:
        raise _InterruptedError("the connection was cut") from error
    except requests.RequestException as error:
        raise ArtifactError(f"{shown(item.url)} can't be asked for: {error}") from None
    if total is not None and _size(part) < total:
        raise _InterruptedError("the connection was cut")


class Session(requests.Session):
    """A session that does not leave an encrypted connection."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads to.

        Raises:
            ArtifactError: from https to another scheme, where anybody on the way may answer.
        """
        target: str | None = super().get_redirect_target(resp)
        if target and resp.url.lower().startswith("https:"):
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https":
                raise ArtifactError(
                    f"{shown(resp.url)} leads from https to {scheme}, which is not followed; give "
                    "the final address if you trust it"
                )
        return target


def _ask(item: Item, part: Path) -> requests.Response:
    headers = {**item.headers, "Accept-Encoding": "identity"}
    have, validator = _size(part), _validator_file(part)
    if have and validator.exists():
        headers["Range"] = f"bytes={have}-"
        headers["If-Range"] = validator.read_text(encoding="utf-8")
    return Session().get(item.url, headers=headers, stream=True, timeout=TIMEOUT)


def _refuse_endless(
    item: Item, part: Path, received: int, announced: int | None, max_bytes: int
) -> None:
    """End a transfer that goes on beyond what was announced."""
    if received <= (max_bytes if announced is None else announced):
        return
    _forget(part)
    if announced is None:
        raise ArtifactError(
            f"{shown(item.url)} does not say its size, and sends more than {max_bytes} bytes; "
            "nothing was kept. If it is that large, say so (--max-bytes)"
        )
    raise ChecksumError(
        f"{shown(item.url)} sends more than the {announced} bytes that were announced; nothing "
        "was kept"
    )


def _agree(response: requests.Response, part: Path, item: Item) -> int | None:
    """Bytes of the partial file that the answer continues; nothing if none are missing.

    Raises:
        _InterruptedError: the partial file does not fit and was dropped, or the server is busy.
        ArtifactError: the server refuses.
    """
    have, code = _size(part), response.status_code
    content_range = response.headers.get("Content-Range", "")
    if code == requests.codes.requested_range_not_satisfiable:
        if content_range == f"bytes */{have}":
            return None
        _forget(part)
        raise _InterruptedError("the server has another file now")
    if code in _BUSY:
        raise _InterruptedError(f"the server answers {code} {response.reason}")
    if not response.ok:
        raise ArtifactError(_refusal(response, item))
    if code == requests.codes.partial_content:
        if not re.match(rf"bytes {have}-", content_range):
            _forget(part)
            raise _InterruptedError("the server sent another part of the file than asked for")
        return have
    _forget(part)
    validator = _validator(response)
    if validator:
        _validator_file(part).write_text(validator, encoding="utf-8")
    return 0


def _validator(response: requests.Response) -> str:
    """What tells the server later that it still has the same file: a strong ETag, or a date."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return ""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _length(response: requests.Response) -> int | None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _refusal(response: requests.Response, item: Item) -> str:
    address, code = shown(item.url), response.status_code
    if code in (401, 403):
        return (
            f"{address} answers {code}: it is private or gated. Accept its conditions on its web "
            "page, and set HF_TOKEN to a token that may read it"
        )
    if code in (404, 410):
        return f"{address} is not there (the server answers {code})"
    return f"{address} can't be had: the server answers {code} {response.reason}"


def _unreachable(item: Item, error: requests.RequestException) -> ArtifactError:
    if isinstance(error, requests.exceptions.ProxyError):
        reason = "the proxy can't be used; see HTTPS_PROXY and NO_PROXY"
    elif isinstance(error, requests.exceptions.SSLError):
        reason = "its certificate is not trusted; REQUESTS_CA_BUNDLE names one's own authority"
    elif isinstance(error, requests.Timeout):
        reason = "no answer in time"
    else:
        reason = "no connection"
    return ArtifactError(
        f"{urlsplit(item.url).netloc} can't be reached: {reason}. Without network, fetch the "
        "files elsewhere and give their directory as source (docs/fetch.md)"
    )


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the disk's, but that of an archive which is being read
            raise
        if error.errno in _FULL:
            free = shutil.disk_usage(directory).free
            raise ArtifactError(
                f"no space left in {directory} ({free / 1e6:.0f} MB free); make room and run the "
                "same command again, and it goes on"
            ) from error
        raise ArtifactError(f"{directory} can't be written: {error.strerror}") from error


def shown(url: str) -> str:
    """An address without its query, which may hold a signature, and without a password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _validator_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
