"""Collect the figures of all stages in one file.

python -m lab.training.results --out lab/training/results.json
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lab.training.pipeline import ORDER

STAGES = (*ORDER, "plain")
SOFTWARE = ("torch", "transformers", "tokenizers", "onnx", "onnxruntime", "numpy")


def collect(work: Path, date: str, machine: str) -> dict[str, Any]:
    """The figures of the stages found under `work`, with date, machine and software."""
    found = {name: work / name / "done.json" for name in STAGES}
    return {
        "date": date,
        "machine": machine,
        "command": "python -m lab.training --data ../shared/data",
        "software": {"python": platform.python_version()} | {n: version(n) for n in SOFTWARE},
        "stages": {
            name: json.loads(path.read_text(encoding="utf-8"))
            for name, path in found.items()
            if path.is_file()
        },
    }


def main() -> None:
    """Write the collected figures; keep the tries noted in an earlier file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/training"))
    parser.add_argument("--out", type=Path, default=Path("lab/training/results.json"))
    parser.add_argument("--date", required=True)
    parser.add_argument("--machine", required=True)
    options = parser.parse_args()
    figures = collect(options.work, options.date, options.machine)
    if options.out.is_file():
        before = json.loads(options.out.read_text(encoding="utf-8"))
        figures |= {
            name: before[name] for name in ("again", "head", "default_model") if name in before
        }
    options.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
