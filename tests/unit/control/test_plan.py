"""What a plan says of tables and findings."""

from __future__ import annotations

from pathlib import Path

from capture.publishing.schemas_topic import Catalogue
from capture.tables import table_spec
from control.plan import PlacedFinding, Report, check_target, entangled, orphaned, planned_table
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity, of_error
from schemas.settings import parse
from schemas.table import Column, ForeignKey, Index, TableName, TableSchema
from schemas.types import Family, LogicalType

DOCUMENT = {
    "name": "shop",
    "kafka": {"bootstrap.servers": "nowhere"},
    "source": {"database": "shop", "user": "shop", "tables": ["public.*"]},
}
SETTINGS = parse(DOCUMENT)


def test_a_table_is_planned_with_its_topic_key_and_mappings() -> None:
    table = TableSchema(
        TableName("public", "orders"),
        (
            Column("id", LogicalType(Family.INT64), "bigint", nullable=False),
            Column("total", LogicalType(Family.DECIMAL, precision=12, scale=2), "numeric(12,2)"),
            Column("tags", LogicalType(Family.TEXT), "text[]"),
        ),
        key=(0,),
    )
    planned = planned_table(SETTINGS, table, 7)
    assert (planned.topic, planned.key, planned.rows_estimated) == ("shop.public.orders", ("id",), 7)
    assert [column.wire for column in planned.columns] == ["int64", "Decimal(scale 2)", "string"]
    assert [column.note is None for column in planned.columns] == [True, True, False]


def test_only_blocking_findings_block() -> None:
    warning = PlacedFinding("source", Finding(Severity.WARNS, "slow", "is slow"))
    error = TailraceError(ErrorKind.PREREQUISITE, "wal_level is replica", remedy="alter system …")
    assert not Report("shop", findings=[warning]).blocked
    report = Report("shop", findings=[warning, PlacedFinding("source", of_error(error))])
    assert report.blocked
    finding = report.to_document()["findings"][1]
    assert (finding["code"], finding["remedy"]) == ("prerequisite", "alter system …")


def test_a_target_that_refuses_the_connection_was_not_reached(tmp_path: Path) -> None:
    refusing = {"host": "127.0.0.1", "port": 1, "database": "shop", "user": "apply"}
    targets = {
        "postgresql": {"engine": "postgresql", **refusing},
        "mysql": {"engine": "mysql", **refusing},
        "files": {"engine": "files", "directory": str(tmp_path)},
    }
    report = Report("shop")
    settings = parse({**DOCUMENT, "targets": targets})
    for name in targets:
        check_target(settings, name, (), report)
    assert [line.split()[1] for line in report.reached] == ["files"]
    assert {finding.place for finding in report.findings} == {"target postgresql", "target mysql"}


def test_tables_whose_rows_depend_on_each_other_are_named() -> None:
    settings = parse({**DOCUMENT, "topics": {"overrides": [{"tables": ["public.spread"], "partitions": 3}]}})
    index = Index("codes", unique=True, definition="using btree (code)")
    column = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
    tables = [
        TableSchema(TableName("public", name), (column,), key=(0,), indexes=(index,), foreign_keys=keys)
        for name, keys in (
            ("spread", ()),
            ("together", (ForeignKey("child", ("id",), TableName("public", "spread"), ("id",)),)),
        )
    ]
    catalogue = Catalogue.of(settings, {})
    specs = {spec.name: spec for spec in (table_spec(settings, table, catalogue, {}) for table in tables)}
    assert [spec.partitions for spec in specs.values()] == [3, 1]
    found = [(finding.code, finding.table) for finding in entangled(settings, tables, specs)]
    spread, together = (table.name for table in tables)
    assert found == [("unique-spread", spread), ("unique-referred", spread), ("unique-together", together)]
    # One that had a topic before keeps it.
    assert table_spec(settings, tables[1], catalogue, {"shop.public.together": 4}).partitions == 4
    assert not list(entangled(parse({**DOCUMENT, "apply": {"ordering": "transactional"}}), tables, specs))


def test_tables_whose_rows_may_lack_their_parents_before_the_changes_are_named() -> None:
    def table(name: str, *parents: str) -> TableSchema:
        column = Column("id", LogicalType(Family.INT64), "bigint", nullable=False)
        keys = tuple(ForeignKey(f"fk_{p}", ("id",), TableName("public", p), ("id",)) for p in parents)
        return TableSchema(TableName("public", name), (column,), key=(0,), foreign_keys=keys)

    tables = [table("customers", "customers"), table("orders", "customers", "regions"), table("stock", "regions")]

    def named(**more: object) -> list[tuple[str, str]]:
        apply = {"apply": {"stop_before_changes": True}}
        found = orphaned(parse({**DOCUMENT, **apply, **more}), tables)
        return [(finding.code, str(finding.table)) for finding in found]

    # Neither a table that refers to itself alone, nor one whose parents are not replicated: those are there, or never.
    assert named() == [("load-before-parents", "public.orders")]
    assert named(mode="cdc") == named(apply={}) == []
