"""What a page of metrics says, whichever server gives it."""

from __future__ import annotations


def total(page: str, name: str, **labels: str) -> float:
    """Sum of a metric's samples over every label that is not given."""
    from prometheus_client.parser import text_string_to_metric_families

    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
