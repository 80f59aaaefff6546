"""Contenders as processes of their own, asked in turn, and the medians of what they took."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lab.benchmarks.environments import python_of
from lab.benchmarks.machine import ROOT

Logits = npt.NDArray[np.float64]


class ContenderError(Exception):
    """A contender failed; the message is its own."""


class Contender:
    """A process that scores texts when it is asked.

    Args:
        module: in `lab.benchmarks.contenders`.
        model: directory it loads.
        environment: name of its environment; by default this one.
        folder: checkout that it runs from.
    """

    def __init__(
        self, module: str, model: Path, environment: str | None = None, folder: Path = ROOT
    ) -> None:
        python = str(python_of(environment)) if environment else sys.executable
        package = "lab.benchmarks" if (folder / "lab").is_dir() else "benchmarks"
        self._process = subprocess.Popen(
            [python, "-m", f"{package}.contenders.{module}", str(model)],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.facts = self._read()

    def ask(self, texts: Sequence[str], options: Mapping[str, Any]) -> tuple[float, Logits]:
        """Seconds it took, and the logits, (n, classes).

        Raises:
            ContenderError: it failed.
        """
        assert self._process.stdin is not None
        request = {"texts": list(texts), "options": dict(options)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise ContenderError(answer["error"])
        return float(answer["seconds"]), np.array(answer["logits"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"it ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclasses.dataclass
class Row:
    """One way to score the texts.

    Attributes:
        name: in the results.
        contender: who does it.
        options: how.
        texts: which.
        seconds: what each round took.
    """

    name: str
    contender: Contender
    options: Mapping[str, Any]
    texts: Sequence[str]
    seconds: list[float] = dataclasses.field(default_factory=list)
    logits: Logits = dataclasses.field(default_factory=lambda: np.empty((0, 0)))

    def run(self) -> None:
        """Take part in a round."""
        seconds, self.logits = self.contender.ask(self.texts, self.options)
        self.seconds.append(seconds)

    @property
    def median(self) -> float:
        """Median of the rounds, in seconds."""
        return statistics.median(self.seconds)

    @property
    def texts_per_second(self) -> float:
        """At the median."""
        return len(self.texts) / self.median


def play(rows: Sequence[Row], rounds: int) -> None:
    """Run all rows in turn, every other round backwards; the first round is not counted."""
    for number in range(rounds + 1):
        for row in rows if number % 2 else rows[::-1]:
            row.run()
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
        if number == 0:
            for row in rows:
                row.seconds.clear()
