"""Files derived from a model: where they are kept, how they are found, and which is opened.

They lie in a directory that only this process's user can write. An entry is found again only for
exactly what it was made from and with, and only if each of its files still has the checksum it had
when it was made. What lies beside a model came from elsewhere with it, and is never taken for one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime

from roberta_sentiment import container
from roberta_sentiment.errors import GraphError
from roberta_sentiment.model.artifact import Artifact, claimed_digest, open_artifact
from roberta_sentiment.model.integrity import Stamp, stamp_of
from roberta_sentiment.run.session import Session, open_session

logger = logging.getLogger(__name__)

ORIGINAL, MASKED, OPTIMIZED = "original", "masked", "optimized"
FILE = "model.onnx"
INDEX = "entry.json"
_MASK_FORMAT = "2"
_OPTIMIZED_FORMAT = "7"
_DIGITS = 16
_FREE_FOR_A_BYTE = 8
"""Bytes of memory that must be free for each byte of the weights before they are opened again: a
session holds them packed as well while it opens, and a service has several processes."""
_PIECE, _BLOCK = 2**26, 2**20
"""Bytes that share a checksum, and bytes that are read at once."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A session and the file it came from.

    Attributes:
        session: all threads work on one run.
        kind: "original", "masked" or "optimized".
        parallel_session: the same model with one thread a run, for runs side by side. None where
            there is one thread only, or no memory for the weights again.
    """

    session: Session
    kind: str
    parallel_session: Session | None = None


def check(path: Path, source: str = "given path") -> tuple[Artifact, Entry | None]:
    """Check a model directory and, at the same time, the optimised file made from it.

    Returns:
        The model, and its optimised file if there is an intact one.

    Raises:
        ArtifactError, ChecksumError: as `open_artifact`.
    """
    with ThreadPoolExecutor(1) as pool:
        claimed = claimed_digest(path)
        found = pool.submit(find_optimized, claimed) if claimed else None
        artifact = open_artifact(path, source)
        return artifact, found.result() if found else find_optimized(artifact.digest)


def open_prepared(
    artifact: Artifact,
    *,
    threads: int,
    roots: Sequence[Path] | None = None,
    optimized: Entry | None = None,
    serving_cpu: int | None = None,
) -> Prepared:
    """Open the best file there is for a model.

    An optimised file from the cache comes first. A graph without a mask gets one, and the changed
    file is kept where it may be written. Where no mask can be put in, the original graph is opened;
    its batches must then hold texts of one length only.

    Args:
        artifact: the model.
        threads: that work on the model.
        roots: directories with derived files; by default this user's own temporary one.
        optimized: an optimised file that was found before, to avoid a second check.
        serving_cpu: CPU of the threads that serve requests, if they stay on one.

    Raises:
        GraphError: the model can't be loaded.
    """
    cache = Cache(default_roots() if roots is None else roots)
    opener = _Opener(artifact, threads, serving_cpu)
    key = optimized_key(artifact.digest)
    is_known = optimized and optimized.key == key and optimized.is_unchanged()
    found = (is_known and optimized) or cache.find(key)
    if found:
        return opener.prepared(found.path / FILE, OPTIMIZED)
    found = cache.find(_masked_key(artifact.digest))
    if found:
        return opener.prepared(found.path / FILE, MASKED)
    session = opener.open(artifact.onnx_path, ORIGINAL)
    source = None if session.has_mask else _masked(artifact, cache)
    if source:
        return opener.prepared(source, MASKED)
    return opener.prepared(artifact.onnx_path, ORIGINAL, session)


@dataclasses.dataclass(frozen=True)
class _Opener:
    """Opens a file of a model, or its content, once for all threads and once for runs of one."""

    artifact: Artifact
    threads: int
    serving_cpu: int | None

    def open(self, source: Path | bytes, kind: str) -> Session:
        return open_session(
            source,
            threads=self.threads,
            first_position=self.artifact.first_position,
            optimized=kind == OPTIMIZED,
            caller_cpu=self.serving_cpu,
        )

    def prepared(self, source: Path | bytes, kind: str, session: Session | None = None) -> Prepared:
        whole = session or self.open(source, kind)
        if whole.has_mask and self.artifact.signature.mask is None:
            place = source.parent if isinstance(source, Path) else "memory"
            logger.info("an attention mask was put into the graph; kept in %s", place)
        if self.threads == 1 or not (kind == OPTIMIZED or _fits_again(self.artifact)):
            return Prepared(whole, kind)
        alone = dataclasses.replace(self, threads=1, serving_cpu=None)
        return Prepared(whole, kind, alone.open(source, kind))


def _fits_again(artifact: Artifact) -> bool:
    """Whether there is memory for the weights again, in this process and in those beside it."""
    return _FREE_FOR_A_BYTE * artifact.weight_bytes <= container.available_memory()


def optimized_key(digest: str) -> dict[str, str]:
    """What an optimised file depends on, beginning with every file of the model."""
    return {
        "kind": OPTIMIZED,
        "format": _OPTIMIZED_FORMAT,
        "model": digest,
        "onnxruntime": onnxruntime.__version__,
        "cpu": " ".join(container.features()),
    }


def find_optimized(digest: str) -> Entry | None:
    """The optimised file of a model, by the model's digest; None if there is no intact one."""
    return Cache(default_roots()).find(optimized_key(digest))


def _masked_key(digest: str) -> dict[str, str]:
    return {"kind": MASKED, "format": _MASK_FORMAT, "model": digest}


def _masked(artifact: Artifact, cache: Cache) -> Path | bytes | None:
    """The graph with an attention mask, as a file or its content; None where none can be put in."""
    import onnx

    from roberta_sentiment.graph.mask import add_mask

    def masked() -> onnx.ModelProto:
        return add_mask(onnx.load(str(artifact.onnx_path)))

    def write(directory: Path) -> None:
        onnx.save(masked(), str(directory / FILE))

    try:
        kept = cache.store(_masked_key(artifact.digest), write)
        source = kept / FILE if kept else masked().SerializeToString()
    except GraphError as error:
        logger.warning("%s; only texts of one length share a batch", error.message)
        return None
    except Exception as error:  # ONNX Runtime could load it, so it can be served unedited
        logger.warning("%s can't be edited (%s)", artifact.onnx_path, type(error).__name__)
        return None
    return source


@dataclasses.dataclass(frozen=True)
class Entry:
    """Derived files that were intact when they were found.

    Attributes:
        path: their directory.
        key: what they were made from and with.
        stamp: of each file at the time of the check.
    """

    path: Path
    key: Mapping[str, str]
    stamp: Stamp

    def is_unchanged(self) -> bool:
        """Whether no file was touched since the check."""
        return bool(self.stamp) and _stamp_of(self.path) == self.stamp


class Cache:
    """Derived files in one of several directories.

    Args:
        roots: directories to look in, in this order; the first that can be written takes a new
            entry. They need not exist.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots

    def find(self, key: Mapping[str, str]) -> Entry | None:
        """The entry, or nothing if there is none that is intact.

        Args:
            key: what the files were made from and with: checksums, versions, features.
        """
        for root in self._roots:
            directory = root / _name(key)
            stamp = _stamp_of(directory)
            reason = _untrusted(root) or _unfit(directory, key)
            if reason is None:
                return Entry(directory, dict(key), stamp)
            if reason:
                logger.warning("%s is not used: %s", directory, reason)
        return None

    def store(self, key: Mapping[str, str], write: Callable[[Path], None]) -> Path | None:
        """Make an entry, unless another process has made it meanwhile; nothing if no directory
        can be written.

        Args:
            key: as for `find`.
            write: fills an empty directory.
        """
        for root in self._roots:
            try:
                with locked(root):
                    if reason := _untrusted(root):
                        logger.warning("%s can't keep derived files: %s", root, reason)
                        continue
                    target = root / _name(key)
                    return target if _unfit(target, key) is None else _fill(target, key, write)
            except OSError as error:
                logger.warning("%s can't keep derived files: %s", root, error.strerror)
        return None


def checksums_of(file: Path) -> list[str]:
    """SHA-256 of each 64 MiB of a file, several at once where there are CPUs for it.

    Raises:
        OSError: the file can't be read.
    """
    starts = range(0, max(1, file.stat().st_size), _PIECE)
    with ThreadPoolExecutor(container.available_cpus()) as pool:
        return list(pool.map(lambda start: _checksum(file, start), starts))


def _checksum(file: Path, start: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        content.seek(start)
        for _ in range(_PIECE // _BLOCK):
            digest.update(content.read(_BLOCK))
    return digest.hexdigest()


def default_roots() -> list[Path]:
    """A directory of this user's in the temporary directory."""
    return [Path(tempfile.gettempdir()) / f"roberta-sentiment-{os.getuid()}"]


def _stamp_of(directory: Path) -> Stamp:
    """As `stamp_of`; empty where the directory is gone or can't be read."""
    try:
        return stamp_of(directory)
    except OSError:
        return {}


def _name(key: Mapping[str, str]) -> str:
    return f"{key['kind']}-{key['model'][:_DIGITS]}"


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let one process at a time write below a directory: workers start together."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _fill(target: Path, key: Mapping[str, str], write: Callable[[Path], None]) -> Path:
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        made.mkdir(mode=0o755)
        write(made)
        files = {
            file.name: {"sha256": checksums_of(file), "size": file.stat().st_size}
            for file in sorted(made.iterdir())
        }
        entry = json.dumps({"key": dict(key), "files": files}, indent=2) + "\n"
        (made / INDEX).write_text(entry, encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    return target


def _untrusted(directory: Path) -> str:
    """Why files in a directory may be another user's; empty if it is absent or our own."""
    try:
        status = directory.lstat()
    except OSError:
        return ""
    if stat.S_ISLNK(status.st_mode):
        return "it is a link"
    if status.st_uid not in (0, os.getuid()) or status.st_mode & 0o022:
        return "others can write to it"
    return ""


def _unfit(directory: Path, key: Mapping[str, str]) -> str | None:
    """Why an entry can't be used: empty if it does not exist, nothing if it can."""
    try:
        entry = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        files = entry["files"]
        if reason := _untrusted(directory):
            return reason
        if entry["key"] != dict(key):
            changed = [name for name in key if entry["key"].get(name) != key[name]]
            return f"it was made with another {', '.join(changed)}"
        for name, expected in files.items():
            if checksums_of(directory / name) != expected["sha256"]:
                return f"{name} has changed since"
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return f"its {INDEX} can't be read"
    return None
