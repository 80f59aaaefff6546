"""Cached stages: one that has finished leaves `done.json` in its folder and is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

Figures = dict[str, Any]
DONE = "done.json"


def run_stage(
    name: str, folder: Path, work: Callable[[Path], Figures], console: Console
) -> Figures:
    """Run `work(folder)` unless it has finished before; return its figures.

    The figures are kept in `folder/done.json` with the wall time in seconds.
    """
    done = folder / DONE
    if done.is_file():
        console.print(f"[dim]{name}: done before, {done}[/dim]")
        figures: Figures = json.loads(done.read_text(encoding="utf-8"))
        return figures
    folder.mkdir(parents=True, exist_ok=True)
    console.rule(name)
    start = time.time()
    figures = work(folder)
    figures = {"stage": name, "seconds": round(time.time() - start, 1), **figures}
    done.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print_json(json.dumps(figures))
    return figures
