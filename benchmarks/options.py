"""`python -m benchmarks.options`: what each kind of table-mapping rule, and looking for conflicts, costs.

Rules in process: the functions are those that capture (filters) and appliers (all others) run on batches of rows of six
columns. CPU time, the best of some rounds: what a rule adds to the stages that `python -m benchmarks` measures.
Conflict policies (`apply.errors`) as whole appliers, since the target's server answers what they ask.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.databases import shapes
from benchmarks.databases.engine import SOURCE
from benchmarks.page import pages, report, tables
from benchmarks.stages.measure import BenchmarkError, Cost
from benchmarks.stages.stage import Stage
from deploy.local.cache import LocalServerError
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
NAME = "bench_options"
NONE = "none: nobody looks"
POLICIES: dict[str, tuple[str, ...]] = {
    NONE: (),
    "of inserts": ("insert",),
    "of updates and deletes": ("update", "delete"),
    "of all three": ("insert", "update", "delete"),
}
LOCATOR = {"schema-name": "public", "table-name": "orders"}


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.options", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table of the policies")
    parser.add_argument("--record", action="store_true", help="keep the numbers as those of docs/benchmarks.md")
    options = parser.parse_args(arguments)
    load_before = os.getloadavg()[0]
    found: dict[str, Any] = {"rules": _measure_rules()}
    try:
        found["policies"] = _measure_policies(options.rows)
    except (BenchmarkError, LocalServerError) as error:
        print(error, file=sys.stderr)
        return 1
    print(tables.options(found))
    if options.record:
        pages.merge(pages.OPTIONS, {**report.machine(load_before), "rows": options.rows, **found})
        pages.write_page()
    return 0


def _measure_rules() -> list[dict[str, Any]]:
    rows: list[Row] = [(i, i % 997, i * 7, f"state {i % 5}", f"C{i}X", i * 1_000_000) for i in range(ROWS)]
    return [{"rule": name, "us": min(_cpu_s(run, rows) for _ in range(ROUNDS)) / ROWS * 1e6} for name, run in _stages()]


def _measure_policies(rows: int) -> list[dict[str, Any]]:
    """Apply the same changes under each of `POLICIES`, in turn, each to databases of its own."""
    names = [(policy, f"policy_{round_}_{n}") for round_ in range(2) for n, policy in enumerate(POLICIES)]
    costs: dict[str, list[Cost]] = {policy: [] for policy in POLICIES}
    with Stage() as stage:
        stage.engine.create(shapes.SHAPES[0], rows)
        databases = [database for _, database in names]
        for database in databases:
            stage.engine.create_database(database)
        stage.capture(stage.configure(NAME, targets=databases))
        for database in databases:
            stage.apply(stage.configuration(NAME), database)
        stage.engine.change(shapes.SHAPES[0], rows)
        stage.capture(stage.configuration(NAME))
        for policy, database in names:
            errors = {f"{kind}_conflict": "suspend" for kind in POLICIES[policy]}
            configuration = stage.configure(NAME, targets=databases, apply={"errors": errors})
            costs[policy].append(stage.apply(configuration, database))
            print(f"  {policy}: {costs[policy][-1].events_per_cpu_s:,.0f} per CPU-second", flush=True)
            if stage.engine.digest(SOURCE) != stage.engine.digest(database):
                raise BenchmarkError("source and target differ: the numbers mean nothing")
    us = {policy: median(1e6 / cost.events_per_cpu_s for cost in some) for policy, some in costs.items()}
    return [
        {
            "policy": policy,
            "events_per_s": median(cost.events_per_s for cost in some),
            "us": us[policy],
            "more": us[policy] / us[NONE] - 1,
        }
        for policy, some in costs.items()
    ]


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
