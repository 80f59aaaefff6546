"""The one command: `python -m baselines.train` makes what both baselines have learned.

It writes `lexicon/calibration.json`, `linear/model.npz` and `results.json`.
"""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from baselines.lexicon.model import CALIBRATION, LexiconClassifier
from baselines.linear.model import WEIGHTS, LinearClassifier, Weights
from baselines.train.data import read_split
from baselines.train.fit import figures, fit_lexicon, fit_linear
from lab.benchmarks import machine

RESULTS = Path(__file__).parent.parent / "results.json"


def main(
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = Path("../shared/data"),
) -> None:
    """Train both baselines and measure them on SST-2 dev."""
    split = read_split(data)
    calibration = fit_lexicon(split.sentences)
    _write_json(CALIBRATION, dataclasses.asdict(calibration))
    weights = fit_linear([*split.sentences, *split.phrases])
    weights.write()
    result = {
        **machine.describe(),
        "command": "python -m baselines.train",
        "packages": {name: version(name) for name in ("scikit-learn", "vaderSentiment", "numpy")},
        "texts": {
            "lexicon": len(split.sentences),
            "linear": len(split.sentences) + len(split.phrases),
            "dev": len(split.dev),
        },
        "terms": len(weights.terms),
        "bytes": WEIGHTS.stat().st_size,
        "sst2_dev": {
            "lexicon": figures(LexiconClassifier(calibration), split.dev),
            "linear": figures(LinearClassifier(Weights.read()), split.dev),
        },
    }
    _write_json(RESULTS, result)
    typer.echo(json.dumps(result, indent=2))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
