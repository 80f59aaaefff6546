"""All rules that a SeldonDeployment has to keep, Seldon's and ours apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.manifests import executor, node, operator, own_executor, shutdown, webhook
from tests.manifests.document import Fields

Rule = Callable[[Fields], Iterator[str]]

SELDONS: dict[str, Rule] = {rule.__name__: rule for rule in webhook.RULES}
"""What the webhook refuses."""

OURS: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        *operator.RULES,
        *executor.RULES,
        *own_executor.RULES,
        *shutdown.RULES,
        *node.RULES,
    )
}
"""What would be accepted, and then not do what was meant."""

RULES = SELDONS | OURS


def broken(document: Fields) -> dict[str, list[str]]:
    """Complaints by the name of the rule that is broken; empty if all are kept."""
    return violations(RULES, document)


def refused(document: Fields) -> dict[str, list[str]]:
    """What the webhook says, by the name of Seldon's rule; empty if it accepts."""
    return violations(SELDONS, document)


def violations(rules: Mapping[str, Rule], document: Fields) -> dict[str, list[str]]:
    """Complaints by the name of the rule."""
    found = {name: list(rule(document)) for name, rule in rules.items()}
    return {name: said for name, said in found.items() if said}
