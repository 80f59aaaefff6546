"""Write the texts that the default model is calibrated with, one a line.

python -m lab.training.calibration ../shared/data build/default/calibration.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lab.training.export import calibration_texts


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    options.file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{text}\n" for text in calibration_texts(options.data, options.seed)]
    options.file.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
