"""All rules that a SeldonDeployment has to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.manifests import executor, node, operator, webhook
from tests.manifests.document import Fields

Rule = Callable[[Fields], Iterator[str]]

RULES: dict[str, Rule] = {
    rule.__name__: rule for rule in (*webhook.RULES, *operator.RULES, *executor.RULES, *node.RULES)
}


def broken(document: Fields) -> dict[str, list[str]]:
    """Complaints by the name of the rule that is broken; empty if all are kept."""
    found = {name: list(rule(document)) for name, rule in RULES.items()}
    return {name: complaints for name, complaints in found.items() if complaints}
