"""Filters of every operator over given columns, for property tests against the databases' own WHERE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from schemas.mappings.rules import SelectionRule, parse

LONE = ("noteq", "notbetween", "notnull")
"""Operators that stand alone in their filter."""


def rules(schema: str, table: str, *filters: list[dict[str, Any]]) -> list[SelectionRule]:
    """Return a rule for each list of filters."""
    documents = [
        {
            "rule-type": "selection",
            "rule-id": str(number),
            "rule-action": "include",
            "object-locator": {"schema-name": schema, "table-name": table},
            "filters": given,
        }
        for number, given in enumerate(filters)
    ]
    return parse({"rules": documents}).selections


def where(column: str, operator: str, *values: object) -> dict[str, Any]:
    """Return a filter of one condition."""
    names = ("value",) if len(values) < 2 else ("start-value", "end-value")
    return {
        "column-name": column,
        "filter-conditions": [{"filter-operator": operator, **dict(zip(names, values, strict=False))}],
    }


def documents(columns: Mapping[str, Sequence[str]]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """Return rules' filters over columns; of each column the values that it may be compared with."""
    a_filter = st.sampled_from(sorted(columns)).flatmap(lambda name: _filter(name, columns[name]))
    return st.lists(st.lists(a_filter, min_size=1, max_size=2), min_size=1, max_size=2)


def _filter(column: str, values: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    if not values:
        operators = st.sampled_from(["null", "notnull"])
        return operators.map(lambda operator: where(column, operator))
    value = st.sampled_from(values)
    one = st.sampled_from(["lte", "ste", "gte", "eq", "null", "between"])
    condition = st.tuples(one, value, value).map(lambda drawn: _condition(*drawn))
    alone = st.tuples(st.sampled_from(LONE), value, value).map(lambda drawn: [_condition(*drawn)])
    conditions = st.one_of(st.lists(condition, min_size=1, max_size=3), alone)
    return conditions.map(lambda found: {"column-name": column, "filter-conditions": found})


def _condition(operator: str, first: str, second: str) -> dict[str, Any]:
    if operator in ("null", "notnull"):
        return {"filter-operator": operator}
    if operator.endswith("between"):
        return {"filter-operator": operator, "start-value": first, "end-value": second}
    return {"filter-operator": operator, "value": first}
