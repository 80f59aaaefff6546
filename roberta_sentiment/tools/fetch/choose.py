"""Which files of a repository, an archive or a directory make a model directory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.layout import CONFIG, MANIFEST, TOKENIZER_FILES, choose_graph

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of PyTorch's pickles, which can run code when they are read."""

_COMPANIONS = (*TOKENIZER_FILES, CONFIG, MANIFEST, "LICENSE", "LICENSE.txt", "NOTICE")
_TOP = PurePosixPath()
_SAFE = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.safetensors")
_TEST_DATA = re.compile(r"test_data_set_\d+/(input|output)_\d+\.pb")
_MODELS = ".onnx file, model.safetensors or pickles of PyTorch"
_REFUSED = (
    "which can run code when it is read. --include-pytorch fetches it; convert then reads it "
    "without running anything"
)


def choose(
    names: Iterable[str], where: str, *, file: str = "", include_pytorch: bool = False
) -> dict[str, str]:
    """Pick one graph, or a checkpoint where there is none, and what belongs to it.

    Args:
        names: paths at the source.
        where: the source in words, for messages.
        file: path of the graph or of the weights, if there is more than one.
        include_pytorch: select pickles, too.

    Returns:
        Path in the model directory to path at the source; the graph or the weights come first.

    Raises:
        ArtifactError: there is no model among them, or more than one.
    """
    known = sorted(names)
    if file and file not in known:
        raise ArtifactError(f"{where} has no file {file!r} (--file); it has {_some(known)}")
    graph = file or _graph(known, where)
    pickles = [name for name in known if _is_pickle(name) and "/" not in name]
    weights = [graph] if graph else [name for name in known if _SAFE.fullmatch(name)]
    weights += pickles if include_pytorch else []
    main = next(iter(weights or pickles), "")
    if not main:
        raise ArtifactError(f"{where} has no {_MODELS}; it has {_some(known)}")
    if _is_pickle(main) and not include_pytorch:
        raise ArtifactError(f"{where} has the model as a pickle, {main}, {_REFUSED}")
    if not graph:
        indices = tuple({f"{PurePosixPath(name).suffix}.index.json" for name in weights})
        weights += [name for name in known if "/" not in name and name.endswith(indices)]
    folder = PurePosixPath(main).parent
    files = {PurePosixPath(name).name: name for name in weights} | companions(known, folder)
    for path in map(PurePosixPath, known):
        inner = path.relative_to(folder) if path.is_relative_to(folder) else path
        if _TEST_DATA.fullmatch(str(inner)):
            files[str(inner)] = str(path)
    return files


def companions(
    names: Iterable[str],
    folder: PurePosixPath = _TOP,
    wanted: Iterable[str] = _COMPANIONS,
) -> dict[str, str]:
    """Tokenizer and configuration at the top, else in the graph's folder.

    Returns:
        Path in the model directory to path at the source.
    """
    known = set(names)
    found = {name: str(folder / name) for name in wanted if str(folder / name) in known}
    return found | {name: name for name in wanted if name in known}


def _graph(names: list[str], where: str) -> str:
    """The graph that a server would open, else the only one there is; empty if there is none."""
    found, candidates = choose_graph(names)
    graphs = candidates or [name for name in names if name.endswith(".onnx")]
    if not found and len(graphs) > 1:
        raise ArtifactError(f"{where} has several graphs; name one (--file): {_some(graphs)}")
    return found or next(iter(graphs), "")


def _is_pickle(name: str) -> bool:
    return PurePosixPath(name).suffix in PICKLES and "training_args" not in name


def _some(names: list[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + rest
