"""A model directory: where it is, and whether it is intact.

The layout is that of Hugging Face and Optimum: a graph at the top or in the folder `onnx`,
`tokenizer.json` or `vocab.json` with `merges.txt`, `tokenizer_config.json`, `config.json`, and
optionally `manifest.json`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.facts import Facts
from roberta_sentiment.model.integrity import (
    Stamp,
    digest_of,
    read_manifest,
    sha256_of,
    stamp_of,
    verify,
)
from roberta_sentiment.model.layout import (
    CONFIG,
    GRAPH_FOLDER,
    MANIFEST,
    TOKENIZER_FILES,
    deciding_files,
    find_graph,
    has_tokenizer,
    read_json,
)

MOUNTED_MODEL = Path("/mnt/models")
_INSTALLED_MODEL = Path(__file__).resolve().parents[1] / "default_model"
"""What an installed package carries; setup.py puts the checkout's `models/default` there."""
DEFAULT_MODEL = (
    _INSTALLED_MODEL
    if _INSTALLED_MODEL.is_dir()
    else Path(__file__).resolve().parents[2] / "models" / "default"
)

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ASKED_FOR_MODEL = "MLSERVER_MODEL_URI"
"""Seldon's operator sets it where the graph node has a modelUri."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact(Facts):
    """A model directory whose files are present and, where a manifest says so, intact.

    Attributes:
        source: what set the path, in words, for the log and the metadata.
        files: every file that decides an answer, by its name: the graph, its weights kept outside,
            the configuration, the tokenizer.
        checksums: their SHA-256, 64 hexadecimal digits each.
        stamp: of the files at the time of the check.
    """

    source: str
    files: Mapping[str, Path]
    checksums: Mapping[str, str]
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
        return digest_of(self.onnx_path.name, self.checksums)

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
        source: what set the path, in words.

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
    known = {directory / name: verify(directory, name, entry)
             for name, entry in manifest.get("files", {}).items()}  # fmt: skip
    return Artifact(
        path=directory,
        source=source,
        onnx_path=graph,
        files=files,
        checksums={name: known.get(file) or sha256_of(file) for name, file in files.items()},
        config=read_json(directory / CONFIG),
        manifest=manifest,
        stamp=stamp,
    )


def _resolve(path: Path, source: str) -> tuple[Path, Path, dict[str, Any]]:
    """Directory with configuration and tokenizer, graph, and manifest."""
    if path.suffix == ".onnx" and path.is_file():
        above = path.parent.parent if path.parent.name == GRAPH_FOLDER else path.parent
        directory, graph = _directory_of(above, path), path
        manifest = read_manifest(directory)
        if manifest.get("model") not in (None, graph.name, f"{GRAPH_FOLDER}/{graph.name}"):
            raise ArtifactError(
                f"{directory / MANIFEST} describes {manifest['model']!r}, not {graph.name}; put "
                "the graph into a directory of its own"
            )
        return directory, graph, manifest
    if not path.is_dir():
        wrong = "is neither a model directory nor a graph" if path.exists() else "does not exist"
        raise ArtifactError(f"the model directory {path} {wrong} ({source})")
    manifest = read_manifest(path)
    graph = find_graph(path, str(manifest.get("model") or ""), source)
    directory = _directory_of(path, graph)
    return directory, graph, manifest if directory == path else read_manifest(directory)


def _directory_of(directory: Path, graph: Path) -> Path:
    """Where the configuration is: in the directory, else beside a graph that lies in a folder."""
    is_beside = not (directory / CONFIG).exists() and (graph.parent / CONFIG).exists()
    return graph.parent if is_beside else directory


def _require_config_and_tokenizer(directory: Path) -> None:
    for name in (CONFIG, *TOKENIZER_FILES):
        if (directory / name).exists() and not (directory / name).is_file():
            raise ArtifactError(f"{directory / name} is not a plain file; copy it there as one")
    if not has_tokenizer(entry.name for entry in directory.iterdir()):
        missing = "merges.txt" if (directory / "vocab.json").exists() else "vocab.json"
        raise ArtifactError(
            f"{directory / missing} is missing; a model directory needs tokenizer.json, or "
            f"vocab.json with merges.txt, or vocab.txt{_elsewhere(directory)}"
        )
    if not (directory / CONFIG).exists():
        raise ArtifactError(
            f"{directory / CONFIG} is missing; it holds the labels, the padding id and the "
            "length that the model takes"
        )


def _elsewhere(directory: Path) -> str:
    """Where the tokenizer is instead: on the other side of the folder `onnx`."""
    for other in (directory / GRAPH_FOLDER, directory.parent):
        beside = other.name == GRAPH_FOLDER or directory.name == GRAPH_FOLDER
        if beside and other.is_dir() and has_tokenizer(entry.name for entry in other.iterdir()):
            return f", beside {CONFIG}; {other} has one: put both into {min(other, directory)}"
    return ""


def _is_mounted(path: Path) -> bool:
    """Whether a model was mounted there, even unsuccessfully."""
    try:
        return path.exists() and (
            _ASKED_FOR_MODEL in os.environ or path.is_mount() or any(path.iterdir())
        )
    except OSError:
        return True


def claimed_digest(path: Path) -> str:
    """The digest as the manifest's checksums give it, not verified; empty if they do not."""
    try:
        directory, graph, manifest = _resolve(path, "")
        files = deciding_files(directory, graph)
        claimed = {name: str(manifest["files"][name]["sha256"]) for name in files}
    except (ArtifactError, OSError, LookupError, TypeError):
        return ""
    return digest_of(graph.name, claimed)


def _stamp(directory: Path, files: Mapping[str, Path]) -> Stamp:
    """Of every file beside those that decide: a file that is added may be read, too."""
    return stamp_of(directory, *(file.parent for file in files.values()))
