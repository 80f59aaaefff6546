"""Write the texts that a finished model is judged by: sentences held out, and reviews set aside.

python -m lab.training.judged ../shared/data build/default
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lab.training.corpus import hold_out, write_tsv
from lab.training.reviews import REVIEWS, read_reviews, set_aside
from lab.training.settings import Settings


def main() -> None:
    """Write heldout.tsv and reviews.tsv into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    settings = Settings(options.data, options.folder, options.folder)
    options.folder.mkdir(parents=True, exist_ok=True)
    sentences, *_ = hold_out(options.data, settings.heldout, settings.seed)
    reviews, _ = set_aside(read_reviews(options.data / REVIEWS), settings.reviews_set_aside)
    write_tsv(options.folder / "heldout.tsv", sentences)
    write_tsv(options.folder / "reviews.tsv", reviews)


if __name__ == "__main__":
    main()
