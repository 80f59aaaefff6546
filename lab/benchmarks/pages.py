"""Writes the tables of docs/performance.md and docs/sizing.md from the JSON files of the results.

    python -m lab.benchmarks.pages

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`; the text around it is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from lab.benchmarks.machine import RESULTS, ROOT

PAGES = ("docs/performance.md", "docs/sizing.md", "docs/oip.md", "docs/batch.md")
_BLOCK = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- /table -->", re.DOTALL)
_MISSING = "-"
_SOAK_ROWS = 8
_OVERLOADS = {
    "default": "default",
    "base": "base",
    "default, V2 by REST": "oip",
    "default, V2 by gRPC": "oip_grpc",
}
"""Rows of the table, with the names of their results."""
_BATCH_LENGTHS = (16, 32, 64, 128, 256, 512)
Result = dict[str, Any]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers to the right."""
    body = [[_MISSING if cell is None else str(cell) for cell in row] for row in rows]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def origin(result: Result) -> str:
    """Machine, date, commit and command, in one line."""
    return (
        f"{result['date']}, {result['cores']} cores of {result['cpu']}, commit "
        f"`{result['commit']}`, `{result['command']}`\n"
    )


def read(name: str) -> Result:
    """A result; FileNotFoundError if it was not measured."""
    content: Result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _in_process(name: str) -> Callable[[], str]:
    return lambda: _rates(read(name))


def _rates(result: Result) -> str:
    rows = [
        (
            row["row"],
            row["texts_per_s"],
            row["of_gemm_limit"],
            row.get("largest_logit_difference"),
            row.get("other_label"),
        )
        for row in result["rows"]
    ]
    header = ("", "texts/s", "of the GEMM limit", "largest difference of a logit", "other label")
    return table(header, rows) + "\n" + origin(result)


def _ratios(name: str) -> Callable[[], str]:
    return lambda: _times(read(name))


def _times(result: Result) -> str:
    reached = {row["row"]: row["of_gemm_limit"] for row in result["rows"]}
    rows = [
        (name, ratio, None if ":" in name else round(ratio / reached[f"ours {name.split()[0]}"], 2))
        for name, ratio in result["ratios"].items()
    ]
    return table(("ours, times", "ratio", "at the GEMM limit"), rows)


def _served(name: str) -> Callable[[], str]:
    def render() -> str:
        result = read(name)
        return _by_concurrency(result, result.get("differences", {}).get("largest")) + (
            f"\nIn process, one text after another: p50 {result['in_process_p50_ms']} ms.\n\n"
            + origin(result)
        )

    return render


def _by_concurrency(result: Result, differences: Result | None) -> str:
    rows = result["rows"]
    found = {(row["server"], row["concurrency"]): row for row in rows}
    callers = sorted({row["concurrency"] for row in rows})
    header = ["server"]
    header += [f"{n}: req/s" for n in callers]
    header += ["1: p50 ms", "16: p50 ms", "16: p99 ms", "16: CPU ms a request", "refused"]
    lines = []
    for name in dict.fromkeys(row["server"] for row in rows):
        cells: list[object] = [name]
        cells += [found[name, n]["requests_per_s"] for n in callers]
        cells += [found[name, 1]["p50_ms"]]
        cells += [found[name, 16][key] for key in ("p50_ms", "p99_ms", "cpu_ms_a_request")]
        cells += [sum(found[name, n]["not_2xx"] for n in callers)]
        if differences:
            cells.append(differences[name])
        lines.append(cells)
    if differences:
        header.append("largest difference of a score")
    return table(header, lines)


def _workers(name: str) -> Callable[[], str]:
    def render() -> str:
        result = read(name)
        memory = result["pss_mb"]
        found = {(row["server"], row["concurrency"]): row for row in result["rows"]}
        lines = [
            [
                setting,
                *(found[setting, n]["requests_per_s"] for n in (1, 4, 16, 64)),
                found[setting, 1]["p50_ms"],
                found[setting, 16]["p99_ms"],
                memory[setting],
            ]
            for setting in result["settings"]
        ]
        header = ["setting", *(f"{n}: req/s" for n in (1, 4, 16, 64))]
        header += ["1: p50 ms", "16: p99 ms", "memory (PSS), MB"]
        return table(header, lines) + "\n" + origin(result)

    return render


def _without_vnni() -> str:
    result = read("without_vnni")
    lines = [
        [cpu, form, *cells.values()]
        for cpu, forms in result["rows"].items()
        for form, cells in forms.items()
    ]
    header = ("CPU", "form", "ms a text", "times float32", "accuracy", "largest difference, logit")
    return table(header, lines) + "\n" + origin(result)


def _start() -> str:
    result = read("start")
    rows = [(name, *row.values()) for name, row in result["rows"].items()]
    header = ("", "ready, s", "REST answered, s", "gRPC answered, s")
    return table(header, rows) + "\n" + origin(result)


def _servers(name: str) -> Callable[[], str]:
    def render() -> str:
        result = read(name)
        rates = itemgetter("ours", "reference", "ratio")
        rows = [
            (f"{row['protocol']}, {row['callers']}", *rates(row["requests_per_s"]),
             row["cpu_ms_a_request"]["ratio"])
            for row in result["rows"]
        ]  # fmt: skip
        ours, reference = result["ready_s"].values()
        rows.append(("ready, s", ours, reference, round(reference / ours, 2), None))
        header = ("protocol, callers", "requests/s", "reference", "times", "CPU a request, times")
        return table(header, rows) + "\n" + origin(result)

    return render


def _memory_of_models() -> str:
    result = read("memory")
    rows = [
        (
            name,
            row["first_mb"],
            row["further_private_mb"],
            f"{100 * row['further_share']:.0f} %",
            row["first_process_peak_mb"],
        )
        for name, row in result["model"].items()
    ]
    header = ("", "first process, MB", "each further, private MB", "share", "peak of the first, MB")
    return table(header, rows) + "\n" + origin(result)


def _memory_of_services() -> str:
    result = read("memory")
    rows = [
        (name, row["processes"], row["pss_mb"], row["sum_of_rss_mb"])
        for name, row in result["service"].items()
    ]
    return table(("service", "processes", "memory (PSS), MB", "sum of RSS, MB"), rows)


def _overload() -> str:
    lines: list[Sequence[object]] = []
    origins: dict[str, None] = {}
    for label, name in _OVERLOADS.items():
        last = read(f"overload_{name}")
        origins[origin(last)] = None
        lines.append(
            (
                label,
                last["capacity_per_s"],
                last["sent_per_s"],
                last["answered_per_s"],
                last["accepted_ms"]["p50"],
                last["accepted_ms"]["p99"],
                last["refused_ms"]["p50"],
                last["refused_ms"]["p99"],
                (last.get("refused_server_ms") or {}).get("p99", ""),
                sum(last["wrong"].values()),
                last["counted_by_the_server"] - last["answered"],
            )
        )
    header = (
        "model", "capacity, req/s", "sent, req/s", "answered, req/s", "accepted p50 ms",
        "accepted p99 ms", "503 p50 ms", "503 p99 ms", "503 p99 ms in the server",
        "lost or wrong", "answered twice",
    )  # fmt: skip
    return table(header, lines) + "\n" + "\n".join(origins)


def _lengths() -> str:
    result = read("cost")
    found = {name: model["ms_by_length_alone"] for name, model in result["models"].items()}
    lengths = next(iter(found.values()))
    lines = [(n, *(rows[n] for rows in found.values())) for n in lengths]
    return table(("tokens", *(f"{n}, ms" for n in found)), lines) + "\n" + origin(result)


def _batches() -> str:
    result = read("cost")
    found = {name: model["ms_a_text_by_batch"] for name, model in result["models"].items()}
    sizes = next(iter(found.values()))
    lines = [(n, *(rows[n] for rows in found.values())) for n in sizes]
    return table(("texts in a batch", *(f"{n}, ms a text" for n in found)), lines)


def _operators() -> str:
    result = read("cost")
    lines = [
        (
            f"{name}, {shape}",
            ", ".join(f"{k} {100 * v:.0f} %" for k, v in shares.items() if v >= 0.01),
        )
        for name, model in result["models"].items()
        for shape, shares in model["time_by_operator"].items()
    ]
    return table(("model, batch x tokens", "time"), lines)


def _per_core() -> str:
    """Requests a second of one core: the service's capacity by length, from the run times."""
    result = read("cost")
    cores = result["cores"]
    found = {name: model["ms_by_length_alone"] for name, model in result["models"].items()}
    lengths = next(iter(found.values()))
    lines = [(n, *(round(1000 / rows[n] / cores, 1) for rows in found.values())) for n in lengths]
    return table(("tokens of a text", *found), lines) + "\n" + origin(result)


def _core_hours() -> str:
    """What a hundred million texts cost, one text a run, by length and model."""
    result = read("cost")
    found = {name: model["ms_by_length_alone"] for name, model in result["models"].items()}
    hours = 1e8 / 1000 / 3600 * result["cores"]
    lengths = [n for n in next(iter(found.values())) if int(n) in _BATCH_LENGTHS]
    lines = [(n, *(f"{rows[n] * hours:,.0f}" for rows in found.values())) for n in lengths]
    return table(("tokens of a text", *found), lines) + "\n" + origin(result)


def _batch() -> str:
    result = read("batch")
    ratios = "; ".join(f"{name} {value}" for name, value in result["ratios"].items())
    rates = table(("", "texts/s"), result["texts_per_s"].items())
    return f"{rates}\nRatios: {ratios}.\n\n" + origin(result)


def _batch_memory() -> str:
    result = read("batch_memory")
    names = ("python_mb_first_half", "python_mb_second_half", "python_mb_most", "jvm_mb_most")
    header = ("rows", *(name.replace("_mb_", ", ").replace("_", " ") + ", MB" for name in names))
    row = (result["rows_scored"], *(result[name] for name in names))
    return table(header, [row]) + "\n" + origin(result)


def _batch_alone() -> str:
    result = read("batch_alone")
    rows = [(name, *row.values()) for name, row in result["models"].items()]
    header = ("embedded model", "shared runs, texts/s", "each alone, texts/s", "ratio")
    return table(header, rows) + "\n" + origin(result)


def _ablation(name: str, precision: str) -> Callable[[], str]:
    def render() -> str:
        result = read(name)
        rows = [
            (
                row["row"],
                row["texts_per_s"],
                row["to_ours"],
                row["largest_logit_difference_to_export"],
            )
            for row in result[precision]
        ]
        header = ("", "texts/s", "of ours", "largest difference of a logit to the export")
        return table(header, rows) + "\n" + origin(result)

    return render


def _served_ablation() -> str:
    result = read("served_ablation_default")
    return _by_concurrency(result, None) + "\n" + origin(result)


def _oip() -> str:
    result = read("oip")
    found = {(row["server"], row["concurrency"]): row for row in result["rows"]}
    rows = [
        (
            name,
            found[name, 1]["requests_per_s"],
            found[name, 16]["requests_per_s"],
            found[name, 1]["p50_ms"],
            found[name, 16]["p50_ms"],
            found[name, 16]["p99_ms"],
            found[name, 16]["cpu_ms_a_request"],
            memory["pss_mb"],
            result["loop_lag"][name]["idle"]["p50_ms"],
            result["loop_lag"][name]["loaded"]["p50_ms"],
            result["loop_lag"][name]["loaded"]["p99_ms"],
            result["labels_other_than_ours"][name],
        )
        for name, memory in result["memory"].items()
    ]
    header = (
        "server", "1: req/s", "16: req/s", "1: p50 ms", "16: p50 ms", "16: p99 ms",
        "16: CPU ms a request", "memory (PSS), MB", "probe idle, p50 ms", "probe at 16, p50 ms",
        "probe at 16, p99 ms", "other labels",
    )  # fmt: skip
    alone = f"In process, one text after another: p50 {result['in_process_p50_ms']} ms."
    return table(header, rows) + f"\n{alone}\n\n" + origin(result)


def _overhead() -> str:
    result = read("overhead")
    inside = [
        (f"{model}, {callers}", row["share_of_time"], row["requests_per_s"], row["requests_a_run"])
        for model, found in result["inside_onnx_runtime"].items()
        for callers, row in found.items()
    ]
    header = ("callers", "time inside ONNX Runtime", "req/s", "requests a run")
    return (
        table(("part of a request", "microseconds"), result["microseconds"].items())
        + "\n"
        + table(header, inside)
        + "\n"
        + origin(result)
    )


def _soak() -> str:
    """Some samples of the curve, the last among them."""
    result = read("soak")
    samples = result["samples"]
    chosen = [*samples[:: max(1, len(samples) // _SOAK_ROWS)], samples[-1]]
    rows = [
        (round(s["s"] / 60, 1), s["pss_mb"], s["largest_rss_mb"], s["requests_per_s"], s["p99_ms"])
        for s in chosen
    ]
    outcomes = ", ".join(f"{n:,} times {name}" for name, n in result["outcomes"].items())
    slope = result["growth"]["slope_of_second_half_mb_per_hour"]
    header = ("minutes", "memory (PSS), MB", "largest process (RSS), MB", "req/s", "p99 ms")
    return (
        table(header, rows)
        + f"\nAnswers: {outcomes}. Slope of the second half: {slope} MB an hour.\n\n"
        + origin(result)
    )


TABLES: dict[str, Callable[[], str]] = {
    "in_process": _in_process("in_process"),
    "ratios": _ratios("in_process"),
    "peers": _in_process("peers"),
    "peers_ratios": _ratios("peers"),
    "served_base_sentences": _served("served_base_sentences"),
    "served_base_mixed": _served("served_base_mixed"),
    "served_default_sentences": _served("served_default_sentences"),
    "workers_base_sentences": _workers("workers_base_sentences"),
    "workers_default_sentences": _workers("workers_default_sentences"),
    "start": _start,
    "servers": _servers("servers"),
    "first": _servers("first"),
    "without_vnni": _without_vnni,
    "memory_of_models": _memory_of_models,
    "memory_of_services": _memory_of_services,
    "overload": _overload,
    "lengths": _lengths,
    "batches": _batches,
    "operators": _operators,
    "per_core": _per_core,
    "core_hours": _core_hours,
    "batch": _batch,
    "batch_memory": _batch_memory,
    "batch_alone": _batch_alone,
    "ablation_int8": _ablation("ablation_sentences", "int8"),
    "ablation_fp32": _ablation("ablation_sentences", "fp32"),
    "served_ablation_default": _served_ablation,
    "overhead": _overhead,
    "oip": _oip,
    "soak": _soak,
}


def render(name: str) -> str:
    """A table, or a sentence that says that it was not measured."""
    try:
        return TABLES[name]()
    except FileNotFoundError:
        return "Not measured yet.\n"


def main() -> None:
    """Renew the tables of all pages."""
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        renewed = _BLOCK.sub(
            lambda found: f"<!-- table: {found[1]} -->\n{render(found[1])}<!-- /table -->", text
        )
        path.write_text(renewed, encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
