"""Names in the configuration that mean nothing at the source: each is told with what it is near to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture.named_tables import look_for_named, missing
from capture.source import Source
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity, warns
from schemas.settings import Settings
from schemas.table import TableName, TableSchema

ORDERS, CUSTOMERS = TableName("public", "orders"), TableName("public", "customers")


def found(*names: TableName, **section: Any) -> list[Finding]:
    source = PostgresqlSource.model_validate({"database": "shop", "user": "cap", **section})
    return missing(source, set(names), lambda: [ORDERS, CUSTOMERS])


def test_a_misspelt_table_or_view_is_told_with_the_one_that_is_near() -> None:
    (finding,) = found(ORDERS, tables=["public.orders", "public.custmers"])
    assert (finding.severity, finding.code) == (Severity.BLOCKS, "table-missing")
    assert finding.message.startswith("there is no table public.custmers,")
    assert finding.message.endswith("did you mean public.customers?")
    (finding,) = found(ORDERS, tables=["public.*"], views=["public.Orders"])
    assert finding.message.endswith("did you mean public.orders?"), "names stand as the database spells them"
    (finding,) = found(ORDERS, tables=["public.orders", "zoo.animals"])
    assert "did you mean" not in finding.message


def test_what_is_excluded_again_is_not_missed_and_of_many_names_the_first_get_a_hint() -> None:
    assert (
        found(CUSTOMERS, tables=["public.orders", "public.custmers", "public.customers", "!public.o*", "!*.custmers"])
        == []
    )
    lost = found(tables=[f"public.order{n:03}" for n in range(30)])
    assert [f.message.endswith("did you mean public.orders?") for f in lost] == [True] * 20 + [False] * 10


def test_a_misspelt_schema_is_told_and_one_that_may_get_tables_is_not() -> None:
    (finding,) = found(tables=["publik.*"])
    assert (finding.severity, finding.code) == (Severity.WARNS, "schema-missing")
    assert finding.message.endswith("did you mean public?")
    assert found(tables=["public.new_*"]) == []
    assert found(tables=["*.new_*"]) == []


def test_the_catalogue_is_asked_only_where_something_is_missing() -> None:
    source = PostgresqlSource(database="shop", user="cap", tables=["public.orders", "!public.gone", "public.o*"])
    assert missing(source, {ORDERS}, lambda: pytest.fail("asked")) == []


def test_a_start_without_tables_is_refused_with_the_names_and_one_with_some_says_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = PostgresqlSource(database="shop", user="cap", tables=["public.orders", "public.custmers"])
    settings = cast("Settings", SimpleNamespace(source=section))
    source = cast("Source", SimpleNamespace(findings=lambda _: missing(section, {ORDERS}, lambda: [ORDERS, CUSTOMERS])))
    with pytest.raises(TailraceError, match=r"did you mean public\.customers") as raised:
        look_for_named(settings, source, [])
    assert raised.value.kind is ErrorKind.CONFIGURATION
    capsys.readouterr()
    look_for_named(settings, source, [TableSchema(ORDERS, (), ())])
    assert "did you mean public.customers?" in capsys.readouterr().out


def test_a_start_says_of_what_is_named_and_not_captured_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Of something that is there, and no table whose changes are logged, it was only said that no table matches."""
    section = PostgresqlSource(database="shop", user="cap", tables=["public.orders"])
    settings = cast("Settings", SimpleNamespace(source=section))
    told = [
        warns("not-a-table", "a view has no changes in the log", "leave it out", name) for name in (ORDERS, CUSTOMERS)
    ]
    source = cast("Source", SimpleNamespace(findings=lambda _: told))
    with pytest.raises(TailraceError, match=r"; public\.orders: a view has no changes in the log ") as raised:
        look_for_named(settings, source, [])
    assert "customers" not in raised.value.message
    capsys.readouterr()
    look_for_named(settings, source, [TableSchema(CUSTOMERS, (), ())])
    said = capsys.readouterr().out
    assert "public.orders" in said
    assert "customers" not in said
