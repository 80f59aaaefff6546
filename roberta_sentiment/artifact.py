"""A model directory: where it is, whether it is intact, and what its files say about the model.

The layout is that of Hugging Face and Optimum: one `*.onnx` file, `tokenizer.json` or `vocab.json`
with `merges.txt`, `tokenizer_config.json`, `config.json`, and optionally `manifest.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from roberta_sentiment.errors import ArtifactError, ChecksumError

MANIFEST = "manifest.json"
MOUNTED_MODEL = Path("/mnt/models")
DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "default"

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt")


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A model directory whose files are present and, where a manifest says so, intact.

    Attributes:
        path: the directory.
        source: where its place was set, in words, for the log and the metadata.
        onnx_path: the graph.
        sha256: checksum of the graph, 64 hexadecimal digits.
        config: `config.json`.
        manifest: `manifest.json`, empty when there is none.
        stamp: size and modification time (ns) of each file at the time of the check.
    """

    path: Path
    source: str
    onnx_path: Path
    sha256: str
    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    stamp: Mapping[str, tuple[int, int]]

    @property
    def name(self) -> str:
        """The model's name: the manifest's, else the directory's."""
        return str(self.manifest.get("name") or self.path.resolve().name)

    @property
    def version(self) -> str:
        """The first 12 digits of the graph's checksum."""
        return self.sha256[:12]

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

    def unchanged(self) -> Artifact:
        """The same artifact if no file was touched since the check, else one checked anew.

        Raises:
            ArtifactError: a file is missing or damaged by now.
        """
        if stamp_of(self.path) == self.stamp:
            return self
        return open_artifact(self.path, self.source)


def locate(model_uri: str, mounted: Path = MOUNTED_MODEL) -> tuple[Path, str]:
    """Find the model directory: `model_uri`, else a mounted one, else the embedded default.

    Args:
        model_uri: path or file:// URI; empty if not set.
        mounted: where Seldon's storage initializer puts a model.

    Returns:
        The directory and, in words, why this one.

    Raises:
        ArtifactError: the URI has a scheme that is not a local file's.
    """
    if model_uri:
        parsed = urlparse(model_uri)
        if parsed.scheme not in ("", "file"):
            raise ArtifactError(
                f"model_uri is {model_uri!r}, but the server reads local directories only; "
                "put the address into modelUri of the graph node, and Seldon's storage "
                f"initializer copies it to {mounted}"
            )
        return Path(unquote(parsed.path)), "model_uri"
    if mounted.is_dir() and any(mounted.glob("*.onnx")):
        return mounted, str(mounted)
    return DEFAULT_MODEL, "embedded default"


def open_artifact(path: Path, source: str = "given path") -> Artifact:
    """Check a model directory and read what it says about the model.

    Raises:
        ArtifactError: a file is missing, unreadable or not what it should be.
        ChecksumError: a file differs from what the manifest says.
    """
    if not path.is_dir():
        raise ArtifactError(f"the model directory {path} does not exist ({source})")
    manifest = _read_json(path / MANIFEST) if (path / MANIFEST).exists() else {}
    stamp = stamp_of(path)
    checksums = _verify(path, manifest)
    onnx_path = _find_onnx(path, manifest)
    if not (path / "tokenizer.json").exists():
        for name in _TOKENIZER_FILES[1:]:
            if not (path / name).exists():
                raise ArtifactError(
                    f"{path / name} is missing; a model directory needs tokenizer.json, "
                    "or vocab.json with merges.txt"
                )
    if not (path / "config.json").exists():
        raise ArtifactError(
            f"{path / 'config.json'} is missing; it tells the labels, the padding id and the "
            "length that the model takes"
        )
    return Artifact(
        path=path,
        source=source,
        onnx_path=onnx_path,
        sha256=checksums.get(onnx_path.name) or sha256_of(onnx_path),
        config=_read_json(path / "config.json"),
        manifest=manifest,
        stamp=stamp,
    )


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


def claimed_sha256(path: Path) -> str:
    """Checksum of the graph as the manifest tells it, not verified; empty if it does not."""
    try:
        manifest = _read_json(path / MANIFEST)
        claimed = manifest["files"][_find_onnx(path, manifest).name]["sha256"]
    except (ArtifactError, LookupError, TypeError):
        return ""
    return str(claimed)


def stamp_of(path: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time (ns) of each file of a directory."""
    entries = sorted(entry for entry in path.iterdir() if entry.is_file())
    return {e.name: (e.stat().st_size, e.stat().st_mtime_ns) for e in entries}


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


def _verify(path: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Compare every file that the manifest names; return their checksums."""
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise ArtifactError(f"{path / MANIFEST}: files is not an object")
    return {name: _verify_file(path, name, entry) for name, entry in files.items()}


def _verify_file(directory: Path, name: str, entry: object) -> str:
    path = directory / name
    if not isinstance(entry, dict) or not {"sha256", "size"} <= entry.keys():
        raise ArtifactError(f"{directory / MANIFEST}: files.{name} needs sha256 and size")
    if Path(name).name != name:
        raise ArtifactError(f"{directory / MANIFEST}: {name!r} is not a plain file name")
    if not path.is_file():
        raise ArtifactError(f"{path} is missing, but {MANIFEST} names it")
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


def _find_onnx(path: Path, manifest: Mapping[str, Any]) -> Path:
    named = manifest.get("model")
    if named:
        if not (path / str(named)).is_file():
            raise ArtifactError(f"{path / str(named)} is missing, but {MANIFEST} names it")
        return path / str(named)
    found = sorted(path.glob("*.onnx"))
    if not found:
        raise ArtifactError(f"{path} holds no .onnx file")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ArtifactError(
            f"{path} holds several .onnx files ({names}); "
            f'leave one, or name it in {MANIFEST} as "model"'
        )
    return found[0]
