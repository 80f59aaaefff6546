"""What may be asked of `fetch`, and what it says when it is done."""

from __future__ import annotations

import dataclasses

MAX_BYTES = 2**31


@dataclasses.dataclass(frozen=True)
class Options:
    """What may be asked for beside a source and a target.

    Attributes:
        sha256: of the graph, of the weights, or of the archive; empty if not known.
        tokenizer: local directory or "hf:organisation/name" with tokenizer and config.json, for a
            source that has none.
        file: path of the graph at a source with several, or of the weights.
        include_pytorch: whether pickles are fetched.
        max_bytes: taken of a file whose size its server does not say.
        replace: whether an existing target is replaced.
        name, licence: for the manifest; empty for what is known of the source.
    """

    sha256: str = ""
    tokenizer: str = ""
    file: str = ""
    include_pytorch: bool = False
    max_bytes: int = MAX_BYTES
    replace: bool = False
    name: str = ""
    licence: str = ""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What was written.

    Attributes:
        main: name of the graph, or of the weights if there is no graph.
        is_graph: which of the two it is.
        sha256: of that file.
        precision: of the graph, or "unknown".
        refused: why a server with default settings would not start with it; empty if it would.
    """

    main: str
    is_graph: bool
    sha256: str
    precision: str
    refused: str = ""
