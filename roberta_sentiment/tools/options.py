"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from roberta_sentiment.settings import HeadSetting, Settings, Truncation

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="Model directory; by default the embedded model.")
]
TruncationOption = Annotated[
    str, typer.Option("--truncation", help=f"One of {', '.join(get_args(Truncation))}.")
]
HeadOption = Annotated[
    str,
    typer.Option("--head", help=f"How outputs become scores: {', '.join(get_args(HeadSetting))}."),
]
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", help="Tokens the model sees of a text; 0: what it takes.")
]
WindowOverlapOption = Annotated[
    int,
    typer.Option(
        "--window-overlap", help="Tokens that neighbouring windows share (truncation windows)."
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", help="Threads that work on the model; 0: the CPUs there are.")
]
NameOption = Annotated[str, typer.Option("--name", help="Name; by default that of the target.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace any existing target.")]


def read_settings(
    truncation: str, head: str, max_tokens: int, window_overlap: int, threads: int
) -> Settings:
    """Settings of the classifier from these options.

    Raises:
        SettingsError: one is wrong.
    """
    return Settings.read(
        {
            "head": head,
            "truncation": truncation,
            "max_tokens": max_tokens,
            "window_overlap": window_overlap,
            "threads": threads,
        },
        {},
    )
