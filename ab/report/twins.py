"""An A/A test: what two copies of one model must have in common, else the set-up favours one."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from ab.stats.split import ALARM


def faults(answers: pd.DataFrame, a: str, b: str) -> tuple[str, ...]:
    """What is not as it must be between two copies of one model, one sentence each.

    Args:
        answers: see `ab.observations.table`.
        a, b: names of the copies.
    """
    one, other = answers[answers.model == a], answers[answers.model == b]
    found = []
    versions = [
        {tag for tags in side.tags if (tag := tags.get("model_version"))} for side in (one, other)
    ]
    if all(versions) and versions[0] != versions[1]:
        names = [", ".join(sorted(each)) for each in versions]
        found.append(f"They are not one model: {a} is version {names[0]}, {b} {names[1]}.")
    shared = pd.merge(one, other, on="sha256")
    unlike = int((shared.predicted_x != shared.predicted_y).sum())
    if unlike:
        found.append(f"They label {unlike:,} of {len(shared):,} texts that both got differently.")
    seconds = [side.latency_s.dropna().astype(float) for side in (one, other)]
    if all(map(len, seconds)) and (p := float(stats.mannwhitneyu(*seconds).pvalue)) < ALARM:
        slower = a if seconds[0].median() > seconds[1].median() else b
        found.append(f"{slower} answers more slowly (Mann-Whitney, p = {p:.1g}).")
    return tuple(found)
