"""Which metrics and labels a PromQL expression uses, and which labels its result has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import promql_parser as promql

Series = Sequence[Mapping[str, str]]
"""Label sets of a metric's series."""


class Unknown(Exception):  # noqa: N818  a finding, not a failure
    """A metric, label or value that does not exist; the message names it."""


@dataclasses.dataclass(frozen=True)
class Page:
    """What can be queried.

    Attributes:
        scraped: series by metric.
        recorded: labels by recording rule.
    """

    scraped: Mapping[str, Series]
    recorded: Mapping[str, frozenset[str]]


def labels_of(text: str, page: Page) -> frozenset[str]:
    """Labels of an expression's result.

    Raises:
        Unknown: the expression uses something that is not there.
        ValueError: it is no PromQL.
    """
    return _labels(promql.parse(text), page)


def _labels(expr: promql.Expr, page: Page) -> frozenset[str]:
    match expr:
        case promql.VectorSelector():
            return _of_selector(expr, page)
        case promql.MatrixSelector():
            return _of_selector(expr.vector_selector, page)
        case promql.AggregateExpr():
            return _of_aggregation(expr, page)
        case promql.Call():
            return _of_call(expr, page)
        case promql.BinaryExpr():
            return _of_binary(expr, page)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(expr.expr, page)
        case _:
            return frozenset()


def _of_selector(selector: promql.VectorSelector, page: Page) -> frozenset[str]:
    name = selector.name or ""
    matchers = selector.matchers.matchers
    if name in page.recorded:
        _demand({m.name for m in matchers}, page.recorded[name], name)
        return page.recorded[name]
    series = page.scraped.get(name)
    if not series:
        raise Unknown(f"no metric {name}")
    labels = frozenset.intersection(*(frozenset(each) for each in series))
    _demand({m.name for m in matchers}, labels, name)
    for matcher in matchers:
        if matcher.op == promql.MatchOp.Equal:
            values = {each[matcher.name] for each in series}
            _demand({matcher.value}, values, f"{name}, {matcher.name}")
    return labels


def _of_aggregation(expr: promql.AggregateExpr, page: Page) -> frozenset[str]:
    labels = _labels(expr.expr, page)
    if expr.modifier is None:
        return frozenset()
    named = frozenset(expr.modifier.labels)
    _demand(named, labels, expr.prettify())
    by = expr.modifier.type == promql.AggModifierType.By
    return named if by else labels - named


def _of_call(expr: promql.Call, page: Page) -> frozenset[str]:
    inner = [_labels(argument, page) for argument in expr.args]
    labels = frozenset[str]().union(*inner)
    if expr.func.name == "histogram_quantile":
        _demand({"le"}, labels, expr.prettify())
        return labels - {"le"}
    if expr.func.name == "label_replace":
        _, target, _, source, _ = expr.args
        assert isinstance(target, promql.StringLiteral)
        assert isinstance(source, promql.StringLiteral)
        _demand({source.val}, labels, expr.prettify())
        return labels | {target.val}
    return labels


def _of_binary(expr: promql.BinaryExpr, page: Page) -> frozenset[str]:
    left, right = _labels(expr.lhs, page), _labels(expr.rhs, page)
    scalars = (promql.NumberLiteral, promql.StringLiteral)
    if isinstance(expr.lhs, scalars) or isinstance(expr.rhs, scalars):
        return left | right
    matching = expr.modifier.matching if expr.modifier else None
    if matching is None:
        if left != right:
            raise Unknown(f"{sorted(left)} never match {sorted(right)} in {expr.prettify()}")
        return left
    named = frozenset(matching.labels)
    _demand(named, left & right, expr.prettify())
    return left


def _demand(needed: set[str] | frozenset[str], there: object, where: str) -> None:
    assert isinstance(there, (set, frozenset))
    missing = sorted(needed - there)
    if missing:
        raise Unknown(f"no {', '.join(missing)} in {where}")
