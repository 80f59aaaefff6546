"""Which files of a directory make a model: the graph, its weights kept outside, the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.graph.structure import external_files, refuse_placeholder

CONFIG = "config.json"
MANIFEST = "manifest.json"
GRAPH_FOLDER = "onnx"
"""Where the Hugging Face hub keeps graphs that do not lie at the top."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spm.model",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Every file from which a tokenizer is read, if it is there."""
_WHOLE_TOKENIZERS = (
    {"tokenizer.json"},
    {"vocab.json", "merges.txt"},
    {"vocab.txt"},
    {"sentencepiece.bpe.model"},
    {"spm.model"},
    {"spiece.model"},
)
"""Sets of files each of which is enough."""

_MAIN = "model.onnx"
_CHECKPOINTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_MOST_SHOWN = 6
_MOST_JSON_BYTES = 2**26


def choose_graph(names: Iterable[str]) -> tuple[str | None, list[str]]:
    """The graph among the files of a repository or directory.

    Those at the top come before those in the folder `onnx`. `model.onnx` is taken before its
    variants, `model_quantized.onnx` and the like, as the hub names them.

    Args:
        names: paths with forward slashes.

    Returns:
        The graph, or None with those among which only the user can choose.
    """
    graphs = [PurePosixPath(name) for name in sorted(names) if name.endswith(".onnx")]
    for folder in map(PurePosixPath, ("", GRAPH_FOLDER)):
        here = [graph for graph in graphs if graph.parent == folder]
        others = [graph for graph in here if not graph.name.startswith("model_")]
        if len(here) == 1 or [graph.name for graph in others] == [_MAIN]:
            return str((others or here)[0]), []
        if here:
            return None, [str(graph) for graph in here]
    return None, []


def find_graph(directory: Path, named: str, source: str) -> Path:
    """The graph of a model directory.

    Args:
        directory: where to look.
        named: by the manifest, as a file of the directory or of its folder `onnx`; empty if it
            names none.
        source: what set the path, in words.

    Raises:
        ArtifactError: there is none, or only the user can choose.
    """
    if named:
        if not is_plain_name(named.removeprefix(f"{GRAPH_FOLDER}/")):
            raise ArtifactError(f"{directory / MANIFEST}: model {named!r} is not a plain file name")
        if not (directory / named).is_file():
            raise ArtifactError(f"{directory / named} is missing, but {MANIFEST} names it")
        return directory / named
    names = [f"{folder}/{file.name}".lstrip("/") for folder, file in _visible_files(directory)]
    found, candidates = choose_graph(names)
    if found:
        return directory / found
    if candidates:
        raise ArtifactError(
            f"{directory} holds several .onnx files ({_shown(candidates)}); name one of them in "
            f'model_uri, leave one, or name it in {MANIFEST} as "model"'
        )
    raise ArtifactError(f"{directory} holds no .onnx file ({source}); {_advice(directory)}")


def has_tokenizer(names: Iterable[str]) -> bool:
    """Whether files of these names make a tokenizer."""
    known = set(names)
    return any(files <= known for files in _WHOLE_TOKENIZERS)


def deciding_files(directory: Path, graph: Path) -> dict[str, Path]:
    """Every file that decides an answer, by its name in the checksums.

    Raises:
        ArtifactError: the graph keeps weights in a file that is missing or outside its directory,
            or a file is only a placeholder.
    """
    files = {graph.name: graph}
    for name in external_files(graph):
        if name in (CONFIG, *TOKENIZER_FILES):
            raise ArtifactError(
                f"{graph} keeps weights in {name}, a name that stands for another file; export it "
                "again with its weights under another name"
            )
        if not is_inner_path(name):
            raise ArtifactError(
                f"{graph} keeps weights in {name!r}, outside its own directory; export it again "
                "with its weights beside it"
            )
        if not (graph.parent / name).is_file():
            raise ArtifactError(
                f"{graph} keeps weights in {name}, which is missing; copy it there too"
            )
        files[name] = graph.parent / name
    for name in (CONFIG, *TOKENIZER_FILES):
        if (directory / name).is_file():
            files[name] = directory / name
    for file in files.values():
        refuse_placeholder(file)
    return files


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ArtifactError: it can't be read, is too large or is not an object.
    """
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


def is_inner_path(name: str) -> bool:
    """Whether a name leads to something in its directory or in a folder of it."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def is_plain_name(name: str) -> bool:
    """Whether a name leads to a file in its directory, and nowhere else."""
    return PurePosixPath(name).name == name and name not in (".", "..")


def _visible_files(directory: Path) -> Iterator[tuple[str, Path]]:
    for folder in ("", GRAPH_FOLDER):
        if (directory / folder).is_dir():
            for file in sorted((directory / folder).iterdir()):
                if file.is_file() and not file.name.startswith("."):
                    yield folder, file


def _advice(directory: Path) -> str:
    """What was found in place of a graph, and the way out."""
    every = sorted(directory.iterdir())
    entries = [entry for entry in every if not entry.name.startswith(".")]
    if not every:
        return "it is empty: see that the copy into it has worked"
    if not entries:
        return (
            f"it holds hidden entries only ({_shown([entry.name for entry in every])}): see that "
            "the copy into it has worked"
        )
    for entry in entries:
        if entry.name.endswith(".onnx"):
            kind = "a folder" if entry.is_dir() else "a broken link or no plain file"
            return f"{entry.name} is {kind}: copy the graph there as a file"
    folders = [entry for entry in entries if entry.is_dir()]
    for folder in folders:
        if any(folder.glob("*.onnx")) or any(folder.glob(f"{GRAPH_FOLDER}/*.onnx")):
            return f"its folder {folder.name} does: set model_uri to {folder}"
    checkpoints = [entry.name for entry in entries if entry.name.endswith(_CHECKPOINTS)]
    if checkpoints:
        return (
            f"it holds a checkpoint ({_shown(checkpoints)}), which has to become a graph first: "
            "python -m roberta_sentiment convert"
        )
    return f"it holds {_shown([entry.name for entry in entries])}"


def _shown(names: list[str]) -> str:
    rest = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
