"""The pictures of the results, from the JSON files: docs/speed.svg and docs/soak.svg.

python -m lab.benchmarks.picture
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from lab.benchmarks.machine import RESULTS, ROOT

DOCS = ROOT / "docs"
_OURS, _OTHERS = "#1b6ca8", "#b8bec5"
_SERVED_AT = 16


def speed() -> None:
    """Texts a second in process, and requests a second served; ours in blue."""
    in_process = json.loads((RESULTS / "in_process.json").read_text(encoding="utf-8"))
    served = json.loads((RESULTS / "served_base_sentences.json").read_text(encoding="utf-8"))
    left = {r["row"]: r["texts_per_s"] for r in in_process["rows"] if ":" not in r["row"]}
    right = {
        r["server"]: r["requests_per_s"]
        for r in served["rows"]
        if r["concurrency"] == _SERVED_AT and not r["broken"]
    }
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    _bars(axes[0], best_of_each(left), "In process, texts a second")
    _bars(axes[1], right, f"Over REST, requests a second at {_SERVED_AT} callers")
    figure.suptitle(
        f"RoBERTa base, {in_process['cores']} cores of {in_process['cpu']}, the same weights and "
        f"texts ({in_process['texts'].partition(',')[0]})",
        fontsize=9,
    )
    _save(figure, "speed.svg")


def best_of_each(rates: Mapping[str, float]) -> dict[str, float]:
    """The best batch size of each way: the part of the name before the batch decides."""
    found: dict[str, float] = {}
    for name, rate in rates.items():
        way = name.partition(", alone")[0].partition(", batches")[0]
        found[way] = max(rate, found.get(way, 0))
    return found


def soak(result: Mapping[str, Any]) -> None:
    """Memory of the whole service, and requests a second, against time."""
    samples: Sequence[Mapping[str, float]] = result["samples"]
    minutes = [sample["s"] / 60 for sample in samples]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(minutes, [s["pss_mb"] for s in samples], color=_OURS, label="memory (PSS), MB")
    axes.plot(
        minutes, [s["requests_per_s"] for s in samples], color=_OTHERS, label="requests a second"
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, "soak.svg")


def _bars(axes: Any, rates: Mapping[str, float], title: str) -> None:
    ordered = sorted(rates.items(), key=lambda pair: pair[1])
    names, values = zip(*ordered, strict=True)
    colours = [_OURS if name.startswith("ours") else _OTHERS for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=3, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, name: str) -> None:
    with mpl.rc_context({"svg.hashsalt": "roberta", "svg.fonttype": "none"}):
        figure.savefig(DOCS / name, metadata={"Date": None})


def main() -> None:
    """Draw what there are results for."""
    if (RESULTS / "in_process.json").exists():
        speed()
    if (RESULTS / "soak.json").exists():
        soak(json.loads((RESULTS / "soak.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
