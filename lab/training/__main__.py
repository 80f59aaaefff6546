"""The one command: `python -m lab.training` from the repository's root makes the default model.

    weights -> data -> reviews -> tokenizer -> transfer -> teacher -> labels -> distil -> blend
    -> export

Each stage is cached under the work folder; a run that was stopped continues where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_MMAP_MAX_": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""glibc keeps freed memory instead of returning it, which halves the time of torch on a CPU; its
threads sleep at a barrier, which on a busy machine costs a seventh of the time of spinning."""


def ensure_environment() -> None:
    """Start this program again if the allocator's settings are missing: glibc reads them once."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        arguments = [sys.executable, "-m", "lab.training", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **ENVIRONMENT})


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.training", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("build/training"))
    parser.add_argument("--checkpoint", type=Path, default=Path("lab/training/checkpoint"))
    parser.add_argument("--earlier", type=Path, help="start from this student's checkpoint")
    parser.add_argument("--epochs", type=int, help="of the distillation with --earlier")
    parser.add_argument("--learning-rate", type=float, help="peak of the same")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument(
        "--plain", action="store_true", help="also train on labels alone, for comparison"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Run all stages."""
    ensure_environment()
    options = parse(sys.argv[1:])

    from lab.training.pipeline import run_all
    from lab.training.settings import Settings

    settings = Settings(
        data=options.data,
        work=options.work,
        checkpoint=options.checkpoint,
        earlier=options.earlier,
        seed=options.seed,
    )
    if options.epochs:
        settings = replace(settings, again=replace(settings.again, epochs=options.epochs))
    if options.learning_rate:
        rates = {
            "learning_rate": options.learning_rate,
            "embedding_learning_rate": 3 * options.learning_rate,
        }
        settings = replace(settings, again=replace(settings.again, **rates))
    run_all(settings, plain=options.plain)


if __name__ == "__main__":
    main()
