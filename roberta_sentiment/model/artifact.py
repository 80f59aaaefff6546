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
from roberta_sentiment.graph.signature import Signature, read_signature
from roberta_sentiment.graph.structure import Structure, read_structure
from roberta_sentiment.model import families
from roberta_sentiment.model.heads import Head, HeadSetting, decide_head
from roberta_sentiment.model.layout import (
    CONFIG,
    GRAPH_FOLDER,
    MANIFEST,
    TOKENIZER_FILES,
    deciding_files,
    find_graph,
    has_tokenizer,
    is_inner_path,
)

MOUNTED_MODEL = Path("/mnt/models")
DEFAULT_MODEL = Path(__file__).resolve().parents[2] / "models" / "default"

MOST_LABELS = 1000
_TWO_LABELS = ("negative", "positive")
_MOST_JSON_BYTES = 2**26
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
        """As the manifest says, else as the graph computes: "fp32", "fp16" or "int8"."""
        return str(self.manifest.get("precision") or self.structure.precision)

    @property
    def batch_invariant(self) -> bool:
        """Whether an answer is the same alone and in any batch.

        The graph may say no to it, and so may the manifest; a manifest that claims it against the
        graph is not believed.
        """
        return not self.structure.mixes_texts and bool(self.manifest.get("batch_invariant", True))

    @cached_property
    def structure(self) -> Structure:
        """What the graph is made of.

        Raises:
            ArtifactError: the file is no graph.
        """
        return read_structure(self.onnx_path)

    @cached_property
    def signature(self) -> Signature:
        """Inputs and output of the graph.

        Raises:
            GraphError: they are not those of a classification graph.
        """
        return read_signature(self.structure.inputs, self.structure.outputs)

    def head(self, setting: HeadSetting = "auto") -> Head:
        """How the graph's outputs become scores.

        Raises:
            StartError: configuration, graph and setting contradict each other.
        """
        activation = self.structure.ends_in(self.signature.output)
        return decide_head(setting, self.config, len(self.labels), activation)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of the output.

        From `id2label`, else `label2id`. Where config.json has neither, two classes are negative
        and positive, and others LABEL_0, LABEL_1, ..., as transformers names them.

        Raises:
            ArtifactError: the classes are not numbered 0..k-1.
            GraphError: the graph's output is not that of a classification graph.
        """
        key = "id2label" if self.config.get("id2label") else "label2id"
        given = self.config.get(key)
        if not given:
            return self._default_labels()
        if not isinstance(given, dict):
            raise ArtifactError(f"{self._where('config.json')}: {key} is not an object")
        pairs = given.items() if key == "id2label" else [(i, name) for name, i in given.items()]
        try:
            by_index = {int(index): str(label) for index, label in pairs}
            labels = tuple(by_index[i] for i in range(len(given)))
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(
                f"{self._where('config.json')}: {key} must number its labels 0, 1, 2, ..."
            ) from None
        if len(labels) > MOST_LABELS:
            raise ArtifactError(
                f"{self._where('config.json')}: {key} has {len(labels)} labels; at most "
                f"{MOST_LABELS} are served"
            )
        if len(set(labels)) != len(labels):
            raise ArtifactError(f"{self._where('config.json')}: two labels of {key} are equal")
        if not all(map(str.strip, labels)) or None in given.values():
            raise ArtifactError(f"{self._where('config.json')}: a label of {key} has no name")
        return labels

    def _default_labels(self) -> tuple[str, ...]:
        said = self._whole_number("num_labels") if self._says("num_labels") else 2
        count = self.signature.classes or said
        return (
            _TWO_LABELS if count == len(_TWO_LABELS) else tuple(f"LABEL_{i}" for i in range(count))
        )

    @property
    def pad_token(self) -> int | None:
        """Id of the padding token; None if the model has none."""
        if not self._says("pad_token_id"):
            return families.default_pad_id(self.config)
        return self._whole_number("pad_token_id")

    @property
    def pad_id(self) -> int:
        """Id that fills rows up; a mask hides it, or rows of one length only run together."""
        return self.pad_token or 0

    @cached_property
    def vocab_size(self) -> int:
        """Rows of the word table; token ids are 0 <= id < vocab_size.

        Raises:
            ArtifactError: neither graph nor configuration says it.
        """
        rows = self.structure.word_rows(self.signature.ids)
        said = self._whole_number("vocab_size", 1) if self._says("vocab_size") else None
        if rows is None and said is None:
            raise ArtifactError(
                f"{self._where('config.json')} does not say vocab_size, and the graph has no word "
                "table that could be told; add it"
            )
        return min(size for size in (rows, said) if size is not None)

    @property
    def first_position(self) -> int:
        """Position of a text's first token, for a graph that asks for `position_ids`.

        Raises:
            ArtifactError: it asks for them, and nothing says how they are numbered.
        """
        first = families.first_position(self.config, self.pad_token)
        if first is None and self.signature.positions:
            raise ArtifactError(
                f"the graph asks for {self.signature.positions}, and model_type "
                f"{families.model_type(self.config)[:40]!r} does not tell how positions are "
                "numbered; export it without this input, as optimum-cli does"
            )
        return first or 0

    @property
    def position_limit(self) -> int:
        """Tokens the model takes, special tokens included.

        Raises:
            ArtifactError: nothing says it, or less than one token would be left of a text.
        """
        limit = self.known_limit
        if limit is None:
            raise ArtifactError(
                f"{self._where('config.json')}: model_type is "
                f"{families.model_type(self.config)[:40]!r}, and neither it nor a position table "
                "in the graph tells how many tokens the model takes; set the parameter max_tokens"
            )
        if limit < 1:
            raise ArtifactError(
                f"{self._where('config.json')}: max_position_embeddings and pad_token_id leave "
                f"{limit} tokens for a text; correct them, or set the parameter max_tokens"
            )
        return limit

    @cached_property
    def known_limit(self) -> int | None:
        """As `position_limit`, None if nothing says it."""
        if self._says("max_position_embeddings"):
            self._whole_number("max_position_embeddings")
        rows, own = (
            self.structure.position_rows(self.signature.ids),
            self.structure.packed_positions,
        )
        limit = families.position_limit(
            self.config,
            rows=rows,
            counted=self.structure.counts_tokens,
            pad_id=self.pad_token,
            tokenizer_limit=self.tokenizer_config.get("model_max_length"),
        )
        return limit if own is None or limit is None else min(limit, own)

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """`tokenizer_config.json`, empty when there is none."""
        path = self.path / "tokenizer_config.json"
        return _read_json(path) if path.exists() else {}

    def _says(self, key: str) -> bool:
        return self.config.get(key) is not None

    def _whole_number(self, key: str, least: int = 0) -> int:
        value = self.config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ArtifactError(
                f"{self._where('config.json')}: {key} is {repr(value)[:60]}; a whole number from "
                f"{least} is needed"
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
        if manifest.get("model") not in (None, graph.name, f"{GRAPH_FOLDER}/{graph.name}"):
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
    if not (directory / MANIFEST).is_file():
        raise ArtifactError(f"{directory / MANIFEST} is not a plain file; copy it there as one")
    manifest = _read_json(directory / MANIFEST)
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ArtifactError(f"{directory / MANIFEST}: files is not an object")
    for name, entry in files.items():
        if not isinstance(entry, dict) or not {"sha256", "size"} <= entry.keys():
            raise ArtifactError(f"{directory / MANIFEST}: files.{name} needs sha256 and size")
        if not is_inner_path(name):
            raise ArtifactError(f"{directory / MANIFEST}: {name!r} leads out of the directory")
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory / name} is missing, but {MANIFEST} names it")
    return manifest


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
            f"{directory / CONFIG} is missing; it tells the labels, the padding id and the "
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
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ArtifactError(f"{path} is larger than {_MOST_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}") from error
    except RecursionError:
        raise ArtifactError(f"{path} is not valid JSON: it is nested too deeply") from None
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
    if digest != str(entry["sha256"]).lower():
        raise ChecksumError(
            f"{path} has sha256 {digest[:12]}..., but {MANIFEST} says "
            f"{str(entry['sha256'])[:12]}...: the file is damaged or another one; copy it again"
        )
    return digest
