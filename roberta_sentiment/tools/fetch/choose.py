"""Which files of a repository, an archive or a directory make a model directory."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from roberta_sentiment.errors import ArtifactError
from roberta_sentiment.model.layout import (
    CONFIG,
    MANIFEST,
    TOKENIZER_FILES,
    choose_graph,
    is_inner_path,
)
from roberta_sentiment.tools.fetch.sources import Listing

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of PyTorch's pickles, which can run code when they are read."""

_COMPANIONS = (*TOKENIZER_FILES, CONFIG, MANIFEST, "LICENSE", "LICENSE.txt", "NOTICE")
_TOP = PurePosixPath()
_SAFE = ".safetensors"
_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.[a-z]+")
_INDEX = re.compile(r"(model|pytorch_model)\.(safetensors|bin)\.index\.json")
_TEST_DATA = re.compile(r"test_data_set_\d+/(input|output)_\d+\.pb")


@dataclasses.dataclass(frozen=True)
class Selection:
    """The files of a source that make a model directory.

    Attributes:
        listing: what the source holds.
        main: name of the graph in the model directory, or of the weights if there is no graph.
        files: path in the model directory to path at the source.
    """

    listing: Listing
    main: str
    files: dict[str, str]

    @property
    def is_graph(self) -> bool:
        """Whether there is a graph."""
        return self.main.endswith(".onnx")


def choose(
    listing: Listing, *, where: str, file: str = "", include_pytorch: bool = False
) -> Selection:
    """Pick one graph, or a checkpoint where there is none, and what belongs to it.

    Args:
        listing: what the source holds.
        where: the source in words, for messages.
        file: path of the graph or of the weights, if there is more than one.
        include_pytorch: select pickles, too.

    Raises:
        ArtifactError: there is no model among them, or more than one.
    """
    known = sorted(listing.items)
    main = _named(known, file, where) if file else _graph(known, where)
    if main is None:
        weights = _checkpoint(known, where, include_pytorch)
    else:
        weights = [main, *(_pickles(known) if include_pytorch else [])]
    if _is_pickle(weights[0]) and not include_pytorch:
        raise ArtifactError(f"{weights[0]} of {where} is a pickle: {_PICKLES_ONLY}")
    folder = PurePosixPath(weights[0]).parent
    files = {PurePosixPath(name).name: name for name in weights}
    files |= companions(known, folder) | _test_data(known, folder)
    return Selection(listing, PurePosixPath(weights[0]).name, files)


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
    found = {}
    for name in wanted:
        paths = [path for path in (name, str(folder / name)) if path in known]
        if paths:
            found[name] = paths[0]
    return found


def _named(names: list[str], file: str, where: str) -> str:
    if file not in names:
        raise ArtifactError(f"{where} has no file {file!r} (--file); it has {_some(names)}")
    return file


def _graph(names: list[str], where: str) -> str | None:
    """The graph that a server would open, else the only one there is."""
    found, candidates = choose_graph(names)
    graphs = candidates or [name for name in names if name.endswith(".onnx")]
    if not found and len(graphs) > 1:
        raise ArtifactError(f"{where} has several graphs; name one (--file): {_some(graphs)}")
    return found or (graphs[0] if graphs else None)


def _checkpoint(names: list[str], where: str, include_pytorch: bool) -> list[str]:
    weights = [name for name in names if _WEIGHTS.fullmatch(name)]
    index = [name for name in names if _INDEX.fullmatch(name)]
    safe = [name for name in weights if name.endswith(_SAFE)]
    pickles = _pickles(names)
    selected = safe + (pickles if include_pytorch else [])
    if selected:
        endings = tuple({PurePosixPath(name).suffix for name in selected})
        return selected + [n for n in index if n.removesuffix(".index.json").endswith(endings)]
    if pickles:
        raise ArtifactError(f"{where} has its weights as pickles only, {_PICKLES_ONLY}")
    raise ArtifactError(
        f"{where} has neither a .onnx file nor model.safetensors or pickles; it has {_some(names)}"
    )


_PICKLES_ONLY = (
    "which can run code when they are read. --include-pytorch fetches them; convert then reads "
    "them without running anything"
)


def _pickles(names: list[str]) -> list[str]:
    return [name for name in names if _is_pickle(name) and "/" not in name]


def _is_pickle(name: str) -> bool:
    return PurePosixPath(name).suffix in PICKLES and "training_args" not in name


def external(names: Iterable[str], main: str, wanted: Iterable[str]) -> dict[str, str]:
    """Files in which a graph keeps its weights, of those that the source has.

    Args:
        names: paths at the source.
        main: the graph's.
        wanted: as the graph names them, beside itself.

    Returns:
        Path in the model directory to path at the source.
    """
    known = set(names)
    paths = {name: str(PurePosixPath(main).parent / name) for name in wanted if is_inner_path(name)}
    return {name: path for name, path in paths.items() if path in known}


def _test_data(names: list[str], folder: PurePosixPath) -> dict[str, str]:
    found = {}
    for name in names:
        path = PurePosixPath(name)
        relative = str(path.relative_to(folder)) if path.is_relative_to(folder) else name
        if _TEST_DATA.fullmatch(relative):
            found[relative] = name
    return found


def _some(names: list[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + rest
