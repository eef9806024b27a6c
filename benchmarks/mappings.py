"""`python -m benchmarks.mappings`: what each kind of table-mapping rule costs a row, in process.

The functions are those that capture (filters) and appliers (all others) run on batches of rows of six columns. CPU
time, the best of some rounds: what a rule adds to the stages that `python -m benchmarks` measures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from schemas.changes import Row
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import map_table
from schemas.mappings.rules import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

ROWS = 20_000
ROUNDS = 5
TEXT = LogicalType(Family.STRING)
TABLE = TableSchema(
    TableName("public", "orders"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
        Column("customer", LogicalType(Family.INT64), "bigint"),
        Column("price", LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)"),
        Column("status", TEXT, "text"),
        Column("passport", TEXT, "text"),
        Column("placed", LogicalType(Family.TIMESTAMPTZ), "timestamp with time zone"),
    ),
    (0,),
)
LOCATOR = {"schema-name": "public", "table-name": "orders"}


def main() -> int:
    """Measure; print a line for each kind of rule."""
    rows: list[Row] = [(i, i % 997, i * 7, f"state {i % 5}", f"C{i}X", i * 1_000_000) for i in range(ROWS)]
    print("| rule | µs a row |\n|---|---|")
    for name, run in _stages():
        cost = min(_cpu_s(run, rows) for _ in range(ROUNDS))
        print(f"| {name} | {cost / ROWS * 1e6:.2f} |", flush=True)
    return 0


def _stages() -> list[tuple[str, Callable[[Sequence[Row]], Any]]]:
    string = {"type": "string", "length": 40}
    return [
        ("filter of a number", _filter("customer", {"filter-operator": "gte", "value": "500"})),
        ("filter of a text", _filter("status", {"filter-operator": "eq", "value": "state 3"})),
        ("filter of a time", _filter("placed", {"filter-operator": "gte", "value": "1970-01-02"})),
        ("remove-column", _rules(("remove-column", {"column-name": "status"}, {}))),
        ("change-data-type", _rules(("change-data-type", {"column-name": "customer"}, {"data-type": string}))),
        ("data-masking-digits-mask", _rules(("data-masking-digits-mask", {"column-name": "passport"}, {"value": "#"}))),
        ("data-masking-hash-mask", _rules(("data-masking-hash-mask", {"column-name": "passport"}, {}))),
        ("add-column, a constant", _rules(_added("'shard 1'"))),
        ("add-column, an expression", _rules(_added("upper($status) || '-' || $id"))),
    ]


def _added(expression: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    return "add-column", {}, {"value": "more", "expression": expression, "data-type": {"type": "string"}}


def _filter(column: str, condition: dict[str, str]) -> Callable[[Sequence[Row]], Any]:
    document = {
        "rule-type": "selection",
        "rule-id": "1",
        "rule-action": "include",
        "object-locator": LOCATOR,
        "filters": [{"column-name": column, "filter-conditions": [condition]}],
    }
    found = row_filter(parse({"rules": [document]}).selections, TABLE)
    assert found is not None
    matches = found.matches
    return lambda rows: list(filter(matches, rows))


def _rules(*rules: tuple[str, dict[str, str], dict[str, Any]]) -> Callable[[Sequence[Row]], Any]:
    documents = [
        {
            "rule-type": "transformation",
            "rule-id": str(number),
            "rule-target": "column",
            "rule-action": action,
            "object-locator": LOCATOR | locator,
            **more,
        }
        for number, (action, locator, more) in enumerate(rules)
    ]
    mapped = map_table(parse({"rules": documents}).transformations, TABLE)
    assert mapped.rows is not None
    return mapped.rows


def _cpu_s(run: Callable[[Sequence[Row]], Any], rows: Sequence[Row]) -> float:
    began = time.process_time()
    run(rows)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
