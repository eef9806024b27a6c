"""Views: loaded where they are named, never looked for in the log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from capture.sources.mysql import findings
from capture.sources.mysql.catalog import Catalog, capturable
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.server import ServerFacts
from schemas.endpoints.mysql import MysqlSource
from schemas.selection import Selection
from schemas.table import TableName

RELATIONS = [
    ("shop", "orders", "BASE TABLE", "InnoDB", "7", ""),
    ("shop", "totals", "VIEW", None, None, "VIEW"),
    ("shop", "unnamed", "VIEW", None, None, "VIEW"),
]
COLUMNS = [
    ("shop", "totals", "id", "int", None, "NO", "0", "", None),
    ("shop", "totals", "name", "varchar(20)", "utf8mb4", "YES", "none", "", None),
]


def _catalog() -> Catalog:
    def rows(query: str) -> list[Any]:
        for name, found in (("information_schema.tables", RELATIONS), ("information_schema.columns", COLUMNS)):
            if f"from {name}" in query:
                return list(found)
        return []

    return Catalog(lambda: cast("Connection", SimpleNamespace(rows=rows, is_mariadb=False)))


def test_a_view_is_a_table_without_a_key_whose_columns_promise_nothing() -> None:
    catalog, views = _catalog(), Selection(["shop.tot*"])
    relations = catalog.read_relations(Selection(["shop.orders"]), views)
    assert [str(r.name) for r in relations] == ["shop.orders", "shop.totals"]
    captured = capturable(relations, views)
    assert captured == relations
    # In mode `cdc` there are none.
    assert [str(r.name) for r in capturable(relations)] == ["shop.orders"]
    (view,) = catalog.read_tables(captured)
    assert (view.is_view, view.key, view.comment) == (True, (), None)
    assert [(c.name, c.nullable, c.default) for c in view.columns] == [("id", True, None), ("name", True, None)]


def test_plan_says_that_a_view_is_loaded_once_or_how_it_would_be() -> None:
    settings = MysqlSource.model_validate(
        {"engine": "mysql", "user": "u", "tables": ["shop.*"], "views": ["shop.totals"]}
    )
    catalog = _catalog()
    views = Selection(settings.views)
    relations = catalog.read_relations(Selection(settings.tables), views)
    tables = catalog.read_tables(capturable(relations, views))
    facts = SimpleNamespace(lacking=(), variables={}, is_mariadb=True, logs=lambda database: False, replicates=False)
    told = findings.find(settings, cast("ServerFacts", facts), relations, tables)
    about = {(f.code, str(f.table)): f for f in told if f.table is not None}
    assert ("view", "shop.totals") in about
    assert "in source.views loads its rows once" in str(about["not-a-table", "shop.unnamed"].remedy)
    assert ("no-key", "shop.totals") not in about
    assert not any(f.code == "binlog-filter" for f in told), "a view's rows are in no log"
    assert settings.takes(tables[0])
    assert TableName("shop", "totals") == tables[0].name
