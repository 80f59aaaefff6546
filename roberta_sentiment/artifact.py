"""A model directory: where it is, whether it is intact, and what its files say about the model.

The layout is that of Hugging Face and Optimum: a graph at the top or in the folder `onnx`,
`tokenizer.json` or `vocab.json` with `merges.txt`, `tokenizer_config.json`, `config.json`, and
optionally `manifest.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from roberta_sentiment.errors import ArtifactError, ChecksumError
from roberta_sentiment.layout import (
    CONFIG,
    GRAPH_FOLDER,
    MANIFEST,
    TOKENIZER_FILES,
    deciding_files,
    find_graph,
    is_plain_name,
)

MOUNTED_MODEL = Path("/mnt/models")
DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "default"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ASKED_FOR_MODEL = "MLSERVER_MODEL_URI"
"""Seldon's operator sets it where the graph node has a modelUri."""

Stamp = Mapping[str, tuple[int, ...]]
"""Size, times of modification and of change (ns) and inode of files, by their paths."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A model directory whose files are present and, where a manifest says so, intact.

    Attributes:
        path: the directory with configuration and tokenizer.
        source: where its place was set, in words, for the log and the metadata.
        onnx_path: the graph.
        files: every file that decides an answer, by its name: the graph, its weights kept outside,
            the configuration, the tokenizer.
        checksums: their SHA-256, 64 hexadecimal digits each.
        config: `config.json`.
        manifest: `manifest.json`, empty when there is none.
        stamp: of the files at the time of the check.
    """

    path: Path
    source: str
    onnx_path: Path
    files: Mapping[str, Path]
    checksums: Mapping[str, str]
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    stamp: Stamp

    @property
    def name(self) -> str:
        """The model's name: the manifest's, else the directory's."""
        return str(self.manifest.get("name") or self.path.resolve().name)

    @property
    def sha256(self) -> str:
        """Checksum of the graph, 64 hexadecimal digits."""
        return self.checksums[self.onnx_path.name]

    @cached_property
    def digest(self) -> str:
        """Checksum over every file that decides an answer, 64 hexadecimal digits."""
        return _digest(self.onnx_path.name, self.checksums)

    @property
    def version(self) -> str:
        """The first 12 digits of the digest."""
        return self.digest[:12]

    @property
    def weight_bytes(self) -> int:
        """Size of the graph and of its weights kept outside."""
        return sum(
            file.stat().st_size
            for name, file in self.files.items()
            if name not in (CONFIG, *TOKENIZER_FILES)
        )

    @property
    def precision(self) -> str:
        """As the manifest says ("fp32", "int8"), else "unknown"."""
        return str(self.manifest.get("precision", "unknown"))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of the output.

        Raises:
            ArtifactError: `id2label` does not number the classes 0..k-1.
        """
        id2label = self.config.get("id2label")
        if not id2label:
            return ("negative", "positive")
        if not isinstance(id2label, dict):
            raise ArtifactError(f"{self._where('config.json')}: id2label is not an object")
        try:
            by_index = {int(index): str(label) for index, label in id2label.items()}
            labels = tuple(by_index[i] for i in range(len(by_index)))
        except (KeyError, ValueError):
            raise ArtifactError(
                f"{self._where('config.json')}: id2label must number its labels 0, 1, 2, ..."
            ) from None
        if len(set(labels)) != len(labels):
            raise ArtifactError(f"{self._where('config.json')}: two labels of id2label are equal")
        return labels

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self._whole_number("pad_token_id", 1)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table; token ids are 0 <= id < vocab_size."""
        return self._whole_number("vocab_size", 50265)

    @property
    def position_limit(self) -> int:
        """Tokens the model takes, special tokens included.

        RoBERTa numbers positions from pad_id + 1, so a table of 514 rows serves 512 tokens.
        """
        rows = self._whole_number("max_position_embeddings", 514)
        return rows - self.pad_id - 1

    def _whole_number(self, key: str, default: int) -> int:
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArtifactError(
                f"{self._where('config.json')}: {key} is {value!r}; a whole number is needed"
            )
        return value

    def _where(self, name: str) -> str:
        return str(self.path / name)

    def recheck(self) -> None:
        """Check again, unless no file was touched since the last check.

        Raises:
            ArtifactError: a file is missing, damaged or another one by now.
        """
        if _stamp(self.path, self.files) == self.stamp:
            return
        now = open_artifact(self.onnx_path, self.source)
        if now.digest != self.digest:
            raise ArtifactError(
                f"{self.path} has changed since the start: version {self.version} was checked, "
                f"{now.version} is there now; restart to serve it"
            )


def locate(model_uri: str, mounted: Path = MOUNTED_MODEL) -> tuple[Path, str]:
    """Find the model directory: `model_uri`, else a mounted one, else the embedded default.

    Args:
        model_uri: path of a directory or of a graph in it, or file:// URI; empty if not set.
        mounted: where Seldon's storage initializer puts a model. Whatever is there is meant to be
            served, even if no model is found in it.

    Returns:
        The directory or graph and, in words, why this one.

    Raises:
        ArtifactError: the URI has a scheme that is not a local file's.
    """
    if _URI.match(model_uri):
        parsed = urlparse(model_uri)
        if parsed.scheme.lower() != "file" or parsed.netloc not in ("", "localhost"):
            raise ArtifactError(
                f"model_uri is {model_uri!r}, but the server reads local directories only; "
                "put the address into modelUri of the graph node, and Seldon's storage "
                f"initializer copies it to {mounted}"
            )
        return Path(unquote(model_uri.partition("://")[2].removeprefix(parsed.netloc))), "model_uri"
    if model_uri:
        return Path(model_uri), "model_uri"
    if _is_mounted(mounted):
        return mounted, str(mounted)
    return DEFAULT_MODEL, "embedded default"


def open_artifact(path: Path, source: str = "given path") -> Artifact:
    """Check a model directory and read what it says about the model.

    Args:
        path: the directory, or a graph in it.
        source: where its place was set, in words.

    Raises:
        ArtifactError: a file is missing, unreadable or not what it should be.
        ChecksumError: a file differs from what the manifest says.
    """
    try:
        return _open(path, source)
    except OSError as error:
        raise ArtifactError(f"{error.filename or path} can't be read: {error.strerror}") from error


def _open(path: Path, source: str) -> Artifact:
    directory, graph, manifest = _resolve(path, source)
    _require_config_and_tokenizer(directory)
    files = deciding_files(directory, graph)
    stamp = _stamp(directory, files)
    known = {directory / name: _verify(directory, name, entry)
             for name, entry in manifest.get("files", {}).items()}  # fmt: skip
    return Artifact(
        path=directory,
        source=source,
        onnx_path=graph,
        files=files,
        checksums={name: known.get(file) or sha256_of(file) for name, file in files.items()},
        config=_read_json(directory / CONFIG),
        manifest=manifest,
        stamp=stamp,
    )


def _resolve(path: Path, source: str) -> tuple[Path, Path, dict[str, Any]]:
    """Directory with configuration and tokenizer, graph, and manifest."""
    if path.suffix == ".onnx" and path.is_file():
        above = path.parent.parent if path.parent.name == GRAPH_FOLDER else path.parent
        directory, graph = _directory_of(above, path), path
        manifest = _read_manifest(directory)
        if manifest.get("model") not in (None, graph.name):
            raise ArtifactError(
                f"{directory / MANIFEST} describes {manifest['model']!r}, not {graph.name}; put "
                "the graph into a directory of its own"
            )
        return directory, graph, manifest
    if not path.is_dir():
        wrong = "is no model directory and no graph" if path.exists() else "does not exist"
        raise ArtifactError(f"the model directory {path} {wrong} ({source})")
    manifest = _read_manifest(path)
    graph = find_graph(path, str(manifest.get("model") or ""), source)
    directory = _directory_of(path, graph)
    return directory, graph, manifest if directory == path else _read_manifest(directory)


def _directory_of(directory: Path, graph: Path) -> Path:
    """Where the configuration is: in the directory, else beside a graph that lies in a folder."""
    is_beside = not (directory / CONFIG).exists() and (graph.parent / CONFIG).exists()
    return graph.parent if is_beside else directory


def _read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest, empty if there is none; every file that it names is there."""
    if not (directory / MANIFEST).exists():
        return {}
    manifest = _read_json(directory / MANIFEST)
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ArtifactError(f"{directory / MANIFEST}: files is not an object")
    for name, entry in files.items():
        if not isinstance(entry, dict) or not {"sha256", "size"} <= entry.keys():
            raise ArtifactError(f"{directory / MANIFEST}: files.{name} needs sha256 and size")
        if not is_plain_name(name):
            raise ArtifactError(f"{directory / MANIFEST}: {name!r} is not a plain file name")
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory / name} is missing, but {MANIFEST} names it")
    return manifest


def _require_config_and_tokenizer(directory: Path) -> None:
    if not (directory / "tokenizer.json").exists():
        for name in ("vocab.json", "merges.txt"):
            if not (directory / name).exists():
                raise ArtifactError(
                    f"{directory / name} is missing; a model directory needs tokenizer.json, "
                    "or vocab.json with merges.txt"
                )
    if not (directory / CONFIG).exists():
        raise ArtifactError(
            f"{directory / CONFIG} is missing; it tells the labels, the padding id and the "
            "length that the model takes"
        )


def _is_mounted(path: Path) -> bool:
    """Whether somebody has put a model there, or has tried to."""
    try:
        return path.exists() and (
            _ASKED_FOR_MODEL in os.environ or path.is_mount() or any(path.iterdir())
        )
    except OSError:
        return True


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in pieces.

    Raises:
        ArtifactError: the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}") from error


def claimed_digest(path: Path) -> str:
    """The digest as the manifest's checksums give it, not verified; empty if they do not."""
    try:
        directory, graph, manifest = _resolve(path, "")
        files = deciding_files(directory, graph)
        claimed = {name: str(manifest["files"][name]["sha256"]) for name in files}
    except (ArtifactError, OSError, LookupError, TypeError):
        return ""
    return _digest(graph.name, claimed)


def _digest(graph: str, checksums: Mapping[str, str]) -> str:
    """Of the graph whatever its name, and of the other files under theirs."""
    lines = sorted(f"{'' if name == graph else name} {sha}" for name, sha in checksums.items())
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _stamp(directory: Path, files: Mapping[str, Path]) -> Stamp:
    """Of every file beside those that decide: a file that is added may be read, too."""
    folders = {directory, *(file.parent for file in files.values())}
    return {path: values for folder in folders for path, values in stamp_of(folder).items()}


def stamp_of(directory: Path) -> dict[str, tuple[int, ...]]:
    """Stamp of each file of a directory."""
    stamps: dict[str, tuple[int, ...]] = {}
    for entry in sorted(directory.iterdir()):
        if entry.is_file():
            status = entry.stat()
            stamps[str(entry)] = (
                status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
            )  # fmt: skip
    return stamps


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} must hold a JSON object")
    return content


def _verify(directory: Path, name: str, entry: Mapping[str, Any]) -> str:
    """Compare a file with what the manifest says of it; return its checksum."""
    path = directory / name
    size = path.stat().st_size
    if size != entry["size"]:
        raise ChecksumError(
            f"{path} has {size} bytes, but {MANIFEST} says {entry['size']}: the file is "
            "truncated or another one; copy it again"
        )
    digest = sha256_of(path)
    if digest != entry["sha256"]:
        raise ChecksumError(
            f"{path} has sha256 {digest[:12]}..., but {MANIFEST} says "
            f"{str(entry['sha256'])[:12]}...: the file is damaged or another one; copy it again"
        )
    return digest
