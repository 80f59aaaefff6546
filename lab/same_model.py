"""Whether a model directory made by `make model` is the shipped one.

    python -m lab.same_model build/default/int8 models/default

Exit code 0 if the figures in both manifests agree; the graphs may differ in a rounding where
another CPU made them, and then the differences are within the tolerances below.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from roberta_sentiment.model.artifact import Artifact, open_artifact

TOLERANCES = {
    "accuracy": 0.0012,
    "accuracy_fp32": 0.0012,
    "flips": 1,
    "largest_logit_difference": 0.05,
    "mean_logit_difference": 0.005,
    "products": 0,
    "bytes": 0,
}
"""Most that a figure may differ by; 0.0012 of accuracy is one text of SST-2 dev."""


def differences(made: Artifact, shipped: Artifact) -> dict[str, tuple[float, float, bool]]:
    """Each figure in both manifests, and whether they agree."""
    pairs = {
        name: (made.manifest["quantization"][name], shipped.manifest["quantization"][name])
        for name in TOLERANCES
    }
    return {n: (a, b, abs(a - b) <= TOLERANCES[n] + 1e-9) for n, (a, b) in pairs.items()}


def main() -> int:
    """Compare the two directories named on the command line."""
    made, shipped = (open_artifact(Path(name)) for name in sys.argv[1:3])
    table = Table("figure", "made now", "shipped", "agree")
    found = differences(made, shipped)
    for name, (now, before, agree) in found.items():
        table.add_row(name, f"{now:g}", f"{before:g}", "yes" if agree else "NO")
    table.add_row("sha256", made.version, shipped.version, str(made.sha256 == shipped.sha256))
    Console().print(table)
    return 0 if all(agree for *_, agree in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
